"""Read the distribution of a run's durations by segment, from which noise is estimated."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from lab.clients.prometheus import Buckets, Prometheus
from lab.clients.spans import Period
from lab.promql import load_run
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import OPERATION, RunSelector, Side
from lab.runs.record import DurationHistogram, OperationStats, SideName
from lab.runs.timeline import busiest

BUCKETS_PER_DOUBLING = 8
MIN_SEGMENTS = 4
MAX_SEGMENTS = 10
# Prometheus gets samples only when k6 pushes them, and a run can end slightly before its plan.
MIN_SEGMENT_SECONDS = PUSH_SECONDS - 0.2
SEGMENT_SECONDS = 2 * PUSH_SECONDS
# Spans that arrive up to this long after the end count for the last segment.
LAST_FLUSH = 30.0
# Buckets reach from a microsecond to a day.
MIN_DOUBLING, MAX_DOUBLING = -20, 16


def count_segments(seconds: float, planned: float | None) -> int:
    """Return into how many segments a run is divided; 0 if it is too short.

    Runs of the same plan get the same number, even if one ends a moment earlier.
    """
    if seconds < MIN_SEGMENTS * MIN_SEGMENT_SECONDS:
        return 0
    length = planned if planned and seconds > planned - PUSH_SECONDS else seconds
    return min(max(int(length / SEGMENT_SECONDS), MIN_SEGMENTS), MAX_SEGMENTS)


def read_histograms(
    prometheus: Prometheus,
    run_id: str,
    period: Period,
    planned: float | None,
    operations: Iterable[OperationStats],
) -> list[DurationHistogram]:
    """Read the durations of the busiest operations, by segment."""
    names = busiest(operations)
    segments = count_segments(period.seconds, planned)
    if not segments or not names:
        return []
    run = RunSelector(run_id, period.window, operations=names)
    step = period.seconds / segments
    late = math.ceil(LAST_FLUSH / step) if period.ends_with_run else 0
    # A part begins with what was counted before it.
    ends = range(0 if period.interval else 1, segments + late + 1)
    sides: dict[SideName, str] = {
        "client": load_run.client_durations(run, OPERATION),
        "server": load_run.side_durations(Side.SERVER, run, OPERATION),
        "database": load_run.side_durations(Side.DATABASE, run, OPERATION),
    }
    return [
        _histogram(operation, side, _bounds(totals, segments, part=bool(period.interval)))
        for side, query in sides.items()
        for operation, totals in prometheus.histograms(
            query, OPERATION, [period.started + step * end for end in ends]
        ).items()
        if any(totals)
    ]


def _bounds(totals: Sequence[Buckets], segments: int, *, part: bool) -> list[Buckets]:
    """Choose the running totals at the start and at the end of each segment; the last are final."""
    before = list(totals) if part else [{}, *totals]
    return [*before[:segments], before[-1]]


def _histogram(operation: str, side: SideName, totals: Sequence[Buckets]) -> DurationHistogram:
    """Turn the running totals at the bounds of segments into counts of each segment."""
    rounded = [{upper: round(count) for upper, count in buckets.items()} for buckets in totals]
    return DurationHistogram(operation, side, *count_between(rounded, BUCKETS_PER_DOUBLING))


def count_between(
    totals: Sequence[Mapping[float, float]], buckets_per_doubling: int
) -> tuple[int, list[list[int]]]:
    """Return the number of the first bucket, and the counts of each bucket between two totals.

    Buckets are merged to some per doubling and numbered by their upper bound. Without any the
    counts are empty.
    """
    numbered = [number_buckets(buckets, buckets_per_doubling) for buckets in totals]
    numbers = {number for buckets in numbered for number in buckets}
    first, last = min(numbers, default=0), max(numbers, default=-1)
    return first, [
        [max(0, after.get(i, 0) - before.get(i, 0)) for i in range(first, last + 1)]
        for before, after in pairwise(numbered)
    ]


def number_buckets(buckets: Mapping[float, float], per_doubling: int) -> dict[int, int]:
    lowest, highest = MIN_DOUBLING * per_doubling, MAX_DOUBLING * per_doubling
    counts: dict[int, float] = {}
    for upper, count in buckets.items():
        exact = math.log2(max(upper, 1e-9)) * per_doubling
        number = highest if upper == math.inf else math.ceil(exact - 1e-6)
        number = min(max(number, lowest), highest)
        counts[number] = counts.get(number, 0) + count
    return {number: round(count) for number, count in counts.items()}
