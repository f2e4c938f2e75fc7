"""Everything that is known about a run, as one record: RUN.json, beside its report RUN.html.

Durations are in seconds, times in seconds since 1970, `at` in seconds since the start of the run,
shares from 0 to 1. Unknown values are null.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from lab.clients.spans import Period, Trace
from lab.errors import UserError
from lab.paths import results_folder

# Records of format 3 lack what has been added since, and can be read.
FORMAT: Final = 4
PART_FILE = re.compile(r"\.part-\d+s-\d+s\.(json|html)$")

Verdict = Literal["passed", "failed", "aborted", "running", "none"]
# Such a run is incomplete, so it cannot be compared.
UNFINISHED: tuple[Verdict, ...] = ("running", "aborted")
# Why a run was aborted, or why it has no verdict. Every other verdict needs no reason.
VerdictReason = Literal[
    "", "interrupted", "killed", "no_thresholds", "not_reported", "other_generator"
]
SideName = Literal["client", "server", "database"]
# The phases of a request as k6 times them, in their order.
PhaseName = Literal["blocked", "connecting", "tls", "sending", "waiting", "receiving"]
ResourceName = Literal["api", "postgresql", "k6", "machine"]
# Where a request spends its time; docs/bottleneck.md describes each part and each cause.
PartName = Literal[
    "generator",
    "network",
    "api_working",
    "api_event_loop",
    "api_pool",
    "postgresql_executing",
    "postgresql_locks",
    "postgresql_commit",
    "unknown",
]
CauseName = Literal[
    "generator_starved",
    "generator_too_small",
    "machine",
    "network",
    "api_cpu",
    "api_blocked",
    "api_halted",
    "pool",
    "postgresql_execution",
    "postgresql_locks",
    "postgresql_commit",
    "unknown",
    "none",
]


class RecordError(UserError):
    """A saved record cannot be read; the message says what to do."""


class OperationStats(Struct, frozen=True, kw_only=True):
    """One operation, or all of them, as measured by k6, the server and the database.

    `database_p95` is of the statements as the API saw them, its event loop included; the
    `postgresql_…` are seconds of the mean request as PostgreSQL measured them: execution includes
    waits for row locks. `time_shares` are shares of the client's time that add up to 1; without
    PostgreSQL's or the API's own metrics the rest is `unknown`. `limit_p95` and
    `limit_failed_share` are the limits of its SLO; `over_limit_share` is the share of its requests
    that took longer than `limit_p95`.
    """

    operation: str
    requests: int
    rate: float
    failed_share: float
    client_min: float | None = None
    client_mean: float | None = None
    client_p50: float | None = None
    client_p90: float | None = None
    client_p95: float | None = None
    client_p99: float | None = None
    client_max: float | None = None
    server_p95: float | None = None
    database_p95: float | None = None
    postgresql_execution: float | None = None
    postgresql_lock_wait: float | None = None
    postgresql_commit: float | None = None
    time_shares: dict[PartName, float] = field(default_factory=dict)
    limit_p95: float | None = None
    limit_failed_share: float | None = None
    over_limit_share: float | None = None


class Threshold(Struct, frozen=True):
    """A threshold of k6, such as `p(95)<300` on `http_req_duration{...}`.

    `reached` is the value that decided it, in k6's unit: milliseconds for durations.
    """

    metric: str
    threshold: str
    passed: bool
    reached: float | None = None


class Generator(Struct, frozen=True, kw_only=True):
    """A k6 process that made a part of a run.

    `started` and `ended` are in seconds since the start of the run; `ended` is None if it reported
    no end. `passed` tells whether its own requests alone passed all thresholds.
    """

    name: str
    profile: str | None
    started: float
    ended: float | None
    requests: int
    passed: bool | None


class ErrorCount(Struct, frozen=True):
    """The number of failed checks of one kind for an operation.

    `status` is that of the response, 0 if there was none; `title` is that of its problem details.
    `error_code` is k6's, such as 1050 for a timeout.
    """

    operation: str
    kind: str
    count: int
    status: int | None = None
    title: str = ""
    error_code: int | None = None


class DatabaseError(Struct, frozen=True):
    """The number of statements of an operation that PostgreSQL refused with one SQLSTATE."""

    operation: str
    sqlstate: str
    count: int


class Phase(Struct, frozen=True, kw_only=True):
    """Seconds that requests spent in one phase, of all operations together."""

    mean: float
    p95: float | None = None


class Check(Struct, frozen=True):
    """The results of one check of the script."""

    name: str
    passed: int
    failed: int


class Iterations(Struct, frozen=True, kw_only=True):
    """The iterations of the script, their pauses included in their seconds."""

    count: int
    mean: float | None = None
    p95: float | None = None


class Resource(Struct, frozen=True, kw_only=True):
    """What a program, or the whole machine, used during the load.

    CPU is in cores, `memory` is the most resident memory in bytes. `cores` is how many CPUs there
    are for it.
    """

    name: ResourceName
    cpu_mean: float | None = None
    cpu_max: float | None = None
    memory: float | None = None
    cores: float | None = None


class Statement(Struct, frozen=True, kw_only=True):
    """A statement that PostgreSQL executed during the load, of whichever caller.

    `name` is its operation and table, `mean` the seconds of one execution, row locks included.
    `lock_wait` and `commit` are seconds of the mean execution.
    """

    name: str
    calls: int
    mean: float
    lock_wait: float | None = None
    commit: float | None = None


class PostgreSQL(Struct, frozen=True, kw_only=True):
    """What PostgreSQL did during the load: the statements that took most time first.

    `wal_bytes` were written to the write-ahead log; a flush of it took `fsync_mean` seconds.
    `locks` are the seconds in which backends waited, by kind of lock.
    """

    statements: list[Statement] = field(default_factory=list)
    wal_bytes: float | None = None
    fsyncs: int | None = None
    fsync_mean: float | None = None
    locks: dict[str, float] = field(default_factory=dict)


class Heatmap(Struct, frozen=True, kw_only=True):
    """How many requests of all operations took how long for k6, over time.

    `counts` has one list for each interval of the timeline. Count `i` of a list is for durations of
    up to 2 ** ((first + i) / 2) seconds that exceed the previous bucket.
    """

    first: int
    counts: list[list[int]]


class Completeness(Struct, frozen=True):
    """What a run sent, and what was stored of it; `unanswered` requests need no span."""

    sent: int
    unanswered: int
    traced: int
    created: int = 0
    rows_written: int = 0

    @property
    def missing(self) -> int:
        return max(0, self.sent - self.unanswered - self.traced)

    @property
    def most_missing(self) -> int:
        """The most traces that can be missing: unanswered requests may be among the traced."""
        return min(self.sent - self.unanswered, max(0, self.sent - self.traced))

    @property
    def missing_rows(self) -> int:
        return max(0, self.created - self.rows_written)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.missing_rows


class Timeline(Struct, frozen=True, kw_only=True):
    """A run over time: one value per `at`, for the interval of `step` seconds that ends there.

    `parts` are seconds of the mean request, `event_loop_busy` is the share of the time in which the
    event loop was not idle. `cpu` is in cores, `memory` in bytes. What the services report of an
    interval is from a report up to 2.5 s earlier or later.
    """

    step: float
    at: list[float] = field(default_factory=list)
    virtual_users: list[float | None] = field(default_factory=list)
    rate: list[float | None] = field(default_factory=list)
    failed_rate: list[float | None] = field(default_factory=list)
    client_p50: list[float | None] = field(default_factory=list)
    client_p90: list[float | None] = field(default_factory=list)
    client_p95: list[float | None] = field(default_factory=list)
    client_p99: list[float | None] = field(default_factory=list)
    server_p95: list[float | None] = field(default_factory=list)
    database_p95: list[float | None] = field(default_factory=list)
    connections_used: list[float | None] = field(default_factory=list)
    connections_allowed: list[float | None] = field(default_factory=list)
    event_loop_lag_p95: list[float | None] = field(default_factory=list)
    event_loop_busy: list[float | None] = field(default_factory=list)
    parts: dict[PartName, list[float | None]] = field(default_factory=dict)
    cpu: dict[ResourceName, list[float | None]] = field(default_factory=dict)
    memory: dict[ResourceName, list[float | None]] = field(default_factory=dict)


class TimelinePoint(Struct, frozen=True, kw_only=True):
    """One operation in the interval of the timeline that ends at `at`."""

    operation: str
    at: float
    requests: int
    mean: float
    p50: float
    p95: float
    server_p95: float | None = None
    database_p95: float | None = None


class DurationHistogram(Struct, frozen=True):
    """One operation's durations on one side, counted separately for each segment of the run.

    Segments are of equal length: a tenth of the run, or more of a short one. Count `i` of a segment
    is for durations of up to 2 ** ((first + i) / 8) seconds that exceed the previous bucket.
    """

    operation: str
    side: SideName
    first: int
    segments: list[list[int]]


class Bottleneck(Struct, frozen=True, kw_only=True):
    """What limited a run, or one of the causes that did.

    `share` is the cause's share of the time of all requests, of a generator that is too small the
    share of iterations that it dropped. `since` is when it began. `evidence` has the numbers that
    show it, in seconds, shares, cores or counts as their names say. `none` and `unknown` have no
    evidence.
    """

    cause: CauseName
    share: float = 0.0
    since: float | None = None
    evidence: dict[str, float | str] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)


class Machine(Struct, frozen=True):
    """The machine that ran k6; runs on different machines cannot be compared."""

    cores: int
    cpu: str
    platform: str
    memory: int


class Environment(Struct, frozen=True):
    """Where a run took place, the versions of all programs, and k6's settings and options.

    `commit` is the git commit of the project, with `+` if files differ from it.
    `other_cpu_share` is the share of the machine's CPU time that unrelated programs used.
    """

    target: str
    machine: Machine
    programs: dict[str, str]
    settings: dict[str, str]
    options: dict[str, Any]
    commit: str = ""
    other_cpu_share: float | None = None


class Record(Struct, frozen=True, kw_only=True):
    """A run, or the part of it that `part` names, in seconds since its start.

    `generators` are those of a run that several made together.
    `name` and `note` are what a user calls it and says of it, `tags` are those of K6_TAGS.
    Later runs of its profile and journey are compared with a `baseline`.
    `missing` lists, in sentences, what could not be read.
    """

    format: Literal[3, 4] = FORMAT
    run_id: str
    name: str = ""
    note: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    baseline: bool = False
    part: tuple[float, float] | None = None
    profile: str | None
    journey: str | None
    period: Period
    planned: float | None
    verdict: Verdict
    verdict_reason: VerdictReason = ""
    thresholds: list[Threshold]
    generators: list[Generator] = field(default_factory=list)
    operations: list[OperationStats]
    total: OperationStats
    completeness: Completeness
    errors: list[ErrorCount]
    database_errors: list[DatabaseError] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    iterations: Iterations | None = None
    phases: dict[PhaseName, Phase] = field(default_factory=dict)
    bytes_sent: float | None = None
    bytes_received: float | None = None
    resources: list[Resource] = field(default_factory=list)
    postgresql: PostgreSQL = PostgreSQL()
    bottleneck: Bottleneck
    other_bottlenecks: list[Bottleneck] = field(default_factory=list)
    dropped_iterations: int
    failed_statuses: list[int]
    timeline: Timeline
    operation_timeline: list[TimelinePoint]
    histograms: list[DurationHistogram] = field(default_factory=list)
    heatmap: Heatmap | None = None
    slowest_traces: list[Trace] = field(default_factory=list)
    failed_traces: list[Trace] = field(default_factory=list)
    environment: Environment | None = None
    missing: list[str] = field(default_factory=list)

    def resource(self, name: ResourceName) -> Resource | None:
        """Return what a program used, if it is known."""
        return next((resource for resource in self.resources if resource.name == name), None)

    @property
    def nearest_limit(self) -> OperationStats | None:
        """The operation whose p95 is the largest share of its limit."""
        limited = [row for row in self.operations if row.client_p95 is not None and row.limit_p95]
        return max(
            limited,
            key=lambda row: (row.client_p95 or 0) / (row.limit_p95 or 1),
            default=None,
        )

    @property
    def exceeds_limits(self) -> bool:
        nearest = self.nearest_limit
        return bool(nearest and (nearest.client_p95 or 0) > (nearest.limit_p95 or 0))

    def file(self, suffix: str) -> Path:
        """Return the path of a file of the run, or of its part."""
        part = ".part-{:.0f}s-{:.0f}s".format(*self.part) if self.part else ""
        return result_file(self.run_id, part + suffix)

    def save(self) -> Path:
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        return write_file(self.file(".json"), encoded + b"\n")


def result_file(run_id: str, suffix: str) -> Path:
    """Return the path of a run's file; an id that k6 got by hand may hold any characters."""
    name = re.sub(r"[^A-Za-z0-9._:-]", "_", run_id)[:200]
    return results_folder() / f"{name}{suffix}"


def write_file(path: Path, content: bytes) -> Path:
    """Write a file completely or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    return temporary.replace(path)


def load(path: Path) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{path} is not a run record of format {FORMAT} ({error}): `just report {path.stem}` "
            "replaces it while Prometheus has the run."
        ) from None


def load_saved(run_id: str) -> Record | None:
    path = result_file(run_id, ".json")
    return load(path) if path.exists() else None


def saved_files() -> list[Path]:
    """List the records of runs, without those of parts."""
    files = results_folder().glob("*.json")
    return sorted(path for path in files if not PART_FILE.search(path.name))


def saved() -> Iterator[Record]:
    """Yield all saved records; unreadable files are skipped."""
    for path in saved_files():
        with suppress(RecordError):
            yield load(path)


def result_files(run_id: str) -> list[Path]:
    """List the files of a run: its record and report page, and those of its parts."""
    name = result_file(run_id, "").name
    parts = results_folder().glob(f"{escape(name)}.part-*")
    found = (path for path in parts if PART_FILE.search(path.name))
    return [result_file(run_id, ".json"), result_file(run_id, ".html"), *found]


def saved_trace_ids() -> Iterator[str]:
    """Yield the ids of all traces in saved records."""
    for record in saved():
        yield from (trace.trace_id for trace in (*record.slowest_traces, *record.failed_traces))
