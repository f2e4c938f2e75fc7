"""What limited a run, in a sentence: the cause, the numbers that show it, and what to try."""

from collections.abc import Iterable

from lab.console import clock, milliseconds, percent
from lab.findings.names import ADVICE, CAUSES, PARTS, UNJUDGED
from lab.runs.record import Bottleneck, CauseName, OperationStats, PartName, Record

EVIDENCE: dict[CauseName, str] = {
    "generator_starved": "pauses of k6's script returned {pause_lateness_mean} ms late on average "
    "(p95 {pause_lateness_p95} ms)",
    "generator_too_small": "{dropped_share} of the iterations were dropped, as all "
    "{virtual_users} virtual users were busy, and the API had time to spare",
    "machine": "they used {other_cpu_share} of the machine's CPU time, and the API's event loop "
    "waited for a CPU {event_loop_run_queue_share} of the time",
    "network": "{network_mean} ms of the mean request are spent neither in k6 nor in the API",
    "api_cpu": "its event loop used {event_loop_cpu_cores} of a core and ran "
    "{event_loop_delay_mean} ms late on average, with up to {virtual_users} virtual users",
    "api_blocked": "its event loop stood still {event_loop_stalled_share} of the time without "
    "using the CPU, and ran {event_loop_delay_mean} ms late on average",
    "api_halted": "it did not run {event_loop_halted_share} of the time, although it had work, and "
    "its event loop ran {event_loop_delay_mean} ms late on average",
    "pool": "requests waited {pool_wait_mean} ms on average for one of {pool_size} connections, "
    "which executed {statement} ({execution_mean} ms)",
    "postgresql_execution": "{statement} executed for {execution_mean} ms on average",
    "postgresql_locks": "{statement} waited {lock_wait_mean} ms on average for locks ({lock})",
    "postgresql_commit": "{statement} waited {commit_mean} ms on average for its commit, and a "
    "flush of the write-ahead log took the disk {wal_fsync_mean} ms",
}
# With these causes the time that requests wait for a connection belongs to PostgreSQL, too.
DATABASE_PARTS: dict[CauseName, PartName] = {
    "postgresql_execution": "postgresql_executing",
    "postgresql_locks": "postgresql_locks",
    "postgresql_commit": "postgresql_commit",
}
# Statements that use the CPU for less of their time wait for something else.
MIN_CPU_SHARE = 0.1
MIN_EXECUTING = 0.5
# A smaller share of waiting for connections needs no explanation.
MIN_POOL = 0.1
MAX_OPERATIONS = 2
# A smaller share of unknown time is not worth a column.
MIN_UNKNOWN = 0.01


def shown_parts(rows: Iterable[OperationStats]) -> list[PartName]:
    """List the parts to show for these rows."""
    unknown = max(stats.time_shares.get("unknown", 0.0) for stats in rows)
    return [part for part in PARTS if part != "unknown" or unknown >= MIN_UNKNOWN]


def sentence(record: Record) -> str:
    """Say what limited a run."""
    cause = record.bottleneck.cause
    if cause == "none" and record.exceeds_limits:
        return "Bottleneck: none found. No single cause took a large share of the requests' time."
    if cause == "none":
        return f"Bottleneck: none. The limit was not reached{_headroom(record)}."
    if cause == "unknown":
        return (
            f"Bottleneck: unknown. {percent(record.bottleneck.share)} of the requests' time is "
            "spent where no metric explains it."
        )
    head = "The run cannot be judged" if cause in UNJUDGED else "Bottleneck"
    details = f"{_details(record.bottleneck, record)}{_idle_cpu(record)}"
    return f"{head}: {CAUSES[cause]}: {details} Try: {ADVICE[cause]}."


def other_sentences(record: Record) -> list[str]:
    """Say what else limited a run, the largest first."""
    return [
        f"Also a bottleneck: {CAUSES[other.cause]}: {_details(other, record)}"
        for other in record.other_bottlenecks
    ]


def _headroom(record: Record) -> str:
    busy = [value for value in record.timeline.event_loop_busy if value is not None]
    return (
        f": the API's event loop was busy {percent(max(busy))} of the time at most" if busy else ""
    )


def _details(bottleneck: Bottleneck, record: Record) -> str:
    values = {name: _value(name, value) for name, value in bottleneck.evidence.items()}
    text = EVIDENCE[bottleneck.cause].format_map(Missing(values))
    if bottleneck.cause == "generator_too_small":
        return f"{text}."
    since = bottleneck.since
    begin = "" if not since or since <= record.timeline.step else f", from {clock(since)} on"
    pool = record.total.time_shares.get("api_pool", 0.0)
    part = DATABASE_PARTS.get(bottleneck.cause)
    share, waiting = bottleneck.share, ""
    if part and pool >= MIN_POOL:
        share = record.total.time_shares.get(part, 0.0)
        waiting = (
            ", and kept the API's connections busy: requests of all operations waited for one, "
            f"which took {percent(pool)} of their time"
        )
    text += f". It took {percent(share)} of the requests' time{begin}"
    return f"{text}{_operations(bottleneck, record)}{waiting}."


def _idle_cpu(record: Record) -> str:
    """Say that statements waited rather than computed, if PostgreSQL hardly used a CPU."""
    postgresql = record.resource("postgresql")
    used = postgresql.cpu_mean if postgresql else None
    stats = record.total
    share = stats.time_shares.get("postgresql_executing", 0.0)
    executing = share * (stats.client_mean or 0.0) * stats.rate
    if record.bottleneck.cause != "postgresql_execution" or used is None:
        return ""
    if executing < MIN_EXECUTING or used > MIN_CPU_SHARE * executing:
        return ""
    return (
        f" PostgreSQL used {used:.2f} of a core while {executing:.1f} statements executed on "
        "average: they waited rather than computed."
    )


class Missing(dict[str, str]):
    """Evidence in which a number that is not known reads as a question mark."""

    def __missing__(self, name: str) -> str:
        return "?"


def _value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_share"):
        return percent(value)
    if name.endswith("_cores"):
        return f"{value:.2f}"
    return f"{value:,.0f}" if name in {"virtual_users", "pool_size"} else milliseconds(value)


def _operations(bottleneck: Bottleneck, record: Record) -> str:
    names = bottleneck.operations
    if not names or len(names) == len(record.operations):
        return ", in every operation" if len(names) > 1 else ""
    shown = " and ".join(names[:MAX_OPERATIONS])
    more = len(names) - MAX_OPERATIONS
    return f", most of it in {shown}{f' and {more} more' if more > 0 else ''}"
