"""Read how a run's durations were spread, part by part: what a comparison tells noise from."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from lab.clients.prometheus import Buckets, Prometheus
from lab.clients.spans import Period
from lab.promql import load_run
from lab.promql.selectors import OPERATION, RunSelector, Side
from lab.runs.record import DurationHistogram, OperationStats, SideName
from lab.runs.timeline import PUSH_INTERVAL, SPANS_LATE, busiest

TO_A_DOUBLING = 8
FEWEST_PARTS = 4
MOST_PARTS = 10
# Prometheus knows a run as of each push, and a run can end a little before its time.
SHORTEST_PART = PUSH_INTERVAL - 0.2
USUAL_PART = 2 * PUSH_INTERVAL
LAST_FLUSH = 30.0
# From a microsecond to a day.
LOWEST, HIGHEST = -20 * TO_A_DOUBLING, 16 * TO_A_DOUBLING


def parts_of(seconds: float, planned: float | None) -> int:
    """Say into how many parts a run is cut: none where it is too short."""
    if seconds < FEWEST_PARTS * SHORTEST_PART:
        return 0
    lasts = planned if planned and seconds > planned - PUSH_INTERVAL else seconds
    return min(max(int(lasts / USUAL_PART), FEWEST_PARTS), MOST_PARTS)


def read_histograms(
    prometheus: Prometheus,
    run: str,
    period: Period,
    planned: float | None,
    rows: Iterable[OperationStats],
) -> list[DurationHistogram]:
    """Read the durations of each part, of the operations that made the most requests.

    Runs of one plan have as many parts, though one ends a moment before the other.
    """
    operations = tuple(row.operation for row in busiest(rows))
    parts = parts_of(period.seconds, planned)
    if not parts or not operations:
        return []
    of = RunSelector(run, period.window, operations=operations)
    step = period.seconds / parts
    ends = range(1, parts + math.ceil(LAST_FLUSH / step) + 1)
    sides: list[tuple[SideName, str, float]] = [
        ("client", load_run.client_durations(of, OPERATION), 0.0),
        ("server", load_run.span_durations(Side.SERVER, of, OPERATION), SPANS_LATE),
        ("database", load_run.span_durations(Side.DATABASE, of, OPERATION), SPANS_LATE),
    ]
    return [
        _spread(operation, side, [*so_far[: parts - 1], so_far[-1]])
        for side, query, late in sides
        for operation, so_far in prometheus.histograms(
            query, OPERATION, [period.started + late + step * end for end in ends]
        ).items()
        if any(so_far)
    ]


def _spread(operation: str, side: SideName, ends: Sequence[Buckets]) -> DurationHistogram:
    counted = [_numbered(buckets) for buckets in ({}, *ends)]
    numbers = {number for buckets in counted for number in buckets}
    first, last = min(numbers, default=0), max(numbers, default=-1)
    parts = [
        [max(0, after.get(i, 0) - before.get(i, 0)) for i in range(first, last + 1)]
        for before, after in pairwise(counted)
    ]
    return DurationHistogram(operation, side, first, parts)


def _numbered(buckets: Buckets) -> dict[int, int]:
    """Count by buckets that are eight to a doubling; finer ones are added up to these."""
    numbered: dict[int, int] = {}
    for upper, count in buckets.items():
        at = (
            math.ceil(math.log2(max(upper, 1e-9)) * TO_A_DOUBLING - 1e-6)
            if upper < math.inf
            else HIGHEST
        )
        number = min(max(at, LOWEST), HIGHEST)
        numbered[number] = numbered.get(number, 0) + round(count)
    return numbered
