"""Read everything that is known of a run, by its id."""

import math
import time
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from lab import slo
from lab.clients import tempo_or_jaeger, trace_store
from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.clients.trace_store import TraceSearch, TraceStore, TraceStoreError
from lab.console import clock
from lab.promql import load_run
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import OPERATION, RETENTION, RunSelector, Side
from lab.runs.histograms import read_histograms
from lab.runs.record import (
    Completeness,
    Environment,
    ErrorCount,
    OperationStats,
    Record,
    RecordError,
    Threshold,
    load_saved,
)
from lab.runs.run_list import UnknownRunError
from lab.runs.timeline import QUANTILE, read_points, read_timeline
from lab.runs.verdict import verdict
from lab.stack.config import StackConfig

TRACES_IN_RECORD = 10
# The search for the slowest traces starts where about this many requests are slower.
SLOW_REQUESTS = 40
WAIT_SECONDS = 30.0

Progress = Callable[[Completeness], None]


def read(
    config: StackConfig, run_id: str, progress: Progress, environment: Environment | None = None
) -> Record:
    """Read metrics, traces and environment of a run; wait for its last spans if it just ended.

    `environment` is that of a run that this process has just made, which therefore is over.
    Without it, that of a saved record is kept, as are traces that the store no longer has.
    """
    missing = []
    with Prometheus(config.prometheus_url) as prometheus:
        period = find_period(prometheus, run_id)
        finished = environment is not None or not is_running(prometheus, run_id, period)
        if finished and not wait_for_spans(prometheus, run_id, period, progress):
            missing.append("The wait for the last spans was interrupted: more may still arrive.")
        record = read_metrics(prometheus, run_id, period, finished=finished)
        guess = _slow_seconds(prometheus, record)
    if record.verdict == "running":
        missing.append(f"The run is still running: this covers its first {clock(period.seconds)}.")
    else:
        missing += describe_missing(record.completeness)
    if record.operations:
        try:
            with tempo_or_jaeger.connect(config.traces_url) as store:
                record = _with_traces(record, store, guess)
            if not record.slowest_traces:
                missing.append(
                    f"{store.name} has no traces of this run: traces are kept for one day."
                )
        except TraceStoreError as error:
            missing.append(error.message)
    record = replace(record, missing=missing, environment=environment)
    with suppress(RecordError):
        if saved := load_saved(run_id):
            record = _with_saved(record, saved)
    return record


def read_metrics(
    prometheus: Prometheus, run_id: str, period: Period | None = None, *, finished: bool = False
) -> Record:
    """Read what Prometheus knows of a run; `finished` if it is known not to run any more."""
    period = period or find_period(prometheus, run_id)
    run, at = RunSelector(run_id, period.window), period.read_at

    def number(query: str) -> float | None:
        return prometheus.number(query, at)

    series = prometheus.series(load_run.started(run, "profile, journey"), at)
    labels = series[0][0] if series else {}
    profile, planned = labels.get("profile"), number(load_run.planned_seconds(run))
    completeness = read_completeness(prometheus, run_id, period)
    operations = _read_operations(prometheus, run, period, profile)
    thresholds = [
        Threshold(labels.get("metric", ""), labels.get("threshold", ""), passed=value == 1)
        for labels, value in prometheus.series(load_run.thresholds(run), at)
    ]
    errors = [
        ErrorCount(labels.get("operation", ""), labels.get("kind", ""), round(count))
        for labels, count in prometheus.series(load_run.errors(run), at)
    ]
    statuses = prometheus.by_label(load_run.failed_statuses(run), "http_response_status_code", at)
    return Record(
        run_id=run_id,
        profile=profile,
        journey=labels.get("journey"),
        period=period,
        planned=planned,
        verdict=verdict(
            passed=number(load_run.passed(run)),
            seconds=number(load_run.duration(run)),
            planned=planned,
            silent_for=math.inf if finished else time.time() - period.ended,
        ),
        thresholds=sorted(thresholds, key=lambda one: (one.passed, one.metric, one.threshold)),
        operations=operations,
        total=_read_total(prometheus, run, period),
        completeness=completeness,
        errors=sorted(errors, key=lambda error: -error.count),
        dropped_iterations=round(number(load_run.dropped_iterations(run)) or 0),
        failed_statuses=sorted(int(status) for status in statuses),
        timeline=read_timeline(prometheus, run_id, period),
        operation_timeline=read_points(prometheus, run_id, period, operations),
        histograms=read_histograms(prometheus, run_id, period, planned, operations),
    )


def find_period(prometheus: Prometheus, run_id: str) -> Period:
    """Find when a run took place: as k6 recorded it, else by the samples that it pushed."""
    now = time.time() + 10
    run = RunSelector(run_id, RETENTION)
    series = prometheus.sample_times(load_run.activity_samples(run), now)
    if not series:
        raise UnknownRunError(f"Prometheus has no run {run_id!r}.")
    setup = prometheus.sample_times(load_run.setup_samples(run), now)
    if setup:
        started = min(times[0] for times in setup)
    else:  # the first sample is of the first push
        started = min(times[0] for times in series) - PUSH_SECONDS
    ended = max(times[-1] for times in series)
    return Period(
        prometheus.number(load_run.started(run), now) or started,
        prometheus.number(load_run.ended(run), now) or ended,
    )


def is_running(prometheus: Prometheus, run_id: str, period: Period) -> bool:
    run = RunSelector(run_id, period.window)
    seconds = prometheus.number(load_run.duration(run), period.read_at)
    silent_for = time.time() - period.ended
    return verdict(passed=None, seconds=seconds, planned=None, silent_for=silent_for) == "running"


def wait_for_spans(
    prometheus: Prometheus,
    run_id: str,
    period: Period,
    progress: Progress,
    limit: float = WAIT_SECONDS,
) -> bool:
    """Wait until every answered request of a run that just ended has its span, or for a limit.

    Return False if Ctrl-C ended the wait.
    """
    until = min(time.time() + limit, period.ended + 2 * limit)
    try:
        while (
            not (completeness := read_completeness(prometheus, run_id, period)).complete
            and time.time() < until
        ):
            progress(completeness)
            time.sleep(1.0)
    except KeyboardInterrupt:
        return False
    return True


def read_completeness(prometheus: Prometheus, run_id: str, period: Period) -> Completeness:
    """Count what a run sent and what was stored of it."""
    run = RunSelector(run_id, period.window)
    counts = [
        round(prometheus.number(query, period.read_at) or 0)
        for query in (
            load_run.requests(run),
            load_run.unanswered_requests(run),
            load_run.spans(Side.SERVER, run),
            load_run.created_responses(run),
            load_run.rows_written(run),
        )
    ]
    return Completeness(*counts)


def describe_missing(completeness: Completeness) -> list[str]:
    """Say how many traces and rows are missing."""
    sentences = []
    if completeness.missing:
        sentences.append(
            f"The traces of {completeness.missing:,} of {completeness.sent:,} requests are missing."
        )
    if completeness.missing_rows:
        sentences.append(
            f"{completeness.missing_rows:,} of {completeness.created:,} promised rows (201) are "
            f"missing: the database's spans show {completeness.rows_written:,} written."
        )
    return sentences


def _read_stats(
    prometheus: Prometheus, run: RunSelector, period: Period, by: str = ""
) -> dict[str, OperationStats]:
    """Read the measurements of each operation, or under an empty name those of all together."""

    def values(query: str) -> dict[str, float]:
        return prometheus.by_label(query, by, period.read_at)

    requests = values(load_run.requests(run, by))
    failed = values(load_run.failed_share(run, by))
    p50, p95, p99 = (
        values(load_run.client_quantile(quantile, run, by)) for quantile in (0.5, QUANTILE, 0.99)
    )
    server_p95, database_p95 = (
        values(load_run.span_quantile(QUANTILE, side, run, by)) for side in Side
    )
    server, database = (values(load_run.share_of_client_time(side, run, by)) for side in Side)
    return {
        name: OperationStats(
            operation=name,
            requests=round(requests[name]),
            rate=requests[name] / period.seconds,
            failed_share=failed.get(name, 0.0),
            client_p50=p50.get(name),
            client_p95=p95.get(name),
            client_p99=p99.get(name),
            server_p95=server_p95.get(name),
            database_p95=database_p95.get(name),
            **_shares(server.get(name), database.get(name)),
        )
        for name in sorted(requests, key=_journey_order)
    }


def _read_operations(
    prometheus: Prometheus, run: RunSelector, period: Period, profile: str | None
) -> list[OperationStats]:
    known_profile = profile if profile in slo.PROFILES else "load"
    stats = _read_stats(prometheus, run, period, OPERATION)
    return [
        _with_limits(row, slo.limits(name, known_profile)) if name in slo.OPERATIONS else row
        for name, row in stats.items()
    ]


def _read_total(prometheus: Prometheus, run: RunSelector, period: Period) -> OperationStats:
    nothing = OperationStats(operation="", requests=0, rate=0.0, failed_share=0.0)
    total = _read_stats(prometheus, run, period).get("", nothing)
    return _with_limits(replace(total, operation="All"), slo.all_requests_limits())


def _with_limits(row: OperationStats, limits: slo.Limits) -> OperationStats:
    return replace(row, limit_p95=limits.p95, limit_failed_share=limits.failed_share)


def _shares(server: float | None, database: float | None) -> dict[str, float]:
    """Divide the client's time among the sides; a server's span may seem to take a little more."""
    if server is None:
        return {}
    total = max(1.0, server)
    in_database = min(database or 0.0, server) / total
    in_server = server / total - in_database
    return {
        "outside_server": 1 - in_server - in_database,
        "in_server": in_server,
        "in_database": in_database,
    }


def _journey_order(operation: str) -> tuple[int, str]:
    known = slo.OPERATIONS
    return (known.index(operation) if operation in known else len(known), operation)


def _slow_seconds(prometheus: Prometheus, record: Record) -> float:
    """Return the seconds that about SLOW_REQUESTS requests of a run exceed on the server."""
    quantile = max(0.0, 1 - SLOW_REQUESTS / max(1, record.completeness.traced))
    run = RunSelector(record.run_id, record.period.window)
    query = load_run.span_quantile(quantile, Side.SERVER, run)
    return prometheus.number(query, record.period.read_at) or 0.0


def _with_traces(record: Record, store: TraceStore, guess: float) -> Record:
    """Add the slowest and the failed traces; at least one is of the operation nearest its limit."""
    search = TraceSearch(record.run_id, record.period)
    slowest = trace_store.slowest(store, search, TRACES_IN_RECORD, guess)
    nearest = record.nearest_limit
    if nearest and all(trace.operation != nearest.operation for trace in slowest):
        its_search = TraceSearch(record.run_id, record.period, nearest.operation)
        slowest += trace_store.slowest(store, its_search, 1, nearest.server_p95 or 0.0)
    failed = store.failed(search, record.failed_statuses, TRACES_IN_RECORD)
    return replace(
        record,
        slowest_traces=[replace(trace, spans=store.spans(trace.trace_id)) for trace in slowest],
        failed_traces=[replace(trace, spans=store.spans(trace.trace_id)) for trace in failed],
    )


def _with_saved(record: Record, saved: Record) -> Record:
    """Keep what can no longer be read: the environment, and traces that have expired."""
    record = replace(record, environment=record.environment or saved.environment)
    if record.slowest_traces:
        return record
    return replace(record, slowest_traces=saved.slowest_traces, failed_traces=saved.failed_traces)
