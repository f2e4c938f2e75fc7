"""A run as one record: all that is known of it, kept as `RUN.json` beside its page.

Times are in seconds, moments in seconds since 1970, shares from 0 to 1, `at` in seconds since the
run began. What could not be known is null.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from lab.clients.spans import Period, Span
from lab.errors import UserError
from lab.paths import PROJECT

FORMAT: Final = 2
FOLDER_VARIABLE = "CLINIC_RESULTS_DIR"

Verdict = Literal["passed", "failed", "aborted", "running", "none"]
# Of such a run not all is known, or not all was done.
UNFINISHED: tuple[Verdict, ...] = ("running", "aborted")
SideName = Literal["client", "server", "database"]


class RecordError(UserError):
    """A saved record cannot be read; the message says what to do."""


class OperationStats(Struct, frozen=True, kw_only=True):
    """One operation of a run, or all of them, as k6, the server and the database saw it.

    `outside_server`, `in_server` and `in_database` share out the client's time and add up to 1.
    """

    operation: str
    requests: int
    rate: float
    failed_share: float
    client_p50: float | None = None
    client_p95: float | None = None
    client_p99: float | None = None
    server_p95: float | None = None
    database_p95: float | None = None
    outside_server: float | None = None
    in_server: float | None = None
    in_database: float | None = None
    limit_p95: float | None = None
    limit_failed_share: float | None = None


class Threshold(Struct, frozen=True):
    """A threshold of k6 and its verdict, such as `p(95)<300` on `http_req_duration{...}`."""

    metric: str
    threshold: str
    passed: bool


class ErrorCount(Struct, frozen=True):
    """How often k6 judged an operation's answer wrong in one way."""

    operation: str
    kind: str
    count: int


class Completeness(Struct, frozen=True):
    """What a run sent and was promised, against what was stored of it."""

    sent: int
    unanswered: int
    traced: int
    created: int = 0
    rows_written: int = 0

    @property
    def missing(self) -> int:
        return max(0, self.sent - self.unanswered - self.traced)

    @property
    def missing_rows(self) -> int:
        return max(0, self.created - self.rows_written)

    @property
    def whole(self) -> bool:
        """Tell whether nothing is missing."""
        return not self.missing and not self.missing_rows


class Timeline(Struct, frozen=True, kw_only=True):
    """A run over time: each list has a value for each of `at`, over the `step` that ends there."""

    step: float
    at: list[float] = field(default_factory=list)
    virtual_users: list[float | None] = field(default_factory=list)
    rate: list[float | None] = field(default_factory=list)
    failed_rate: list[float | None] = field(default_factory=list)
    client_p50: list[float | None] = field(default_factory=list)
    client_p95: list[float | None] = field(default_factory=list)
    server_p95: list[float | None] = field(default_factory=list)
    database_p95: list[float | None] = field(default_factory=list)
    connections_used: list[float | None] = field(default_factory=list)
    connections_allowed: list[float | None] = field(default_factory=list)
    event_loop_lag_p95: list[float | None] = field(default_factory=list)


class TimelinePoint(Struct, frozen=True, kw_only=True):
    """What one operation did in one step of the course, the one that ends at `at`."""

    operation: str
    at: float
    requests: int
    mean: float
    p50: float
    p95: float
    server_p95: float | None = None
    database_p95: float | None = None


class DurationHistogram(Struct, frozen=True):
    """How long one operation's requests took on one side, counted in each of a run's parts.

    A run has ten parts of equal length, fewer where it is short. The count at `i` is of bucket
    `first + i`: of what took up to 2 to the power of (first + i) / 8 seconds, and no less than the
    bucket before it.
    """

    operation: str
    side: SideName
    first: int
    parts: list[list[int]]


class Trace(Struct, frozen=True):
    """A request of the run: what its server span says, and all of its spans."""

    trace_id: str
    operation: str
    start: float
    duration: float
    status: int | None
    spans: list[Span]


class Machine(Struct, frozen=True):
    """The machine that put the load on: two runs compare only on the same."""

    cores: int
    cpu: str
    platform: str
    memory: int


class Environment(Struct, frozen=True):
    """Where a run was made, by which programs, and what k6 was told.

    `neighbours` is the share of the machine's processors that other programs took meanwhile.
    """

    target: str
    machine: Machine
    programs: dict[str, str]
    settings: dict[str, str]
    options: dict[str, Any]
    other_cpu_share: float | None = None


class Record(Struct, frozen=True, kw_only=True):
    """A run. `missing` says in sentences what could not be read of it."""

    format: Literal[2] = FORMAT
    run_id: str
    profile: str | None
    journey: str | None
    period: Period
    planned: float | None
    verdict: Verdict
    thresholds: list[Threshold]
    operations: list[OperationStats]
    total: OperationStats
    completeness: Completeness
    errors: list[ErrorCount]
    dropped_iterations: int
    failed_statuses: list[int]
    timeline: Timeline
    operation_timeline: list[TimelinePoint]
    histograms: list[DurationHistogram] = field(default_factory=list)
    slowest_traces: list[Trace] = field(default_factory=list)
    failed_traces: list[Trace] = field(default_factory=list)
    environment: Environment | None = None
    missing: list[str] = field(default_factory=list)

    def save(self) -> Path:
        """Write the record where `load` finds it, and say where."""
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        return put(place(self.run_id, ".json"), encoded + b"\n")


def folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or PROJECT / "performance" / "results")


def place(run: str, suffix: str) -> Path:
    """Name the file of a run; an id that k6 was given by hand may hold anything."""
    return folder() / (re.sub(r"[^A-Za-z0-9._:-]", "_", run)[:200] + suffix)


def put(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    return part.replace(path)


def load(path: Path) -> Record:
    """Read a record, or say in a sentence why not."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{path} is not the record of a run in format {FORMAT} ({error}): "
            f"`just report {path.stem}` writes it anew while Prometheus knows the run."
        ) from None


def saved(run: str) -> Record | None:
    """Read the saved record of a run, if there is one."""
    path = place(run, ".json")
    return load(path) if path.exists() else None


def all_saved() -> list[Path]:
    """List the files of records, whatever they hold."""
    return sorted(folder().glob("*.json"))


def trace_ids() -> Iterator[str]:
    """Name the traces that the saved records hold; a file that is no record is passed over."""
    for path in all_saved():
        with suppress(RecordError):
            of_run = load(path)
            yield from (trace.trace_id for trace in (*of_run.slowest_traces, *of_run.failed_traces))
