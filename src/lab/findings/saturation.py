"""Find the load at which the clinic saturates: throughput stops growing, or a limit is exceeded."""

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
# Users, and a rate, within 5 % of the highest value count as the highest.
NEAR_MAXIMUM = 0.95
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
class Saturation:
    """What a run with a varying load shows: each saturation found, earliest first.

    `exceeded_at_start` are operations that exceeded their limit before the load had grown: their
    latency is no sign of saturation. `best` is the load of the highest throughput, `busiest` the
    first with the most users; between them throughput grew or declined, unless k6 started
    `arrivals` at a planned rate and dropped none.
    """

    saturations: list[LatencySaturation | ThroughputSaturation]
    exceeded_at_start: list[OperationStats]
    best: Load
    busiest: Load
    arrivals: bool
    throughput: Literal["planned", "grew", "declined", "unknown"]


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
    throughput: Literal["planned", "grew", "declined", "unknown"] = "unknown"
    if arrivals and not record.dropped_iterations:
        throughput = "planned"
    elif loads.index(best) < loads.index(busiest) and busiest.rate < NEAR_MAXIMUM * best.rate:
        throughput = "declined"
    elif users_doubled:
        throughput = "grew"
    latency, exceeded_at_start = _latency(record, loads)
    found = [latency, None if throughput == "planned" else _throughput(loads, busiest)]
    return Saturation(
        sorted(filter(None, found), key=lambda saturation: saturation.load.interval.start),
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


def _throughput(loads: list[Load], busiest: Load) -> ThroughputSaturation | None:
    """Find from where on more users brought no higher throughput, up to the most users."""
    until = loads.index(busiest) + 1
    for i, load in enumerate(loads[: max(0, until - MIN_INTERVALS)]):
        max_rate = max(later.rate for later in loads[i:until])
        more_users = load.users and busiest.users >= USER_GROWTH * load.users
        if more_users and load.rate and max_rate < RATE_GROWTH * load.rate:
            return ThroughputSaturation(load, busiest.users, max_rate)
    return None
