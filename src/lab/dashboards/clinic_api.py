"""The clinic itself, whoever calls it: requests, database, process, alerts."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders import dashboard, nodegraph, tempo

from lab import slo
from lab.dashboards import pages, panels, style
from lab.dashboards.panels import Column, Graph, Panel, Stat, graph, joined, lines, stat
from lab.promql import service, telemetry, traceql

EACH = "$__rate_interval"
NOW = "1m"
CALLS = 'user_agent_synthetic_type=~"$calls"'
SLO = slo.all_requests_limits()
NOBODY = "No requests"
TRACES = "Traces in Explore"


def page() -> dashboard.Dashboard:
    """Make the page of the service."""
    return pages.page(
        "clinic-api",
        "Rate, errors and duration of each route, what the database took, and the process itself.",
        {
            "": [panel.span(6).height(3) for panel in now()],
            "Requests": requests(),
            "Database": database(),
            "Process": process(),
            "Alerts, and who calls whom": alerts_and_callers(),
        },
        variables=[
            dashboard.CustomVariable("calls")
            .label("Calls")
            .description("Whose requests count: everyone's, those of load runs, or the others.")
            .values("all : .*,organic : ^$,load runs : test")
        ],
    )


def now() -> list[Stat]:
    failed = service.failed_share(NOW, CALLS)
    return [
        stat("Requests", style.PER_SECOND, service.request_rate(NOW, CALLS)).description(
            "Requests a second in the last minute. None means that nobody calls or gets through."
        ),
        stat("Failed", style.SHARE, failed, warning=1e-9, bad=SLO.failed_share)
        .no_value(NOBODY)
        .description(
            "The share of the last minute's requests that the clinic itself failed: a status of "
            f"500 or more. The objective allows {SLO.failed_share:.0%}."
        ),
        stat("p95", style.SECONDS, service.duration_quantile(0.95, NOW, CALLS), bad=SLO.p95)
        .no_value(NOBODY)
        .description(
            "95 of 100 of the last minute's requests took the clinic less. The objective of all "
            f"together is {SLO.p95 * 1000:.0f} ms."
        ),
        stat("Alerts firing", style.COUNT, service.firing_alerts(), bad=1)
        .id(108)
        .description(
            "How many alerts fire that call somebody; all are listed at the foot of this page."
        ),
        stat("Processor", style.CORES, service.cpu_cores(NOW), warning=0.9)
        .decimals(2)
        .description(
            "Cores in use in the last minute. One process has one core to gain: near 1 it is full."
        ),
        stat("Pool in use", style.SHARE, service.pool_usage(NOW), warning=0.8, bad=1).description(
            "Connections to PostgreSQL in use, at the most, in the last minute. At 100 % requests "
            "wait for one, and are refused after five seconds."
        ),
        stat("Database", style.TEXT, service.database_up(NOW))
        .mappings(style.mappings((1, "answers", style.GOOD), (0, "away", style.BAD)))
        .description(
            "Whether PostgreSQL answers the clinic. While it is away requests are refused by 503."
        ),
        stat("Last heard of", style.SECONDS, telemetry.clinic_silence(), warning=15, bad=30)
        .decimals(0)
        .description(
            "How long ago the clinic's newest number came: it sends every five seconds. Above half "
            "a minute the API is down, or cannot reach Prometheus."
        ),
    ]


def requests() -> list[Panel]:
    by_status = service.request_rate(EACH, CALLS, service.STATUS)
    return [
        by_route("Requests of each route", style.PER_SECOND, service.request_rate)
        .stacked()
        .description("Requests a second. A route that stops alone has lost its callers."),
        lines("Organic requests and load runs", style.PER_SECOND)
        .line("organic", service.request_rate(EACH, service.ORGANIC))
        .line("load runs", service.request_rate(EACH, service.LOAD_RUNS))
        .stacked()
        .description(
            "Requests a second of load runs, which name themselves, and of everyone else. "
            "Alerts of the service watch the organic ones alone."
        ),
        by_route("Failed share of each route", style.SHARE, service.failed_share)
        .limit(SLO.failed_share, style.BAD)
        .axis_soft_max(2 * SLO.failed_share)
        .description(
            "The share of requests answered with 500 or more. Above the dashed line it breaks the "
            "objective."
        ),
        lines("Answers by status", style.PER_SECOND, {"{{http_response_status_code}}": by_status})
        .override_by_regexp("/^2/", [style.fixed(style.GOOD)])
        .override_by_regexp("/^4/", [style.fixed(style.WARNING)])
        .override_by_regexp("/^5/", [style.fixed(style.BAD)])
        .stacked()
        .description(
            "Answers a second. 4xx is what callers did wrong; 500 is a bug; 503 is the database "
            "away or the pool taken."
        ),
        graph("Duration of all requests", style.SECONDS)
        .line("p50", service.duration_quantile(0.5, EACH, CALLS))
        .line("p95", service.duration_quantile(0.95, EACH, CALLS), exemplars=True)
        .line("p99", service.duration_quantile(0.99, EACH, CALLS))
        .description(
            "Half, 95 and 99 of 100 requests took the clinic less. Each dot is a request, and "
            "leads to its trace."
        ),
        by_route(
            "p95 of each route", style.SECONDS, partial(service.duration_quantile, 0.95)
        ).description(
            "95 of 100 requests of a route took the clinic less. What is not in the statements' "
            "p95 below was the process's own work, or waiting."
        ),
    ]


def by_route(title: str, unit: str, asked: Callable[[str, str, str], str]) -> Graph:
    """Draw a line for each route, in its own colour, that leads to its traces."""
    expression = service.label_unknown_route(asked(EACH, CALLS, service.ROUTE))
    clicked = "${__field.labels.http_request_method} ${__field.labels.http_route}"
    return (
        graph(title, unit, {"{{http_request_method}} {{http_route}}": expression})
        .coloured(style.OPERATIONS | {"GET (no such path)": style.NEUTRAL})
        .leading_to(TRACES, traceql.requests(operation=clicked))
    )


def database() -> list[Panel]:
    its_traces = traceql.statements("${__field.labels.span_name}")
    return [
        lines("Statements", style.A_SECOND, {"{{span_name}}": service.statement_rate(EACH)})
        .stacked()
        .leading_to(TRACES, its_traces)
        .description(
            "Statements a second, by their spans: all of load runs, of organic requests as many "
            "as are sampled."
        ),
        lines("p95 of each statement", style.SECONDS)
        .line("{{span_name}}", service.statement_quantile(0.95, EACH))
        .leading_to(TRACES, its_traces)
        .description(
            "95 of 100 statements took less. One that grows with its table lacks an index; all "
            "that grow together wait for disk or processor."
        ),
        lines("Failed statements and refused requests", style.A_SECOND)
        .line("{{span_name}} failed", service.failed_statement_rate(EACH))
        .line("503 answered", service.failed_rate(EACH, CALLS, service.UNAVAILABLE))
        .axis_soft_max(1)
        .description(
            "Statements a second that the database refused, duplicates among them, and requests "
            "answered with 503: it was away, or no connection came free."
        ),
        lines("Connections", style.COUNT)
        .line("in use", service.connections_used(EACH))
        .line("allowed", service.connections_allowed(EACH))
        .description(
            "The pool's connections in use, at the most, and allowed. Where the lines meet "
            "requests wait; more connections help only while PostgreSQL has cores to spare."
        ),
    ]


def process() -> list[Panel]:
    return [
        lines("Event-loop lag", style.SECONDS)
        .line("p50", service.event_loop_lag(0.5, EACH))
        .line("p99", service.event_loop_lag(0.99, EACH))
        .description(
            "How late the event loop wakes a sleeper: what each request waits in the process. "
            "Above some ten milliseconds it is short of processor, or something blocks it."
        ),
        lines("Processor", style.CORES, {"{{type}}": service.cpu_cores(EACH, "type")})
        .stacked()
        .description("Cores in use by the clinic: its own code's, and the system's on its behalf."),
        lines("Memory", style.BYTES, {"resident": service.memory_bytes(EACH)}).description(
            "What the clinic's processes hold. It settles after the first load; a climb is a leak."
        ),
        lines("Garbage collections", style.A_SECOND)
        .line("generation {{generation}}", service.garbage_collection_rate(EACH))
        .description(
            "Collections a second. Generation 2 holds everything up for longest, and is rare: what "
            "there was at the start is never looked at again."
        ),
    ]


def alerts_and_callers() -> list[Panel]:
    labels = {"alertname": "Alert", "severity": "Severity", "alertstate": "State", "of": "Of"}
    since = Column("Since", f"1000 * ({service.active_alerts()})", style.TIME, [style.width(185)])
    drawn = nodegraph.Panel().title("Service graph").datasource(panels.TEMPO).span(24).height(12)
    drawn.no_value("Tempo draws this, from requests in this time range")
    query = tempo.Dataquery().ref_id("A").datasource(panels.TEMPO).query_type("serviceMap")
    return [
        joined("Alerts", {label: (title, []) for label, title in labels.items()}, since)
        .id(502)
        .no_value("Nothing fires")
        .height(8)
        .description(
            "What fires now, or will if it lasts. What to do is in observability/README.md, under "
            "the alert's name."
        ),
        drawn.targets([query]).description(
            "Who calls whom, how often and for how long, drawn by Tempo from spans. Where Jaeger "
            "stores the traces it stays empty."
        ),
    ]
