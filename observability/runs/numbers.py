"""Read a run's numbers from Prometheus, by nothing but its id."""

import difflib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from observability import slo
from observability.queries import history, totals
from observability.queries.names import Of, Side
from observability.runs.prometheus import Prometheus
from observability.runs.record import Ledger, Period, Row

# In the order in which visits do them; others follow by name.
FLOW = slo.OPERATIONS
QUANTILE = 0.95
PUSH_INTERVAL = 5.0
LOOK_BACK = "90d"


class UnknownRunError(click.ClickException):
    """Prometheus holds no such run; the message names those that it holds."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that Prometheus knows of a run."""

    run: str
    period: Period
    rows: list[Row]
    total: Row
    ledger: Ledger
    dropped_iterations: int
    failed_statuses: list[int]


def known_runs(prometheus: Prometheus) -> list[str]:
    """List the runs that Prometheus holds, newest first."""
    runs = prometheus.label_values("testid", history.RUNS)
    return sorted(runs, key=lambda run: (bool(re.match(r"\d{8}-\d{6}", run)), run), reverse=True)


def newest_run(prometheus: Prometheus) -> str:
    """Name the newest run."""
    runs = known_runs(prometheus)
    if not runs:
        raise UnknownRunError(
            f"Prometheus at {prometheus.url} holds no run yet: `just smoke` makes one in 20 s."
        )
    return runs[0]


def period_of(prometheus: Prometheus, run: str) -> Period:
    """Find when a run was: as k6 marked it, or from the times of the samples it pushed."""
    now = time.time() + 10
    of = Of(run, LOOK_BACK)
    series = prometheus.sample_times(totals.life_samples(of), now)
    if not series:
        raise UnknownRunError(_unknown(prometheus, run))
    before_load = prometheus.sample_times(totals.start_samples(of), now)
    if before_load:
        started = min(times[0] for times in before_load)
    else:  # a script without setup(): of each push only the last sample is kept
        started = min(times[0] for times in series) - PUSH_INTERVAL
    ended = max(times[-1] for times in series)
    return Period(
        prometheus.number(totals.started(of), now) or started,
        prometheus.number(totals.ended(of), now) or ended,
    )


def _unknown(prometheus: Prometheus, run: str) -> str:
    runs = known_runs(prometheus)
    if not runs:
        return f"Prometheus at {prometheus.url} holds no run at all, so none called {run!r}."
    near = difflib.get_close_matches(run, runs, n=3, cutoff=0.5) or runs[:3]
    return f"Prometheus holds no run called {run!r}. The nearest: {', '.join(near)}"


def read_ledger(prometheus: Prometheus, run: str, period: Period) -> Ledger:
    """Count what a run sent and what was stored of it."""
    of = Of(run, period.window)
    counts = [
        round(prometheus.number(query, period.read_at) or 0)
        for query in (
            totals.all_requests(of),
            totals.unanswered_requests(of),
            totals.all_spans(Side.SERVER, of),
        )
    ]
    return Ledger(*counts)


def read_numbers(prometheus: Prometheus, run: str, period: Period) -> Numbers:
    """Read all that Prometheus knows of a run."""
    at, of = period.read_at, Of(run, period.window)

    def by_name(query: str) -> dict[str, float]:
        return prometheus.by_label(query, "name", at)

    def by_operation(side: Side) -> dict[str, float]:
        query = totals.span_quantile(QUANTILE, side, of)
        return prometheus.by_label(query, "clinic_operation", at)

    requests = by_name(totals.requests(of))
    failed = by_name(totals.failed_share(of))
    client = by_name(totals.client_quantile(QUANTILE, of))
    server, database = by_operation(Side.SERVER), by_operation(Side.DATABASE)
    rows = [
        Row(
            operation=operation,
            requests=round(requests[operation]),
            rate=requests[operation] / period.seconds,
            client_p95=client.get(operation),
            server_p95=server.get(operation),
            database_p95=database.get(operation),
            failed_share=failed.get(operation, 0.0),
        )
        for operation in sorted(requests, key=_place_in_flow)
    ]
    ledger = read_ledger(prometheus, run, period)

    def number(query: str) -> float | None:
        return prometheus.number(query, at)

    total = Row(
        operation="All",
        requests=ledger.sent,
        rate=ledger.sent / period.seconds,
        client_p95=number(totals.all_client_quantile(QUANTILE, of)),
        server_p95=number(totals.all_span_quantile(QUANTILE, Side.SERVER, of)),
        database_p95=number(totals.all_span_quantile(QUANTILE, Side.DATABASE, of)),
        failed_share=number(totals.all_failed_share(of)) or 0.0,
    )
    statuses = prometheus.by_label(totals.failed_statuses(of), "http_response_status_code", at)
    return Numbers(
        run=run,
        period=period,
        rows=rows,
        total=total,
        ledger=ledger,
        dropped_iterations=round(number(totals.dropped_iterations(of)) or 0),
        failed_statuses=sorted(int(status) for status in statuses),
    )


def _place_in_flow(operation: str) -> tuple[int, str]:
    return (FLOW.index(operation) if operation in FLOW else len(FLOW), operation)


def wait_for_spans(
    prometheus: Prometheus,
    run: str,
    period: Period,
    tell: Callable[[Ledger], None],
    limit: float = 30.0,
) -> None:
    """Wait until each answered request of a run that has just ended has its span, or a limit."""
    until = min(time.time() + limit, period.ended + 2 * limit)
    while (ledger := read_ledger(prometheus, run, period)).missing and time.time() < until:
        tell(ledger)
        time.sleep(1.0)
