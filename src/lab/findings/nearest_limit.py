"""Find the operation that is furthest over its p95 limit, or else closest to it."""

from dataclasses import dataclass
from operator import attrgetter

from lab.runs.record import OperationStats, PartName, Record, TimelinePoint

# Intervals within the limit that do not end an excess: a slow operation has lucky moments, and an
# interval in which it made no request has no point at all.
BRIDGED_INTERVALS = 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a run's timeline, in seconds since the start of the load."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class NearestLimit:
    """The operation whose p95 is the largest share of its limit, and when it exceeded that limit.

    `main_part` is where most of its time went, if known; `until_end` tells whether the last excess
    lasted until the end of the run. In its slowest interval, that with the highest p95, the
    operation was requested `slowest_requests` times.
    """

    stats: OperationStats
    main_part: PartName | None
    exceeded: list[Interval]
    until_end: bool
    slowest_interval: Interval | None
    slowest_requests: int


def find_nearest_limit(record: Record) -> NearestLimit | None:
    stats = record.nearest_limit
    if not stats:
        return None
    points = operation_points(record, stats.operation)
    exceeded = exceeded_intervals(record, stats)
    worst = max(points, key=attrgetter("p95"), default=None)
    return NearestLimit(
        stats,
        _main_part(stats),
        exceeded,
        until_end=bool(exceeded) and exceeded[-1].end >= points[-1].at,
        slowest_interval=Interval(worst.at - record.timeline.step, worst.at) if worst else None,
        slowest_requests=worst.requests if worst else 0,
    )


def _main_part(stats: OperationStats) -> PartName | None:
    shares = stats.time_shares
    return max(shares.items(), key=lambda item: item[1])[0] if shares else None


def operation_points(record: Record, operation: str) -> list[TimelinePoint]:
    return [point for point in record.operation_timeline if point.operation == operation]


def exceeded_intervals(record: Record, stats: OperationStats) -> list[Interval]:
    """Find when an operation's p95 exceeded its limit, short pauses included."""
    points = operation_points(record, stats.operation)
    limit = stats.limit_p95
    return _merge(
        [point.at for point in points if limit is not None and point.p95 > limit],
        record.timeline.step,
    )


def failed_intervals(record: Record) -> list[Interval]:
    """Find when requests of any operation failed, short pauses included."""
    timeline = record.timeline
    values = zip(timeline.at, timeline.failed_rate, strict=False)
    return _merge([at for at, rate in values if rate], timeline.step)


def all_exceeded_intervals(record: Record) -> list[Interval]:
    """Find when the p95 of all requests exceeded its limit, short pauses included."""
    timeline, limit = record.timeline, record.total.limit_p95
    values = zip(timeline.at, timeline.client_p95, strict=False)
    return _merge([at for at, p95 in values if limit and p95 and p95 > limit], timeline.step)


def _merge(ends: list[float], step: float) -> list[Interval]:
    """Join intervals of the timeline, given by their ends, that follow each other closely."""
    found: list[Interval] = []
    for end in ends:
        start = max(0.0, end - step)
        if found and start - found[-1].end < (BRIDGED_INTERVALS + 0.5) * step:
            found[-1] = Interval(found[-1].start, end)
        else:
            found.append(Interval(start, end))
    return found
