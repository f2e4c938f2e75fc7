"""What a run's numbers say, in sentences: which operation is slow, on which side, since when."""

import re
from dataclasses import dataclass
from statistics import median

from lab.runs.record import OperationStats, Record, Threshold, TimelinePoint

Stretch = tuple[float, float]

# How much a run's load must vary for it to have a knee, and what counts as growth of its rate.
VARIES = 2.0
MORE_USERS = 1.25
MORE_RATE = 1.10
AT_THE_PEAK = 0.95
ARRIVALS = ("smoke", "load", "soak", "breakpoint")
# A single step is no proof: of few requests the slowest is the 95th of 100.
STEPS_IN_A_ROW = 2
BRIDGED = 2

# From here on a tenth of a millisecond means nothing.
WHOLE = 100
THRESHOLD = re.compile(
    r"http_req_(?P<of>duration|failed)\{(?P<tag>name|scenario):(?P<name>.*)\} "
    r"(?:p\((?P<quantile>\d+)\)<(?P<ms>\d+)|rate<(?P<share>[\d.]+))"
)

SIDES = {
    "outside_server": "outside the server: network, queues, k6",
    "in_server": "in the server",
    "in_database": "in the database",
}


@dataclass(frozen=True, slots=True)
class Slow:
    """The operation that is slowest against its objective, and when it was outside of it."""

    row: OperationStats
    outside: list[Stretch]
    worst_at: float | None
    to_the_end: bool


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the load became too much: a moment of the course, and why."""

    at: float
    users: float
    rate: float
    why: str


def clock(seconds: float) -> str:
    """Say a time since the start as people do: 2:05, 1:02:05."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def ms(seconds: float | None) -> str:
    """Say milliseconds with as many digits as mean something."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:,.0f}" if value >= WHOLE else f"{value:.1f}"


def say_threshold(threshold: Threshold) -> tuple[str, str]:
    """Say what a threshold is on, and what it demands; as k6 has it where it is another kind."""
    found = THRESHOLD.fullmatch(f"{threshold.metric} {threshold.threshold}")
    if not found:
        return threshold.metric, threshold.threshold
    on = "every request" if found["tag"] == "scenario" else found["name"]
    if found["of"] == "duration":
        return on, f"p{found['quantile']} < {found['ms']} ms"
    return on, f"failed < {float(found['share']) * 100:g} %"


def points_of(record: Record, operation: str) -> list[TimelinePoint]:
    return [part for part in record.operation_timeline if part.operation == operation]


def slowest_operation(record: Record) -> Slow | None:
    """Find the operation that took most of what its objective allows."""
    judged = [row for row in record.operations if row.client_p95 is not None and row.limit_p95]
    if not judged:
        return None
    row = max(judged, key=lambda row: (row.client_p95 or 0) / (row.limit_p95 or 1))
    points = points_of(record, row.operation)
    outside = stretches(record, row)
    worst = max(points, key=lambda part: part.p95, default=None)
    to_the_end = bool(outside and points and outside[-1][1] >= points[-1].at)
    return Slow(row, outside, worst.at if worst else None, to_the_end)


def stretches(record: Record, row: OperationStats) -> list[Stretch]:
    """Find from when to when an operation was outside its objective, but for a moment."""
    found: list[Stretch] = []
    step = record.timeline.step
    limit = row.limit_p95
    for part in points_of(record, row.operation):
        if limit is None or part.p95 <= limit:
            continue
        if found and part.at - found[-1][1] < (BRIDGED + 1.5) * step:
            found[-1] = (found[-1][0], part.at)
        else:
            found.append((part.at - step, part.at))
    return found


def main_side(row: OperationStats) -> str | None:
    """Name the field of the side on which most of an operation's time went."""
    shares = {side: getattr(row, side) for side in SIDES}
    if any(share is None for share in shares.values()):
        return None
    return max(shares, key=lambda side: float(shares[side]))


def say_slowest(slow: Slow) -> str:
    """Say which operation is slow, on which side, and since when."""
    row = slow.row
    over = (row.client_p95 or 0) > (row.limit_p95 or 0)
    head = (
        "Slowest against its objective"
        if slow.outside or over
        else "Every operation kept its objective; nearest to it"
    )
    taken, allowed = ms(row.client_p95), ms(row.limit_p95)
    words = [f"{head}: {row.operation}, p95 {taken} ms where {allowed} ms are allowed."]
    if side := main_side(row):
        words.append(f"{getattr(row, side) * 100:.0f} % of its time went {SIDES[side]}.")
    if slow.outside:
        words.append(_say_when(slow))
    elif slow.worst_at is not None and not over:
        words.append(f"It was slowest at {clock(slow.worst_at)}.")
    return " ".join(words)


def _say_when(slow: Slow) -> str:
    longest = max(slow.outside, key=lambda stretch: stretch[1] - stretch[0])
    if slow.to_the_end and longest == slow.outside[-1]:
        when = f"It left its objective at {clock(longest[0])} and did not come back."
    else:
        when = f"It was outside its objective from {clock(longest[0])} to {clock(longest[1])}."
    others = len(slow.outside) - 1
    return when + (f" ({others} shorter time{'s' * (others > 1)} besides.)" if others else "")


def varies(record: Record) -> bool:
    """Tell whether the load of a run rose enough for a knee to be looked for."""
    users = [value for value in record.timeline.virtual_users if value]
    rates = [value for value in record.timeline.rate if value]
    return any(values and max(values) >= VARIES * values[0] for values in (users, rates))


def knees(record: Record) -> list[Knee]:
    """Find, in their order, where throughput stopped growing and where p95 left the objective."""
    found = [knee for knee in (_stopped_growing(record), _left_objective(record)) if knee]
    return sorted(found, key=lambda knee: knee.at)


def say_knee(record: Record) -> str:
    """Say where the knee is, or that there is none up to the highest load."""
    found = knees(record)
    if not found:
        users = max((value for value in record.timeline.virtual_users if value), default=0.0)
        rate = max((value for value in record.timeline.rate if value), default=0.0)
        return (
            f"No knee up to {_load(record, users, rate)}: no operation left its objective for more "
            "than a moment, and throughput grew with the load."
        )
    knee, *others = found
    words = f"The knee is at {_load(record, knee.users, knee.rate)} ({clock(knee.at)}): {knee.why}."
    return words + "".join(
        f" At {_load(record, other.users, other.rate)} ({clock(other.at)}) {other.why}."
        for other in others
    )


def _load(record: Record, users: float, rate: float) -> str:
    """Name a load; where iterations arrive by a plan, the users busy with them say little."""
    requests = f"{rate:,.0f} requests a second"
    if not users or record.profile in ARRIVALS:
        return requests
    return f"{users:,.0f} virtual users and {requests}"


def say_failed(record: Record) -> str:
    """Say how many requests failed, of which operations and how."""
    failed = round(record.total.failed_share * record.total.requests)
    if not failed:
        return "No request failed."
    words = [f"{failed:,} of {record.total.requests:,} requests failed"]
    worst = max(record.operations, key=lambda row: row.failed_share * row.requests)
    words.append(f", most of them {worst.operation} ({worst.failed_share * 100:.1f} % of its own)")
    if record.failed_statuses:
        statuses = ", ".join(map(str, record.failed_statuses))
        words.append(f"; the server answered {statuses}")
    if record.completeness.unanswered:
        words.append(f"; {record.completeness.unanswered:,} had no answer")
    return "".join(words) + "."


def _left_objective(record: Record) -> Knee | None:
    """Find the first time that an operation was outside its objective for more than a moment."""
    timeline, least = record.timeline, STEPS_IN_A_ROW * record.timeline.step
    first = min(
        (
            (start, row)
            for row in record.operations
            for start, end in stretches(record, row)
            if end - start >= least - timeline.step / 10
        ),
        key=lambda pair: pair[0],
        default=None,
    )
    if first is None:
        return None
    start, row = first
    allowed = ms(row.limit_p95)
    return _knee_at(
        record, start + timeline.step, f"the p95 of {row.operation} left its {allowed} ms"
    )


def _stopped_growing(record: Record) -> Knee | None:
    """Find from where on more virtual users brought no more requests a second."""
    timeline = record.timeline
    # Arrivals level off by plan, unless k6 had no virtual user left to make them.
    if record.profile in ARRIVALS and not record.dropped_iterations:
        return None
    users = [value or 0.0 for value in timeline.virtual_users]
    rates = _smooth([value or 0.0 for value in timeline.rate])
    if not users or not max(users):
        return None
    peak = next(i for i, value in enumerate(users) if value >= AT_THE_PEAK * max(users))
    for i in range(max(0, peak - STEPS_IN_A_ROW + 1)):
        most = max(rates[i : peak + 1])
        if users[i] and rates[i] and users[peak] >= MORE_USERS * users[i]:
            if most >= MORE_RATE * rates[i]:
                continue
            why = (
                f"up to {users[peak]:,.0f} users throughput stayed at {most:,.0f} a second at the "
                "most"
            )
            return Knee(timeline.at[i], users[i], rates[i], why)
    return None


def _smooth(values: list[float]) -> list[float]:
    return [median(values[max(0, i - 1) : i + 2]) for i in range(len(values))]


def _knee_at(record: Record, at: float, why: str) -> Knee:
    timeline = record.timeline
    i = min(range(len(timeline.at)), key=lambda i: abs(timeline.at[i] - at))
    return Knee(at, timeline.virtual_users[i] or 0.0, timeline.rate[i] or 0.0, why)
