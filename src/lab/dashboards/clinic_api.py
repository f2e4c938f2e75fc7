"""Clinic API: the API now, whoever calls it."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import nodegraph, tempo
from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy

from lab import slo
from lab.dashboards import base, style
from lab.dashboards.panels import (
    TEMPO_SOURCE,
    Column,
    Fields,
    Graph,
    Panel,
    Stat,
    Table,
    graph,
    join_table,
    stat,
)
from lab.promql import api, postgresql, telemetry, traceql
from lab.promql.selectors import OPERATION, RETENTION, RunList

WINDOW = "$__rate_interval"
LAST_MINUTE = "1m"
CALLS = 'user_agent_synthetic_type=~"$calls"'
SLO = slo.all_requests_limits()
NO_REQUESTS = "no requests, or no API metrics"
# So high that the legend has room for every route.
FOR_ROUTES = 11


def dashboard() -> builders.Dashboard:
    calls = builders.CustomVariable("calls").label("Requests").description("Whose requests count.")
    return base.make_dashboard(
        "clinic-api",
        {
            "": [panel.span(6).height(3) for panel in _now()],
            "Alerts": [alert_table().height(8), _error_budgets().height(8)],
            "Requests": _requests(),
            "Database as the API sees it": _database(),
            "PostgreSQL": _postgresql(),
            "Process": _process(),
            "Service graph": [_service_graph()],
        },
        band=RunList(RETENTION),
        variables=[calls.values("all : .*,organic : ^$,load runs : test")],
    )


def _now() -> list[Stat]:
    rate = api.request_rate(LAST_MINUTE, CALLS)
    failed = api.failed_share(LAST_MINUTE, CALLS)
    p95 = api.duration_quantile(0.95, LAST_MINUTE, CALLS)
    pool = api.pool_usage(LAST_MINUTE)
    return [
        stat("Requests, last minute", style.REQUESTS_PER_SECOND, rate)
        .without_value(NO_REQUESTS)
        .description("Requests per second in the last minute. 0: no requests arrive."),
        stat("Failed (5xx), last minute", style.SHARE, failed, warning=1e-9, bad=SLO.failed_share)
        .without_value(NO_REQUESTS)
        .description(
            "Share of the last minute's responses with status 500 or more. Limit: "
            f"{SLO.failed_share * 100:.0f} %."
        ),
        stat("p95, last minute", style.SECONDS, p95, bad=SLO.p95)
        .without_value(NO_REQUESTS)
        .description(
            "95th percentile of the duration as measured by the API in the last minute. Limit for "
            f"all requests together: {SLO.p95 * 1000:.0f} ms."
        ),
        stat("CPU, last minute", style.CORES, api.busiest_process_cpu(LAST_MINUTE), warning=0.9)
        .decimals(2)
        .description(
            "Cores that the busiest process used in the last minute. It can use one: near 1 it "
            "is busy."
        ),
        stat("Connections, last minute", style.SHARE, pool, warning=0.8, bad=1).description(
            "Peak use of a process's connection pool in the last minute. At 100 % its requests "
            "wait for a connection and after 5 s get status 503."
        ),
        stat("Database", style.TEXT, api.database_up(LAST_MINUTE))
        .words([(1, "up", style.GOOD), (0, "down", style.BAD)])
        .description("While PostgreSQL is down, requests get status 503."),
        stat("Last metric received", style.SECONDS, telemetry.clinic_silence(), warning=15, bad=30)
        .decimals(0)
        .description(
            "The API sends metrics every 5 s. After 30 s it is down or cannot reach Prometheus."
        ),
        stat("Alerts firing", style.COUNT, api.firing_alerts(), bad=1).description(
            "Firing alerts that notify. All alerts are listed below."
        ),
    ]


def _requests() -> list[Panel]:
    by_status = api.request_rate(WINDOW, CALLS, api.STATUS)
    callers = {
        "organic": api.request_rate(WINDOW, api.ORGANIC),
        "load runs": api.request_rate(WINDOW, api.LOAD_RUNS),
    }
    quantiles = {
        f"p{q * 100:.0f}": api.duration_quantile(q, WINDOW, CALLS) for q in (0.5, 0.95, 0.99)
    }
    return [
        _by_route("Requests by route", style.REQUESTS_PER_SECOND, api.request_rate)
        .stacked()
        .description("Requests per second by route. 0: no requests arrive."),
        graph("Organic requests and load runs", style.REQUESTS_PER_SECOND, callers)
        .stacked()
        .height(FOR_ROUTES)
        .description(
            "Load runs identify themselves. Error-budget alerts count organic requests only."
        ),
        _by_route("Failed share by route", style.SHARE, api.failed_share)
        .limit(SLO.failed_share, style.BAD)
        .axis_soft_max(2 * SLO.failed_share)
        .description("Share of responses with status 500 or more. Dashed: the limit."),
        graph(
            "Responses by status",
            style.REQUESTS_PER_SECOND,
            {"{{http_response_status_code}}": by_status},
        )
        .override_by_regexp("/^2/", [style.fixed(style.GOOD)])
        .override_by_regexp("/^4/", [style.fixed(style.WARNING)])
        .override_by_regexp("/^5/", [style.fixed(style.BAD)])
        .stacked()
        .height(FOR_ROUTES)
        .description(
            "4xx: the caller's mistake. 500: a bug. 503: the database is down, or no connection "
            "was free."
        ),
        graph("Request duration", style.SECONDS, quantiles, exemplars="p95")
        .height(FOR_ROUTES)
        .description(
            "50th, 95th and 99th percentile of the duration as measured by the API. Click a dot "
            "for the trace of a request."
        ),
        _by_route("p95 by route", style.SECONDS, partial(api.duration_quantile, 0.95)).description(
            "95th percentile of the duration as measured by the API. What exceeds the p95 of its "
            "statements is the process's own work, or waiting."
        ),
    ]


def _by_route(title: str, unit: str, expression: Callable[[str, str, str], str]) -> Graph:
    """Draw a line for each route with a link to its traces."""
    by_route = api.label_unknown_route(expression(WINDOW, CALLS, api.ROUTE))
    operation = "${__field.labels.http_request_method} ${__field.labels.http_route}"
    return (
        graph(title, unit, {"{{http_request_method}} {{http_route}}": by_route})
        .colours(style.OPERATIONS | {"GET (no such path)": style.NEUTRAL})
        .link_to_traces(traceql.requests(operation=operation))
        .height(FOR_ROUTES)
    )


def _database() -> list[Panel]:
    traces = traceql.statements("${__field.labels.span_name}")
    failures = {
        "{{span_name}} failed": api.failed_statement_rate(WINDOW),
        "503 responses": api.failed_rate(WINDOW, CALLS, api.UNAVAILABLE),
    }
    connections = {
        "in use": api.connections_used(WINDOW),
        "pool size": api.pool_size(WINDOW),
    }
    p95 = api.statement_quantile(0.95, WINDOW)
    return [
        graph("Statements", style.PER_SECOND, {"{{span_name}}": api.statement_rate(WINDOW)})
        .stacked()
        .link_to_traces(traces)
        .description(
            "Counted by their spans: all those of load runs, and those of sampled organic requests."
        ),
        graph("p95 by statement", style.SECONDS, {"{{span_name}}": p95})
        .link_to_traces(traces)
        .description(
            "95th percentile of the time until the API has the result, which includes its own "
            "delay: under load that is most of it. PostgreSQL's own times are in the next row."
        ),
        graph("Failed statements and 503 responses", style.PER_SECOND, failures)
        .bad_above_zero("503 responses")
        .override_by_regexp("/ failed$/", [style.fixed(style.WARNING)])
        .axis_soft_max(1)
        .description(
            "Statements that the database rejected, duplicates included, and responses with 503: "
            "the database was down, or no connection was free."
        ),
        graph("Connections", style.COUNT, connections).description(
            "Of the process that uses most. Where the lines meet, its requests wait for a "
            "connection. More connections only help "
            "while PostgreSQL has CPU cores to spare."
        ),
    ]


def _postgresql() -> list[Panel]:
    flushes = {
        "mean": postgresql.mean_wal_flush(WINDOW),
        "flushes": postgresql.wal_flush_rate(WINDOW),
    }
    transactions = {
        "commits": postgresql.transaction_rate(WINDOW),
        "rollbacks": postgresql.transaction_rate(WINDOW, "rollback"),
        "deadlocks": postgresql.deadlock_rate(WINDOW),
    }
    return [
        graph("Active backends", style.NUMBER, {"{{wait}}": postgresql.active_backends(WINDOW)})
        .colours(style.WAITS)
        .stacked()
        .description(
            "Backends that work for the API, by what they do: execute, wait for a lock, write a "
            "commit to disk, or send to the API. Seen 20 times a second."
        ),
        graph(
            "Mean execution by statement",
            style.SECONDS,
            {"{{statement}}": postgresql.mean_execution(WINDOW)},
        ).description(
            "Exact, with waits for locks of rows; commits and waits for locks of tables are extra. "
            "If one statement grows with its table, an index is missing."
        ),
        graph("WAL flushes", style.SECONDS, flushes)
        .right_axis("flushes", style.PER_SECOND)
        .description(
            "Mean time of a flush of the write-ahead log, and flushes per second. Each commit "
            "waits for one; commits at the same time share it. A slow disk shows here."
        ),
        graph("Transactions", style.PER_SECOND, transactions).description(
            "Transactions of the clinic's database that were committed and rolled back, and "
            "deadlocks."
        ),
        graph(
            "Connections by state", style.COUNT, {"{{state}}": postgresql.connections(WINDOW)}
        ).description(
            "Connections to the clinic's database at the scrapes. Those idle in transaction hold "
            "locks and do nothing."
        ),
        graph("Cache hits", style.SHARE, {"hits": postgresql.cache_hit_share(WINDOW)})
        .max(1)
        .description(
            "Share of blocks that were in PostgreSQL's shared buffers. If it falls while reads "
            "slow down, the data no longer fits in memory."
        ),
    ]


def _process() -> list[Panel]:
    delay = {f"p{q * 100:.0f}": api.event_loop_delay(q, WINDOW) for q in (0.5, 0.99)}
    collections = api.garbage_collection_rate(WINDOW)
    processes = {"running": api.running_processes(), "expected": api.expected_processes()}
    return [
        graph("Event-loop delay", style.SECONDS, delay).description(
            "Time that an event waits for the event loop, in the process where it waits longest; a "
            "request waits several times. Above 10 ms the process is short of CPU, or something "
            "blocks the event loop."
        ),
        graph("CPU", style.CORES, {"{{type}}": api.cpu_cores(WINDOW, "type")})
        .stacked()
        .description("Cores in use by the API's own code, and by the system on its behalf."),
        graph("Memory", style.BYTES, {"resident": api.memory_bytes(WINDOW)}).description(
            "Resident memory. It settles after the first load; a steady rise is a leak."
        ),
        graph(
            "Garbage collections", style.PER_SECOND, {"generation {{generation}}": collections}
        ).description(
            "Generation 2 pauses the process longest. Objects made at start-up are exempt, which "
            "shortens the pause."
        ),
        graph("Processes", style.COUNT, processes).description(
            "Processes of the API that sent metrics in the last 30 s, and how many should: "
            "CLINIC_REPLICAS times CLINIC_WORKERS."
        ),
    ]


def alert_table() -> Table:
    """List the alerts that fire or are pending."""
    labels: Fields = {
        "alertname": ("Alert", [style.width(212)]),
        "severity": ("Severity", [style.width(76)]),
        "alertstate": ("State", [style.width(76)]),
        "subject": ("Subject", [style.WRAPPED]),
    }
    none = style.texts({"0": "-"})
    since = Column("Since", api.alerts_or_none(), style.TIME, [none, style.width(185)])
    alerts = join_table("Alerts", labels, since).no_value("No alert rules")
    return alerts.description("For each alert, observability/README.md says what to do.")


def _error_budgets() -> Table:
    """List the operations with their objectives, and how fast each spends its error budget."""
    burning = [style.limit(1, style.NEUTRAL), style.COLOURED_TEXT, style.decimals(2)]
    table = join_table(
        "Error budgets",
        {OPERATION: ("Operation", [])},
        Column("p95 limit", api.organic_p95_limit(), style.SECONDS),
        Column("Errors", api.burn_rate("availability", "1h"), style.RATIO, burning),
        Column("Slow", api.burn_rate("latency", "1h"), style.RATIO, burning),
    )
    return table.sort_by([SortBy().display_name("Errors").desc(True)]).description(
        "Organic requests of the last hour. Errors and Slow: how many times as fast as the SLO "
        "allows they spent the error budget; 1 spends all of it. Without organic requests there "
        "are only the limits."
    )


def _service_graph() -> Panel:
    service_graph = nodegraph.Panel().title("Service graph").datasource(TEMPO_SOURCE)
    query = tempo.Dataquery().ref_id("A").datasource(TEMPO_SOURCE).query_type("serviceMap")
    return (
        service_graph.targets([query])
        .no_value("No requests in this time range, or no service graph")
        .span(24)
        .height(12)
        .description(
            "Who calls whom, how often and for how long, as Tempo derives it from spans; empty "
            "with Jaeger."
        )
    )
