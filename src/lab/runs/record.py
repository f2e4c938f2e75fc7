"""Everything that is known about a run, as one record: RUN.json, beside its report RUN.html.

Durations are in seconds, times in seconds since 1970, `at` in seconds since the start of the run,
shares from 0 to 1. Unknown values are null.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from lab.clients.spans import Period, Trace
from lab.errors import UserError
from lab.paths import PROJECT

FORMAT: Final = 2
FOLDER_VARIABLE = "CLINIC_RESULTS_DIR"

Verdict = Literal["passed", "failed", "aborted", "running", "none"]
# Such a run is incomplete, so it cannot be compared.
UNFINISHED: tuple[Verdict, ...] = ("running", "aborted")
SideName = Literal["client", "server", "database"]


class RecordError(UserError):
    """A saved record cannot be read; the message says what to do."""


class OperationStats(Struct, frozen=True, kw_only=True):
    """One operation, or all of them, as measured by k6, the server and the database.

    `outside_server`, `in_server` and `in_database` are shares of the client's time; they add up
    to 1. `limit_p95` and `limit_failed_share` are the limits of its SLO.
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
    """A threshold of k6, such as `p(95)<300` on `http_req_duration{...}`."""

    metric: str
    threshold: str
    passed: bool


class ErrorCount(Struct, frozen=True):
    """The number of failed checks of one kind for an operation."""

    operation: str
    kind: str
    count: int


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
    def missing_rows(self) -> int:
        return max(0, self.created - self.rows_written)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.missing_rows


class Timeline(Struct, frozen=True, kw_only=True):
    """A run over time: one value per `at`, for the interval of `step` seconds that ends there."""

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


class Machine(Struct, frozen=True):
    """The machine that ran k6; runs on different machines cannot be compared."""

    cores: int
    cpu: str
    platform: str
    memory: int


class Environment(Struct, frozen=True):
    """Where a run took place, the versions of all programs, and k6's settings and options.

    `other_cpu_share` is the share of the machine's CPU time that unrelated programs used.
    """

    target: str
    machine: Machine
    programs: dict[str, str]
    settings: dict[str, str]
    options: dict[str, Any]
    other_cpu_share: float | None = None


class Record(Struct, frozen=True, kw_only=True):
    """A run. `missing` lists, in sentences, what could not be read."""

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

    @property
    def nearest_limit(self) -> OperationStats | None:
        """The operation whose p95 is the largest share of its limit."""
        limited = [row for row in self.operations if row.client_p95 is not None and row.limit_p95]
        return max(
            limited,
            key=lambda row: (row.client_p95 or 0) / (row.limit_p95 or 1),
            default=None,
        )

    def save(self) -> Path:
        encoded = msgspec.json.format(msgspec.json.encode(self), indent=1)
        return write_file(result_file(self.run_id, ".json"), encoded + b"\n")


def results_folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or PROJECT / "performance" / "results")


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
    return sorted(results_folder().glob("*.json"))


def saved_trace_ids() -> Iterator[str]:
    """Yield the ids of all traces in saved records; unreadable files are skipped."""
    for path in saved_files():
        with suppress(RecordError):
            record = load(path)
            yield from (trace.trace_id for trace in (*record.slowest_traces, *record.failed_traces))
