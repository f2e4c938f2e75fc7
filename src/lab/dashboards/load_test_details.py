"""Load test, below: how durations are distributed, what failed, and what the run used."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy

from lab.dashboards import style
from lab.dashboards.load_test_over_time import LENGTH, NO_DATA, PROCESSES, TIMELINE, run_graph
from lab.dashboards.panels import Column, Fields, Panel, heatmap, join_table, scatter, stat
from lab.promql import client, errors, load_run, resources, run_postgresql
from lab.promql.client import Phase
from lab.promql.request_time import STATEMENT, Window, labelled
from lab.promql.resources import Resource
from lab.promql.selectors import GENERATOR, OPERATION, RunSelector

NO_REQUESTS = "No requests of this run before the end of the time range"
NO_DATA_OF_RUN = "No data of this run before the end of the time range"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
PHASE = "phase"
PROGRAMS = {
    "API": Resource.API,
    "PostgreSQL": Resource.POSTGRESQL,
    "k6": Resource.K6,
    "machine of k6": Resource.MACHINE,
}
NAME = style.width(246)


def distribution(run: RunSelector) -> list[Panel]:
    quantiles = {name: load_run.client_quantile(q, TIMELINE) for name, q in QUANTILES.items()}
    rate = load_run.within_run(load_run.request_rate(TIMELINE), TIMELINE)
    return [
        _durations_by_operation(run),
        run_graph("Percentiles", style.SECONDS, quantiles)
        .colours(style.QUANTILES)
        .height(9)
        .description("Percentiles of the duration of all requests as measured by k6."),
        heatmap(
            "Durations",
            style.SECONDS,
            load_run.within_run(load_run.client_durations(TIMELINE), TIMELINE),
            min_step=LENGTH,
        )
        .no_value(NO_DATA)
        .description(
            "How many requests took how long, as measured by k6: the brighter, the more. "
            "Two bands are two kinds of requests, such as hits and misses of a cache."
        ),
        scatter(
            "Latency against throughput",
            ("requests per second", style.NUMBER, rate),
            ("p95", style.SECONDS, load_run.within_run(quantiles["p95"], TIMELINE)),
            min_step=LENGTH,
        )
        .no_value(NO_DATA)
        .description(
            "A point for each interval: its requests per second, and the 95th percentile of their "
            "duration. Where points rise without moving to the right, the API is saturated."
        ),
        _phases(run),
        *_iterations_and_data(run),
        _generators(run),
    ]


def _generators(run: RunSelector) -> Panel:
    table = join_table(
        "Generators",
        {GENERATOR: ("Generator", [NAME])},
        _generators_column("Requests", load_run.requests(run, GENERATOR), style.COUNT),
        _generators_column("p95", load_run.client_quantile(0.95, run, GENERATOR), style.SECONDS),
        _generators_column(
            "Failed", load_run.failed_share(run, GENERATOR), style.SHARE, style.decimals(2)
        ),
        _generators_column("Started", load_run.generator_started(run), style.SECONDS),
        _generators_column("Ended", load_run.generator_ended(run), style.SECONDS),
        _generators_column(
            "Alone", load_run.own_results(run), style.TEXT, *style.words(style.PASSED_OR_FAILED)
        ),
    )
    table.no_value(NO_REQUESTS).sort_by([SortBy().display_name("Requests").desc(True)])
    return table.height(6).description(
        "The k6 processes that made the run; the only one of a run is called k6. Times count from "
        "the start of the run. Alone: whether the thresholds passed for the generator's own "
        "requests. The run is judged by the requests of all."
    )


def _generators_column(
    name: str, expression: str, unit: str, *properties: style.Property
) -> Column:
    # The series of a run's only generator have no name, and Grafana joins no rows without one.
    named = f'label_replace({expression}, "{GENERATOR}", "k6", "{GENERATOR}", "")'
    return Column(name, named, unit, properties)


def _durations_by_operation(run: RunSelector) -> Panel:
    quantiles = [
        Column(name, load_run.client_quantile(q, run, OPERATION), style.SECONDS)
        for name, q in QUANTILES.items()
    ]
    table = join_table(
        "Durations by operation",
        {OPERATION: ("Operation", [NAME])},
        Column("Min", client.client_min(run, OPERATION), style.SECONDS),
        Column("Mean", load_run.client_mean(run, OPERATION), style.SECONDS),
        *quantiles,
        Column("Max", client.client_max(run, OPERATION), style.SECONDS),
    )
    table.no_value(NO_REQUESTS).sort_by([SortBy().display_name("p99").desc(True)])
    return table.description(
        "Duration of requests as measured by k6. While the run is on, minimum and maximum are the "
        "bounds of buckets of a histogram, which are up to 9 % wide."
    )


def _phases(run: RunSelector) -> Panel:
    means = {phase: client.phase_mean(phase, run) for phase in Phase}
    p95 = {phase: client.phase_quantile(0.95, phase, run) for phase in Phase}
    return (
        join_table(
            "Phases of a request",
            {PHASE: ("Phase", [])},
            Column("Mean", _union(PHASE, means), style.SECONDS),
            Column("p95", _union(PHASE, p95), style.SECONDS),
        )
        .span(12)
        .no_value(NO_REQUESTS)
        .description(
            "As k6 times them. Blocked is the wait for a connection, of which connecting and tls "
            "are parts; the duration is the sum of sending, waiting and receiving."
        )
    )


def _iterations_and_data(run: RunSelector) -> list[Panel]:
    durations = {
        "mean": client.iteration_mean(run),
        "p95": client.iteration_quantile(0.95, run),
    }
    data = {"sent": client.bytes_sent(run), "received": client.bytes_received(run)}
    panels = [
        stat("Iterations", style.COUNT, client.iterations(run)).description(
            "Iterations of the script that ended."
        ),
        stat("Iteration duration", style.SECONDS, durations).description(
            "Of an iteration of the script, its pauses included."
        ),
        stat("Data", style.BYTES, data).description("What k6 sent and received, headers included."),
    ]
    return [panel.span(8).height(3) for panel in panels]


def _union(label: str, expressions: Mapping[Phase, str]) -> str:
    """All of them with their names in a label; without the fractions of an empty bucket."""
    return " or ".join(
        labelled(f"round({value}, 1e-9)", label, name) for name, value in expressions.items()
    )


def failures(run: RunSelector) -> list[Panel]:
    kinds: Fields = {
        OPERATION: ("Operation", [NAME, style.WRAPPED]),
        "kind": ("Kind", [style.width(100)]),
        "status": ("Status", [style.width(64)]),
        "title": ("Problem", [style.WRAPPED, style.min_width(90)]),
        "error_code": ("k6 error code", [style.width(80)]),
    }
    states: Fields = {
        OPERATION: ("Operation", [NAME, style.WRAPPED]),
        errors.SQLSTATE: ("SQLSTATE", [style.width(96)]),
    }
    return [
        join_table(
            "Errors",
            kinds,
            Column("Errors", errors.errors_or_none(run), style.COUNT, [style.width(88)]),
        )
        .no_value(NO_DATA_OF_RUN)
        .height(7)
        .sort_by([SortBy().display_name("Errors").desc(True)])
        .description(
            "Failed checks of the whole run, by the response's status, the title of its problem "
            "details, and k6's error code. `just logs --trace ID` prints what the API logged of a "
            "trace."
        ),
        join_table(
            "Database errors",
            states,
            Column("Errors", errors.database_errors_or_none(run), style.COUNT, [style.width(88)]),
        )
        .no_value(NO_DATA_OF_RUN)
        .span(12)
        .sort_by([SortBy().display_name("Errors").desc(True)])
        .description(
            "Statements that PostgreSQL refused, by SQLSTATE: 23503 and 23505 are the API's way to "
            "answer 404 and 409."
        ),
        _checks(run),
    ]


def _checks(run: RunSelector) -> Panel:
    width = style.width(110)
    passed, failed = (
        client.checks(run, "check", f'result="{result}"') for result in ("passed", "failed")
    )
    return (
        join_table(
            "Checks",
            {"check": ("Check", [style.WRAPPED])},
            Column("Failed", failed, style.COUNT, [style.limit(1), style.COLOURED_TEXT, width]),
            Column("Passed", passed, style.COUNT, [width]),
        )
        .span(12)
        .no_value("No results: k6's script reports its checks when the run ends")
        .sort_by([SortBy().display_name("Failed").desc(True)])
        .description("How often each check of the script failed and passed, failed ones first.")
    )


def used_resources(run: RunSelector, load: Window) -> list[Panel]:
    cpu = {name: resources.cpu(it, TIMELINE, PROCESSES) for name, it in PROGRAMS.items()}
    memory = {name: resources.memory(it, TIMELINE, PROCESSES) for name, it in PROGRAMS.items()}
    return [
        run_graph("CPU", style.CORES, cpu)
        .colours(style.PROGRAMS)
        .description(
            "Cores in use. A process of the API can use one; when the machine's are all in use, "
            "everything waits."
        ),
        run_graph("Memory", style.BYTES, memory)
        .colours(style.PROGRAMS)
        .description("Resident memory, and the memory in use on the machine of k6."),
        _statements(run, load),
        *_log_and_locks(run, load),
    ]


def _statements(run: RunSelector, load: Window) -> Panel:
    lock, commit = (run_postgresql.statement_wait(wait, run, load) for wait in ("lock", "commit"))
    table = join_table(
        "Statements of PostgreSQL",
        {STATEMENT: ("Statement", [NAME])},
        Column("Calls", run_postgresql.statement_calls(run, load), style.COUNT),
        Column("Time", run_postgresql.statement_time(run, load), style.SECONDS),
        Column("Mean", run_postgresql.statement_mean(run, load), style.SECONDS),
        Column("Lock wait", lock, style.SECONDS),
        Column("Commit", commit, style.SECONDS),
        only_first=True,
    )
    return (
        table.no_value("No data")
        .sort_by([SortBy().display_name("Time").desc(True)])
        .description(
            "What PostgreSQL executed for the API during the run, whoever called it; the statement "
            "that took most time first. Mean, lock wait and commit are of one execution; the mean "
            "includes waits for row locks."
        )
    )


def _log_and_locks(run: RunSelector, load: Window) -> list[Panel]:
    flush = run_postgresql.fsync_mean(run, load)
    tiles = [
        stat("Write-ahead log", style.BYTES, run_postgresql.wal_bytes(run, load)).description(
            "What PostgreSQL wrote to its write-ahead log during the run."
        ),
        stat("Flushes", style.COUNT, run_postgresql.fsyncs(run, load)).description(
            "Flushes of the write-ahead log to the disk; each commit waits for one."
        ),
        stat("Mean flush", style.SECONDS, flush).description(
            "How long the disk took for a flush of the write-ahead log."
        ),
    ]
    kinds: Fields = {run_postgresql.LOCK_KIND: ("Lock", [])}
    waited = Column("Waited", run_postgresql.lock_time(run, load), style.SECONDS)
    return [
        *(tile.span(5).height(6) for tile in tiles),
        join_table("Waits for locks", kinds, waited)
        .no_value("No waits for locks were seen, or no data")
        .span(9)
        .height(6)
        .sort_by([SortBy().display_name("Waited").desc(True)])
        .description("Seconds that PostgreSQL's backends waited, by kind of lock."),
    ]
