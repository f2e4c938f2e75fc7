"""Read a run's numbers from Prometheus, by nothing but its id."""

import difflib
import re
import time
from collections.abc import Callable, Iterable

from lab import slo
from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.errors import UserError
from lab.promql import load_run, run_list
from lab.promql.selectors import OPERATION, RETENTION, RunSelector, Side
from lab.runs.histograms import read_histograms
from lab.runs.record import Completeness, ErrorCount, OperationStats, Record, Threshold, Verdict
from lab.runs.timeline import PUSH_INTERVAL, QUANTILE, read_points, read_timeline

# In the order in which iterations do them; others follow by name.
FLOW = slo.OPERATIONS
# k6 pushes its virtual users every few seconds until it ends.
SILENT_WHEN_OVER = 4 * PUSH_INTERVAL


class UnknownRunError(UserError):
    """Prometheus holds no such run; the message names those that it holds."""


def known_runs(prometheus: Prometheus) -> list[str]:
    """List the runs that Prometheus holds, newest first."""
    return newest_first(prometheus.label_values("testid", run_list.RUNS))


def newest_first(runs: Iterable[str]) -> list[str]:
    """Sort ids by the time with which they begin; those that were given by hand come last."""
    return sorted(runs, key=lambda run: (bool(re.match(r"\d{8}-\d{6}", run)), run), reverse=True)


def newest_run(prometheus: Prometheus) -> str:
    """Name the newest run."""
    runs = known_runs(prometheus)
    if not runs:
        raise UnknownRunError(
            f"Prometheus at {prometheus.url} holds no run yet: `just smoke` makes one in 20 s."
        )
    return runs[0]


def whole_id(prometheus: Prometheus, beginning: str) -> str:
    """Complete a run's id from its beginning, where only one run begins so."""
    known = known_runs(prometheus)
    found = [run for run in known if run.startswith(beginning)]
    return found[0] if len(found) == 1 and beginning not in known else beginning


def period_of(prometheus: Prometheus, run: str) -> Period:
    """Find when a run was: as k6 marked it, or from the times of the samples it pushed."""
    now = time.time() + 10
    of = RunSelector(run, RETENTION)
    series = prometheus.sample_times(load_run.activity_samples(of), now)
    if not series:
        raise UnknownRunError(_unknown(prometheus, run))
    before_load = prometheus.sample_times(load_run.setup_samples(of), now)
    if before_load:
        started = min(times[0] for times in before_load)
    else:  # a script without setup(): of each push only the last sample is kept
        started = min(times[0] for times in series) - PUSH_INTERVAL
    ended = max(times[-1] for times in series)
    return Period(
        prometheus.number(load_run.started(of), now) or started,
        prometheus.number(load_run.ended(of), now) or ended,
    )


def _unknown(prometheus: Prometheus, run: str) -> str:
    runs = known_runs(prometheus)
    if not runs:
        return f"Prometheus at {prometheus.url} holds no run at all, so none called {run!r}."
    near = difflib.get_close_matches(run, runs, n=3, cutoff=0.5) or runs[:3]
    return f"Prometheus holds no run called {run!r}. The nearest: {', '.join(near)}"


def read_completeness(prometheus: Prometheus, run: str, period: Period) -> Completeness:
    """Count what a run sent and what was stored of it."""
    of = RunSelector(run, period.window)
    counts = [
        round(prometheus.number(query, period.read_at) or 0)
        for query in (
            load_run.requests(of),
            load_run.unanswered_requests(of),
            load_run.spans(Side.SERVER, of),
            load_run.created_responses(of),
            load_run.rows_written(of),
        )
    ]
    return Completeness(*counts)


def is_on(prometheus: Prometheus, run: str, period: Period) -> bool:
    """Tell whether a run seems to go on: k6 has marked no end, and pushed a moment ago."""
    ended = prometheus.number(load_run.ended(RunSelector(run, period.window)), period.read_at)
    return ended is None and time.time() - period.ended < SILENT_WHEN_OVER


def read_record(
    prometheus: Prometheus, run: str, period: Period, *, still_on: bool = False
) -> Record:
    """Read all that Prometheus knows of a run."""
    at, of = period.read_at, RunSelector(run, period.window)
    completeness = read_completeness(prometheus, run, period)
    kind = next(
        (labels for labels, _ in prometheus.series(load_run.started(of, "profile, journey"), at)),
        {},
    )
    profile = kind.get("profile")
    thresholds = [
        Threshold(labels.get("metric", ""), labels.get("threshold", ""), passed=value == 1)
        for labels, value in prometheus.series(load_run.thresholds(of), at)
    ]
    errors = [
        ErrorCount(labels.get("operation", ""), labels.get("kind", ""), round(count))
        for labels, count in prometheus.series(load_run.errors(of), at)
    ]
    statuses = prometheus.by_label(load_run.failed_statuses(of), "http_response_status_code", at)
    planned = prometheus.number(load_run.planned_seconds(of), at)
    rows = _read_rows(prometheus, of, period, profile)
    return Record(
        run_id=run,
        profile=profile,
        journey=kind.get("journey"),
        period=period,
        planned=planned,
        verdict="running" if still_on else _verdict(prometheus, of, period, planned),
        thresholds=sorted(thresholds, key=lambda a: (a.passed, a.metric, a.threshold)),
        operations=rows,
        total=_read_total(prometheus, of, period, completeness),
        completeness=completeness,
        errors=sorted(errors, key=lambda error: -error.count),
        dropped_iterations=round(prometheus.number(load_run.dropped_iterations(of), at) or 0),
        failed_statuses=sorted(int(status) for status in statuses),
        timeline=read_timeline(prometheus, run, period),
        operation_timeline=read_points(prometheus, run, period, rows),
        histograms=read_histograms(prometheus, run, period, planned, rows),
    )


def _verdict(
    prometheus: Prometheus, of: RunSelector, period: Period, planned: float | None
) -> Verdict:
    passed = prometheus.number(load_run.passed(of), period.read_at)
    ended = prometheus.number(load_run.ended(of), period.read_at)
    if passed == 0:
        return "failed"
    if planned is not None and (ended is None or period.seconds < planned - load_run.EARLY_SECONDS):
        return "aborted"
    return "none" if passed is None else "passed"


def _read_rows(
    prometheus: Prometheus, of: RunSelector, period: Period, profile: str | None
) -> list[OperationStats]:
    at = period.read_at

    def by_operation(query: str) -> dict[str, float]:
        return prometheus.by_label(query, OPERATION, at)

    requests = by_operation(load_run.requests(of, OPERATION))
    failed = by_operation(load_run.failed_share(of, OPERATION))
    p50, p95, p99 = (
        by_operation(load_run.client_quantile(q, of, OPERATION)) for q in (0.5, QUANTILE, 0.99)
    )
    server, database = (
        by_operation(load_run.span_quantile(QUANTILE, side, of, OPERATION)) for side in Side
    )
    in_server, in_database = (
        by_operation(load_run.share_of_client_time(side, of, OPERATION)) for side in Side
    )
    return [
        OperationStats(
            operation=operation,
            requests=round(requests[operation]),
            rate=requests[operation] / period.seconds,
            failed_share=failed.get(operation, 0.0),
            client_p50=p50.get(operation),
            client_p95=p95.get(operation),
            client_p99=p99.get(operation),
            server_p95=server.get(operation),
            database_p95=database.get(operation),
            **_shared_out(in_server.get(operation), in_database.get(operation)),
            **_limits(operation, profile),
        )
        for operation in sorted(requests, key=_place_in_flow)
    ]


def _read_total(
    prometheus: Prometheus, of: RunSelector, period: Period, completeness: Completeness
) -> OperationStats:
    def number(query: str) -> float | None:
        return prometheus.number(query, period.read_at)

    limits = slo.all_requests_limits()
    return OperationStats(
        operation="All",
        requests=completeness.sent,
        rate=completeness.sent / period.seconds,
        failed_share=number(load_run.failed_share(of)) or 0.0,
        client_p50=number(load_run.client_quantile(0.5, of)),
        client_p95=number(load_run.client_quantile(QUANTILE, of)),
        client_p99=number(load_run.client_quantile(0.99, of)),
        server_p95=number(load_run.span_quantile(QUANTILE, Side.SERVER, of)),
        database_p95=number(load_run.span_quantile(QUANTILE, Side.DATABASE, of)),
        **_shared_out(
            number(load_run.share_of_client_time(Side.SERVER, of)),
            number(load_run.share_of_client_time(Side.DATABASE, of)),
        ),
        limit_p95=limits.p95,
        limit_failed_share=limits.failed_share,
    )


def _shared_out(server: float | None, database: float | None) -> dict[str, float]:
    """Share out the client's time, of which a server's span may seem to take a little more."""
    if server is None:
        return {}
    whole = max(1.0, server)
    in_database = min(database or 0.0, server) / whole
    in_server = server / whole - in_database
    return {
        "outside_server": 1 - in_server - in_database,
        "in_server": in_server,
        "in_database": in_database,
    }


def _limits(operation: str, profile: str | None) -> dict[str, float]:
    if operation not in slo.OPERATIONS:
        return {}
    known = profile if profile in slo.PROFILES else "load"
    limits = slo.limits(operation, known or "load")
    return {"limit_p95": limits.p95, "limit_failed_share": limits.failed_share}


def _place_in_flow(operation: str) -> tuple[int, str]:
    return (FLOW.index(operation) if operation in FLOW else len(FLOW), operation)


def wait_for_spans(
    prometheus: Prometheus,
    run: str,
    period: Period,
    tell: Callable[[Completeness], None],
    limit: float = 30.0,
) -> None:
    """Wait until each answered request of a run that has just ended has its span, or a limit."""
    until = min(time.time() + limit, period.ended + 2 * limit)
    while (
        not (completeness := read_completeness(prometheus, run, period)).whole
        and time.time() < until
    ):
        tell(completeness)
        time.sleep(1.0)
