"""Find the operation that is furthest over its p95 limit, or else closest to it."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from lab.runs.record import OperationStats, Record, TimelinePoint

SideField = Literal["outside_server", "in_server", "in_database"]
SIDE_FIELDS: tuple[SideField, ...] = ("outside_server", "in_server", "in_database")
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

    `main_side` is the field of the side that took most of its time, if known; `until_end` tells
    whether the last excess lasted until the end of the run. In its slowest interval, that with the
    highest p95, the operation was requested `slowest_requests` times.
    """

    stats: OperationStats
    main_side: SideField | None
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
        _main_side(stats),
        exceeded,
        until_end=bool(exceeded) and exceeded[-1].end >= points[-1].at,
        slowest_interval=Interval(worst.at - record.timeline.step, worst.at) if worst else None,
        slowest_requests=worst.requests if worst else 0,
    )


def _main_side(stats: OperationStats) -> SideField | None:
    shares = {field: getattr(stats, field) for field in SIDE_FIELDS}
    if None in shares.values():
        return None
    return max(SIDE_FIELDS, key=lambda field: float(shares[field]))


def operation_points(record: Record, operation: str) -> list[TimelinePoint]:
    return [point for point in record.operation_timeline if point.operation == operation]


def exceeded_intervals(record: Record, stats: OperationStats) -> list[Interval]:
    """Find when an operation's p95 exceeded its limit, short pauses included."""
    found: list[Interval] = []
    step = record.timeline.step
    for point in operation_points(record, stats.operation):
        if stats.limit_p95 is None or point.p95 <= stats.limit_p95:
            continue
        start = point.at - step
        if found and start - found[-1].end < (BRIDGED_INTERVALS + 0.5) * step:
            found[-1] = Interval(found[-1].start, point.at)
        else:
            found.append(Interval(start, point.at))
    return found
