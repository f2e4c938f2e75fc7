"""Find the load at which the clinic saturates.

Throughput stops growing or each virtual user gets less of it, the event loop has no time left, or a
limit is exceeded.
"""

from dataclasses import dataclass
from statistics import median
from typing import Literal

from lab.findings.nearest_limit import Interval, exceeded_intervals, operation_points
from lab.runs.record import OperationStats, Record

# A load that less than doubles cannot separate saturation from the noise of a run.
LOAD_GROWTH = 2.0
# Throughput has stopped growing where a quarter more users bring less than a tenth more requests:
# without saturation they bring a quarter more, and rates of 5 s scatter by some percent.
USER_GROWTH = 1.25
RATE_GROWTH = 1.10
# Virtual users that wait for nothing but their pauses each make as many requests as before.
USER_RATE = 0.75
# An event loop with less idle time than this has none left: events queue.
BUSY = 0.9
# Users, and a rate, within 5 % of the highest value count as the highest.
NEAR_MAXIMUM = 0.95
# Throughput that falls by a tenth while no fewer users wait has passed its peak.
PEAK_LOSS = 0.9
# One interval proves nothing: with few requests its p95 is its single slowest request.
MIN_INTERVALS = 2
# In these profiles k6 starts iterations at a planned rate, however many users are still busy. Add a
# new profile whose executor is an arrival rate: others are judged by their number of users.
ARRIVAL_PROFILES = ("smoke", "load", "soak", "breakpoint")


@dataclass(frozen=True, slots=True)
class Load:
    """What k6 put on the clinic in one interval of a run; the rate is in req/s."""

    interval: Interval
    users: float
    rate: float


@dataclass(frozen=True, slots=True)
class LatencySaturation:
    """From this load on an operation exceeded its limit."""

    load: Load
    stats: OperationStats


@dataclass(frozen=True, slots=True)
class ThroughputSaturation:
    """From this load on more users, up to `max_users`, got no more than `max_rate` through."""

    load: Load
    max_users: float
    max_rate: float


@dataclass(frozen=True, slots=True)
class UserSaturation:
    """From this load on each virtual user got less throughput: `rate` instead of `best_rate`."""

    load: Load
    best_rate: float
    rate: float


@dataclass(frozen=True, slots=True)
class LoopSaturation:
    """From this load on the API's event loop was `busy` for this share of the time."""

    load: Load
    busy: float


@dataclass(frozen=True, slots=True)
class PeakSaturation:
    """At this load throughput was at its peak: it fell to `rate` with `users`, no fewer."""

    load: Load
    users: float
    rate: float


AnySaturation = (
    LatencySaturation | ThroughputSaturation | UserSaturation | PeakSaturation | LoopSaturation
)


@dataclass(frozen=True, slots=True)
class Saturation:
    """What a run with a varying load shows: each saturation found, earliest first.

    `exceeded_at_start` are operations that exceeded their limit before the load had grown: their
    latency is no sign of saturation. `best` is the load of the highest throughput, `busiest` the
    first with the most users; without saturation throughput grew, unless k6 started `arrivals` at a
    planned rate and dropped none.
    """

    saturations: list[AnySaturation]
    exceeded_at_start: list[OperationStats]
    best: Load
    busiest: Load
    arrivals: bool
    throughput: Literal["planned", "grew", "unknown"]


def find_saturation(record: Record) -> Saturation | None:
    """Look for saturation in a run whose load at least doubled."""
    timeline = record.timeline
    users_doubled = _doubled(timeline.virtual_users)
    if not users_doubled and not _doubled(timeline.rate):
        return None
    rates = _smooth([rate or 0.0 for rate in timeline.rate])
    loads = [
        Load(Interval(at - timeline.step, at), users or 0.0, rate)
        for at, users, rate in zip(timeline.at, timeline.virtual_users, rates, strict=True)
    ]
    most_users = max(load.users for load in loads)
    busiest = next(load for load in loads if load.users >= NEAR_MAXIMUM * most_users)
    best = max(loads, key=lambda load: load.rate)
    arrivals = record.profile in ARRIVAL_PROFILES
    throughput: Literal["planned", "grew", "unknown"] = "unknown"
    if arrivals and not record.dropped_iterations:
        throughput = "planned"
    elif users_doubled:
        throughput = "grew"
    latency, exceeded_at_start = _latency(record, loads)
    found = [
        latency,
        _event_loop(record, loads),
        None if throughput == "planned" else _throughput(loads, busiest, per_user=not arrivals),
    ]
    return Saturation(
        sorted(filter(None, found), key=lambda one: one.load.interval.start),
        exceeded_at_start,
        best,
        busiest,
        arrivals,
        throughput,
    )


def _doubled(values: list[float | None]) -> bool:
    known = [value for value in values if value]
    return bool(known) and max(known) >= LOAD_GROWTH * known[0]


def _smooth(values: list[float]) -> list[float]:
    return [median(values[max(0, i - 1) : i + 2]) for i in range(len(values))]


def _latency(
    record: Record, loads: list[Load]
) -> tuple[LatencySaturation | None, list[OperationStats]]:
    """Find the first operation to exceed its limit, apart from those that did from the start."""
    step = record.timeline.step
    first: tuple[Interval, OperationStats] | None = None
    at_start = []
    for stats in record.operations:
        for interval in exceeded_intervals(record, stats):
            if interval.seconds < (MIN_INTERVALS - 0.1) * step:
                continue
            points = operation_points(record, stats.operation)
            if sum(point.at <= interval.start for point in points) < MIN_INTERVALS:
                at_start.append(stats)
            elif first is None or interval.start < first[0].start:
                first = (interval, stats)
    if first is None:
        return None, at_start
    start, stats = first[0].start, first[1]
    load = min(loads, key=lambda load: abs(load.interval.start - start))
    return LatencySaturation(load, stats), at_start


def _throughput(
    loads: list[Load], busiest: Load, *, per_user: bool
) -> ThroughputSaturation | UserSaturation | PeakSaturation | None:
    """Find from where on more users brought no, or little, throughput, or less than before."""
    until = loads.index(busiest) + 1
    for i, load in enumerate(loads[: max(0, until - MIN_INTERVALS)]):
        max_rate = max(later.rate for later in loads[i:until])
        more_users = load.users and busiest.users >= USER_GROWTH * load.users
        if more_users and load.rate and max_rate < RATE_GROWTH * load.rate:
            return ThroughputSaturation(load, max(one.users for one in loads), max_rate)
    return (_per_user(loads, busiest) if per_user else None) or _peak(loads)


def _peak(loads: list[Load]) -> PeakSaturation | None:
    """Find the highest throughput, if it fell afterwards although no fewer users waited."""
    best = max(loads, key=lambda load: load.rate)
    after = loads[loads.index(best) + 1 :]
    for i in range(len(after) - MIN_INTERVALS + 1):
        following = after[i : i + MIN_INTERVALS]
        if all(one.users >= best.users and one.rate < PEAK_LOSS * best.rate for one in following):
            lowest = min(following, key=lambda load: load.rate)
            return PeakSaturation(best, lowest.users, lowest.rate)
    return None


def _per_user(loads: list[Load], busiest: Load) -> UserSaturation | None:
    """Find from where on each virtual user got less throughput, up to the most users."""
    growing = [load for load in loads[: loads.index(busiest) + 1] if load.users]
    if not growing:
        return None
    rates = _smooth([load.rate / load.users for load in growing])
    best = max(rates)
    before = growing[rates.index(best)]
    for i in range(rates.index(best) + 1, len(growing) - MIN_INTERVALS + 1):
        following = rates[i : i + MIN_INTERVALS]
        more_users = growing[i].users >= USER_GROWTH * before.users
        if more_users and max(following) < USER_RATE * best:
            return UserSaturation(growing[i], best, rates[-1])
    return None


def _event_loop(record: Record, loads: list[Load]) -> LoopSaturation | None:
    """Find from where on the event loop had no time left."""
    busy = [value or 0.0 for value in record.timeline.event_loop_busy]
    for i in range(len(busy) - MIN_INTERVALS + 1):
        if min(busy[i : i + MIN_INTERVALS]) >= BUSY:
            return LoopSaturation(loads[i], max(busy))
    return None
