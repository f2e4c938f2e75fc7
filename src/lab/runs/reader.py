"""Read everything that is known of a run, by its id."""

import dataclasses
import itertools
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
from lab.promql import client, load_run, request_time, telemetry
from lab.promql.load_run import PUSH_SECONDS, SILENT_SECONDS
from lab.promql.run_list import LAST_EXPORT
from lab.promql.selectors import OPERATION, RETENTION, RunSelector, Side
from lab.runs import run_info
from lab.runs.bottleneck import add_parts, add_parts_over_time, read_bottlenecks
from lab.runs.client import (
    add_distribution,
    read_checks,
    read_heatmap,
    read_iterations,
    read_phases,
)
from lab.runs.failures import read_database_errors, read_errors
from lab.runs.generators import describe_generators, profile_of, read_generators
from lab.runs.histograms import read_histograms
from lab.runs.postgresql import read_postgresql
from lab.runs.record import (
    Bottleneck,
    Completeness,
    Environment,
    OperationStats,
    Record,
    RecordError,
    Threshold,
    load_saved,
)
from lab.runs.resources import add_resources_over_time, read_resources
from lab.runs.run_list import UnknownRunError
from lab.runs.timeline import QUANTILE, read_points, read_timeline
from lab.runs.verdict import Marks, judge
from lab.stack.config import StackConfig

TRACES_IN_RECORD = 10
# The search for the slowest traces starts where about this many requests are slower.
SLOW_REQUESTS = 40
WAIT_SECONDS = 30.0
# The expressions of the parts take too long for thousands of operations.
MAX_DIVIDED_OPERATIONS = 500
# PostgreSQL's counters are up to this old when they are scraped.
MAX_SCRAPE_DELAY = 1.0
# Totals of a trace store that restarted are estimates.
MAX_LATE_SHARE = 0.001
# What is exported or scraped at one moment is in Prometheus by then.
ARRIVAL_SECONDS = 0.5

Progress = Callable[[Completeness], None]


def read(
    config: StackConfig, run_id: str, progress: Progress, environment: Environment | None = None
) -> Record:
    """Read metrics, traces and environment of a run; wait for its last spans if it just ended.

    `environment` is that of a run that this process has just made, which therefore is over.
    Without it, that of a saved record is kept, as are traces that the store no longer has.
    """
    missing = []
    with Prometheus(config.prometheus) as prometheus:
        period = find_period(prometheus, run_id)
        finished = environment is not None or not is_running(prometheus, run_id, period)
        if finished and not wait_for_spans(prometheus, run_id, period, progress):
            missing.append("The wait for the last spans was interrupted: more may still arrive.")
        record = read_metrics(prometheus, run_id, period, finished=finished)
        guess = slow_seconds(prometheus, record)
        missing += describe_disturbances(prometheus, run_id, period)
        missing += read_disagreement(prometheus, record)
        record = with_published(prometheus, record)
        lag = read_server_lag(prometheus, run_id, period)
    if record.verdict == "running":
        missing.append(f"The run is still running: this covers its first {clock(period.seconds)}.")
        missing += describe_lag(lag)
    else:
        missing += describe_missing(record.completeness) + describe_end(record)
    if record.operations and record.total.client_p50 is None:
        missing.append(
            "The latency that k6 measured is missing: it sent no native histograms. Set "
            "K6_FEATURES=native-histograms, as performance/k6.env does."
        )
    if len(record.operations) > MAX_DIVIDED_OPERATIONS:
        missing.append(
            f"The run has {len(record.operations):,} operations: the time of more than "
            f"{MAX_DIVIDED_OPERATIONS} is not divided into its parts."
        )
    if record.operations:
        try:
            with tempo_or_jaeger.connect(config.trace_store) as store:
                record = with_traces(record, store, guess)
            if not record.slowest_traces:
                missing.append(
                    f"{store.name} has no traces of this run: traces are kept for one day."
                )
        except TraceStoreError as error:
            missing.append(error.message)
    record = replace(record, missing=missing, environment=environment)
    if environment and not record.note:
        record = replace(record, note=environment.settings.get("NOTE", ""))
    with suppress(RecordError):
        if saved := load_saved(run_id):
            record = _with_saved(record, saved)
    return record


def read_metrics(
    prometheus: Prometheus, run_id: str, period: Period | None = None, *, finished: bool = False
) -> Record:
    """Read what Prometheus knows of a run; `finished` if it is known not to run any more."""
    period = period or find_period(prometheus, run_id)
    run, at = RunSelector(run_id, period.window, interval=period.interval), period.read_at

    def number(query: str) -> float | None:
        return prometheus.number(query, at)

    starts = [labels for labels, _ in prometheus.series(load_run.start_marks(run), at)]
    labels = starts[0] if starts else {}
    profile, planned = profile_of(starts), number(load_run.planned_seconds(run))
    completeness = read_completeness(prometheus, run_id, period)
    operations = _read_operations(prometheus, run, period, profile)
    total = _read_total(prometheus, run, period)
    operations = add_distribution(prometheus, run, period, operations, OPERATION)
    [total] = add_distribution(prometheus, run, period, [total])
    timeline = read_timeline(prometheus, run_id, period)
    timeline = add_resources_over_time(prometheus, run_id, period, timeline)
    bottlenecks = [Bottleneck(cause="unknown", share=1.0)]
    if len(operations) <= MAX_DIVIDED_OPERATIONS:
        operations = add_parts(prometheus, run, period, operations, OPERATION)
        [total] = add_parts(prometheus, run, period, [total])
        timeline = add_parts_over_time(prometheus, run_id, period, timeline)
        bottlenecks = read_bottlenecks(prometheus, run, period, (total, operations), timeline)
    silent_for = math.inf if finished else time.time() - period.ended
    verdict, verdict_reason = judge(_read_marks(prometheus, run, at, silent_for))
    statuses = prometheus.by_label(load_run.failed_statuses(run), "http_response_status_code", at)
    return Record(
        run_id=run_id,
        tags=run_info.tags(starts),
        profile=profile,
        journey=labels.get("journey"),
        period=period,
        planned=planned,
        verdict=verdict,
        verdict_reason=verdict_reason,
        thresholds=_read_thresholds(prometheus, run, at),
        generators=read_generators(prometheus, run, at),
        operations=operations,
        total=total,
        completeness=completeness,
        errors=read_errors(prometheus, run, period),
        database_errors=read_database_errors(prometheus, run, period),
        checks=read_checks(prometheus, run, period),
        iterations=read_iterations(prometheus, run, period),
        phases=read_phases(prometheus, run, period),
        bytes_sent=number(client.bytes_sent(run)),
        bytes_received=number(client.bytes_received(run)),
        resources=read_resources(prometheus, run, period, timeline),
        postgresql=read_postgresql(prometheus, run, period),
        dropped_iterations=round(number(load_run.dropped_iterations(run)) or 0),
        failed_statuses=sorted(int(status) for status in statuses),
        bottleneck=bottlenecks[0],
        other_bottlenecks=bottlenecks[1:],
        timeline=timeline,
        operation_timeline=read_points(prometheus, run_id, period, operations),
        histograms=read_histograms(prometheus, run_id, period, planned, operations),
        heatmap=read_heatmap(prometheus, run_id, period),
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
    ended = prometheus.number(load_run.ended(run), period.read_at)
    return Marks(ended=ended, silent_for=time.time() - period.ended).is_running


def _read_marks(prometheus: Prometheus, run: RunSelector, at: float, silent_for: float) -> Marks:
    queries = {
        "started": load_run.started(run),
        "ended": load_run.ended(run),
        "missing": load_run.missing_seconds(run),
        "interrupted": load_run.interrupted(run),
        "thresholds": load_run.threshold_count(run),
        "passed": load_run.passed(run),
    }
    values = {name: prometheus.number(query, at) for name, query in queries.items()}
    return Marks(silent_for=silent_for, **values)


def _read_thresholds(prometheus: Prometheus, run: RunSelector, at: float) -> list[Threshold]:
    """Read the result of each threshold and the value that decided it, failed ones first."""

    def by_threshold(query: str) -> dict[tuple[str, str], float]:
        return {
            (labels.get("metric", ""), labels.get("threshold", "")): value
            for labels, value in prometheus.series(query, at)
        }

    reached = by_threshold(load_run.thresholds_reached(run))
    thresholds = [
        Threshold(*name, passed=value == 1, reached=reached.get(name))
        for name, value in by_threshold(load_run.thresholds(run)).items()
    ]
    return sorted(thresholds, key=lambda one: (one.passed, one.metric, one.threshold))


def wait_for_spans(
    prometheus: Prometheus,
    run_id: str,
    period: Period,
    progress: Progress,
    limit: float = WAIT_SECONDS,
) -> bool:
    """Wait until every answered request of a run that just ended has its span, or for a limit.

    The spans' durations and the metrics of the services' processes must have arrived, too. Return
    False if Ctrl-C ended the wait.
    """
    until = min(time.time() + limit, period.ended + 2 * limit)
    try:
        while (
            not (completeness := read_completeness(prometheus, run_id, period)).complete
            or not durations_arrived(prometheus, run_id, period)
            or not process_metrics_arrived(prometheus, period)
        ) and time.time() < until:
            progress(completeness)
            time.sleep(1.0)
    except KeyboardInterrupt:
        return False
    return True


def durations_arrived(prometheus: Prometheus, run_id: str, period: Period) -> bool:
    """Tell whether the durations of a run's stored spans are in Prometheus, too."""
    query = load_run.late_durations(RunSelector(run_id, period.window))
    late = prometheus.by_label(query, "span_kind", period.read_at)
    return all(share <= MAX_LATE_SHARE for share in late.values())


def process_metrics_arrived(prometheus: Prometheus, period: Period) -> bool:
    """Tell whether the API and what samples PostgreSQL, if they are there, reported after a run.

    What they report until the end of the run's window counts, so that a run reads the same later.
    """
    if time.time() < period.ended + LAST_EXPORT + ARRIVAL_SECONDS:
        return False
    last = prometheus.number(request_time.last_samples(), time.time())
    return last is None or last > period.ended + MAX_SCRAPE_DELAY


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
    if completeness.most_missing > completeness.missing:
        sentences.append(
            f"The traces of {completeness.missing:,} to {completeness.most_missing:,} of "
            f"{completeness.sent:,} requests are missing: {completeness.unanswered:,} requests got "
            "no response, and it is unknown which of them left a trace."
        )
    elif completeness.missing:
        sentences.append(
            f"The traces of {completeness.missing:,} of {completeness.sent:,} requests are missing."
        )
    if completeness.missing_rows:
        sentences.append(
            f"{completeness.missing_rows:,} of {completeness.created:,} promised rows (201) are "
            f"missing: the database's spans show {completeness.rows_written:,} written."
        )
    return sentences


def describe_end(record: Record) -> list[str]:
    """Say from when on a run is unknown, if k6 did not report its end."""
    if record.verdict_reason != "killed" or record.generators:
        return []
    seconds = clock(record.period.seconds)
    return [f"The last metrics of k6 did not arrive: what it sent after {seconds} is in no number."]


def read_server_lag(prometheus: Prometheus, run_id: str, period: Period) -> float:
    """Return by how many seconds the stored spans lag behind what k6 has counted."""
    run = RunSelector(run_id, period.window)
    return prometheus.number(load_run.server_lag(run), min(time.time(), period.read_at)) or 0.0


def describe_lag(seconds: float) -> list[str]:
    """Say how far the server side of a running run is behind."""
    return [f"The server side is {seconds:.0f} s behind."] if round(seconds) else []


def describe_disturbances(prometheus: Prometheus, run_id: str, period: Period) -> list[str]:
    """Say what makes the numbers of a run uncertain."""
    sentences = []
    run, seconds = RunSelector(run_id, period.window), int(period.read_at - period.started)
    restarts = telemetry.trace_store_restarts(f"{seconds}s")
    if count := round(prometheus.number(restarts, period.read_at) or 0):
        times = "once" if count == 1 else f"{count} times"
        sentences.append(
            f"The trace store restarted {times} during the run: spans of the last "
            f"{PUSH_SECONDS} s before a restart are stored, but may be missing from the numbers."
        )
    if offset := round(prometheus.number(load_run.clock_offset(run), period.read_at) or 0):
        direction = "behind" if offset > 0 else "ahead of"
        sentences.append(
            f"k6's clock is {abs(offset)} s {direction} the API's: the times of the run are k6's, "
            "at which the server may have done other things. Synchronise the clocks and run again."
        )
    if prometheus.number(load_run.starts_again(run), period.read_at):
        sentences.append(
            "Two generators pushed the same series, so the numbers of k6 are too low: start each "
            "with a GENERATOR of its own."
        )
    if gaps := round(seconds_without_push(prometheus, run, period)):
        sentences.append(
            f"For {gaps} s of the run no metrics of k6 arrived: its totals include that time, its "
            "values over time do not."
        )
    return sentences


def read_disagreement(prometheus: Prometheus, record: Record) -> list[str]:
    """Say in what the generators of a run differ, and whether all of them took part."""
    run, at = RunSelector(record.run_id, record.period.window), record.period.read_at
    expected = round(prometheus.number(load_run.generators(run), at) or 0)
    running = record.verdict == "running"
    known = record.generators
    if not known:
        text = (
            f"Only 1 of the {expected} generators that share the load reported anything, or they "
            "have no names of their own: start each with another GENERATOR."
        )
        return [text] if expected > 1 and not running else []
    return describe_generators(known, expected, running=running)


def seconds_without_push(prometheus: Prometheus, run: RunSelector, period: Period) -> float:
    """Return the seconds of a run in which none of k6's pushes arrived, late ones aside."""
    series = prometheus.sample_times(load_run.activity_samples(run), period.read_at)
    pairs = itertools.pairwise(sorted(set(itertools.chain.from_iterable(series))))
    return sum(
        later - earlier - PUSH_SECONDS
        for earlier, later in pairs
        if later - earlier > SILENT_SECONDS
    )


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
        values(load_run.side_quantile(QUANTILE, side, run, by)) for side in Side
    )
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


def _journey_order(operation: str) -> tuple[int, str]:
    known = slo.OPERATIONS
    return (known.index(operation) if operation in known else len(known), operation)


def slow_seconds(prometheus: Prometheus, record: Record) -> float:
    """Return the seconds that about SLOW_REQUESTS requests of a run exceed on the server."""
    quantile = max(0.0, 1 - SLOW_REQUESTS / max(1, record.completeness.traced))
    run = RunSelector(record.run_id, record.period.window)
    query = load_run.span_quantile(quantile, Side.SERVER, run)
    return prometheus.number(query, record.period.read_at) or 0.0


def with_traces(record: Record, store: TraceStore, guess: float) -> Record:
    """Add the slowest and the failed traces; at least one is of the operation nearest its limit."""
    window = (record.period.started, record.period.ended) if record.part else None
    search = TraceSearch(record.run_id, record.period, window=window)
    slowest = trace_store.slowest(store, search, TRACES_IN_RECORD, guess)
    nearest = record.nearest_limit
    if nearest and all(trace.operation != nearest.operation for trace in slowest):
        its_search = dataclasses.replace(search, operation=nearest.operation)
        slowest += trace_store.slowest(store, its_search, 1, nearest.server_p95 or 0.0)
    failed = trace_store.latest_failed(store, search, record.failed_statuses, TRACES_IN_RECORD)
    return replace(
        record,
        slowest_traces=trace_store.with_spans(store, slowest),
        failed_traces=trace_store.with_spans(store, failed),
    )


def with_published(prometheus: Prometheus, record: Record) -> Record:
    """Add the name and note that were published, and whether the run is a baseline."""
    run, at = RunSelector(record.run_id, RETENTION), time.time() + 10
    labels = run_info.read_published(prometheus, run, at).get(record.run_id, {})
    return replace(
        record,
        name=labels.get("name", ""),
        note=labels.get("note", ""),
        baseline=record.run_id in run_info.read_baselines(prometheus, at),
    )


def _with_saved(record: Record, saved: Record) -> Record:
    """Keep what users said of the run, and what can no longer be read.

    That is the environment, and traces that have expired.
    """
    record = replace(
        record,
        name=saved.name,
        note=saved.note or record.note,
        baseline=saved.baseline,
        environment=record.environment or saved.environment,
    )
    if record.slowest_traces:
        return record
    return replace(record, slowest_traces=saved.slowest_traces, failed_traces=saved.failed_traces)
