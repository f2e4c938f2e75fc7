"""What verdicts, parts of a request's time and causes of a bottleneck are called, everywhere."""

from dataclasses import dataclass
from typing import Literal

from lab.runs.record import CauseName, PartName, ResourceName, Verdict, VerdictReason

# Whether something is good or bad; each kind of output has its colours for them.
Tone = Literal["good", "bad", "warning", "neutral"]


@dataclass(frozen=True, slots=True)
class VerdictName:
    """A verdict as people read it, with a mark for those who do not see its colour."""

    mark: str
    text: str
    tone: Tone


VERDICTS: dict[Verdict, VerdictName] = {
    "passed": VerdictName("✓", "passed", "good"),
    "failed": VerdictName("✗", "failed", "bad"),
    "aborted": VerdictName("■", "aborted", "warning"),
    "running": VerdictName("…", "running", "neutral"),
    "none": VerdictName("–", "no verdict", "neutral"),  # noqa: RUF001 - a dash
}
VERDICT_REASONS: dict[VerdictReason, str] = {
    "interrupted": "it was interrupted",
    "killed": "k6 did not report its end",
    "no_thresholds": "k6 ran without thresholds",
    "not_reported": "k6 did not report one",
    "other_generator": "another script made it",
}

# Every verdict with each of its reasons.
OUTCOMES: tuple[tuple[Verdict, VerdictReason], ...] = (
    ("passed", ""),
    ("failed", ""),
    ("aborted", "interrupted"),
    ("aborted", "killed"),
    ("running", ""),
    ("none", "no_thresholds"),
    ("none", "not_reported"),
    ("none", "other_generator"),
)


def verdict_text(verdict: Verdict, reason: VerdictReason = "") -> str:
    """Word a verdict and its reason, as every output does: `■ aborted: it was interrupted`."""
    name = VERDICTS[verdict]
    return f"{name.mark} {name.text}" + (f": {VERDICT_REASONS[reason]}" if reason else "")


# A heading, and what the time was spent on.
PARTS: dict[PartName, tuple[str, str]] = {
    "generator": ("k6", "in k6"),
    "network": ("Network", "in the network or a proxy"),
    "api_working": ("API CPU", "in the API's own code"),
    "api_event_loop": ("Event loop", "waiting for the API's event loop"),
    "api_pool": ("Pool", "waiting for a database connection"),
    "postgresql_executing": ("Executing", "executing in PostgreSQL"),
    "postgresql_locks": ("Locks", "waiting for locks in PostgreSQL"),
    "postgresql_commit": ("Commit", "committing in PostgreSQL"),
    "unknown": ("Unknown", "that no metric explains"),
}

RESOURCES: dict[ResourceName, str] = {
    "api": "API",
    "postgresql": "PostgreSQL",
    "k6": "k6",
    "machine": "Machine",
}

# With these causes a run says nothing about the API.
UNJUDGED: dict[CauseName, str] = {
    "generator_starved": "the generator was starved",
    "generator_too_small": "the generator was too small",
    "machine": "other programs took the CPU",
}
CAUSES: dict[CauseName, str] = UNJUDGED | {
    "network": "the network between k6 and the API, or a proxy",
    "api_cpu": "the API's CPU",
    "api_blocked": "a blocking call in the API",
    "api_halted": "the API's process was halted",
    "pool": "the API's connection pool",
    "postgresql_execution": "execution in PostgreSQL",
    "postgresql_locks": "locks in PostgreSQL",
    "postgresql_commit": "commits in PostgreSQL",
    "unknown": "unknown",
    "none": "none",
}
ADVICE: dict[CauseName, str] = {
    "generator_starved": "run k6 on a machine with CPUs to spare, or with less load",
    "generator_too_small": "allow more virtual users with VUS",
    "machine": "stop the other programs, or use another machine",
    "network": "run k6 beside the API, and compare",
    "api_cpu": "fewer users, more processes of the API, or a profile of its code",
    "api_blocked": "`just logs api` names the line that blocks",
    "api_halted": "look for a CPU limit, a frozen container or a paused machine",
    "pool": "a larger CLINIC_POOL_SIZE, or a faster statement",
    "postgresql_execution": "EXPLAIN ANALYZE of the statement, its indexes, triggers and functions",
    "postgresql_locks": "find the session that holds the lock: pg_blocking_pids in `just psql`",
    "postgresql_commit": "a faster disk for PostgreSQL's write-ahead log",
}

# What failed, of the kinds of errors that the script counts; the others say it themselves.
ERROR_KINDS: dict[str, str] = {
    "status": "unexpected status",
    "body": "unexpected body",
    "script": "exception in the script",
}
# The codes of errors that k6 reports where there is no response, as its manual describes them.
K6_ERRORS: dict[int, str] = {
    1000: "any other error",
    1010: "network error",
    1020: "invalid URL",
    1050: "request timeout",
    1100: "DNS error",
    1101: "unknown host",
    1200: "TCP error",
    1201: "broken pipe",
    1210: "cannot connect",
    1211: "connect timeout",
    1212: "connection refused",
    1220: "connection reset",
    1300: "TLS error",
}
# PostgreSQL's names of the reasons for which it refuses the API's statements most often.
SQLSTATES: dict[str, str] = {
    "08006": "connection_failure",
    "23502": "not_null_violation",
    "23503": "foreign_key_violation",
    "23505": "unique_violation",
    "23514": "check_violation",
    "40001": "serialization_failure",
    "40P01": "deadlock_detected",
    "53300": "too_many_connections",
    "55P03": "lock_not_available",
    "57014": "query_canceled",
    "57P01": "admin_shutdown",
    "57P03": "cannot_connect_now",
    "P0001": "raise_exception",
}
