"""Read how a run's durations were spread, part by part: what a comparison tells noise from."""

import math
from collections.abc import Sequence
from itertools import pairwise

from observability.queries import totals
from observability.queries.names import Of, Side
from observability.runs.prometheus import Buckets, Prometheus
from observability.runs.record import Period, SideName, Spread

TO_A_DOUBLING = 8
FEWEST_PARTS = 4
MOST_PARTS = 10
# Prometheus has a run's numbers as of every push, and a run can end a little before its time.
SHORTEST_PART = 4.8
USUAL_PART = 10.0
MOST_OPERATIONS = 50
# From a microsecond to a day.
LOWEST, HIGHEST = -20 * TO_A_DOUBLING, 16 * TO_A_DOUBLING


def parts_of(seconds: float) -> int:
    """Say into how many parts a run is cut: none where it is too short."""
    if seconds < FEWEST_PARTS * SHORTEST_PART:
        return 0
    return min(max(int(seconds / USUAL_PART), FEWEST_PARTS), MOST_PARTS)


def read(prometheus: Prometheus, run: str, period: Period, operations: int) -> list[Spread]:
    """Read the durations of each part on each side, unless that would be far too much."""
    parts = parts_of(period.seconds)
    if not parts or operations > MOST_OPERATIONS:
        return []
    of = Of(run, period.window)
    sides: list[tuple[SideName, str, str]] = [
        ("client", totals.client_seconds(of), totals.CLIENT_LABEL),
        ("server", totals.span_seconds(Side.SERVER, of), totals.SPAN_LABEL),
        ("database", totals.span_seconds(Side.DATABASE, of), totals.SPAN_LABEL),
    ]
    step = period.seconds / parts
    span = (period.started + step, period.read_at)
    return [
        _spread(operation, side, _at_ends(so_far, period.started, step, parts))
        for side, query, label in sides
        for operation, so_far in prometheus.histograms(query, label, span, step).items()
        if so_far
    ]


def _at_ends(
    so_far: Sequence[tuple[float, Buckets]], started: float, step: float, parts: int
) -> list[Buckets]:
    """Give what was counted by the end of each part; what came after the last belongs to it."""
    ends: list[Buckets] = [{} for _ in range(parts)]
    for at, buckets in so_far:
        part = round((at - started) / step) - 1
        ends[min(part, parts - 1)] = buckets
    return ends


def _spread(operation: str, side: SideName, ends: Sequence[Buckets]) -> Spread:
    counted = [_numbered(buckets) for buckets in ({}, *ends)]
    numbers = {number for buckets in counted for number in buckets}
    first, last = min(numbers, default=0), max(numbers, default=-1)
    parts = [
        [max(0, after.get(i, 0) - before.get(i, 0)) for i in range(first, last + 1)]
        for before, after in pairwise(counted)
    ]
    return Spread(operation, side, first, parts)


def _numbered(buckets: Buckets) -> dict[int, int]:
    """Number buckets by eight to a doubling; finer ones are added up to these."""
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
