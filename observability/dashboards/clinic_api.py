"""The clinic itself, whoever calls it: requests, database, process, alerts."""

from grafana_foundation_sdk.builders import dashboard, nodegraph, tempo
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Graph

from observability import slo
from observability.dashboards import links, pages
from observability.dashboards.panels import (
    TEMPO,
    Column,
    Panel,
    course,
    graph,
    joined,
    lines,
    stacked,
    stat,
    steps,
    value,
    width,
    with_limit,
)
from observability.dashboards.style import (
    BAD,
    BYTES,
    COUNT,
    GOOD,
    LINES,
    NEUTRAL,
    OPERATIONS,
    PER_SECOND,
    SECONDS,
    SHARE,
    TEXT,
    TIME,
    WARNING,
    fixed,
    mappings,
)
from observability.queries import pipeline, service

EACH = "$__rate_interval"
NOW = "1m"
CALLS = 'user_agent_synthetic_type=~"$calls"'
NO_PATH = "GET (no such path)"
OBJECTIVE = slo.of_every_request()
NOBODY = "No requests"
CORES = "suffix:cores"
A_SECOND = "suffix:/s"


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
            "Alerts, and who calls whom": [alerts(), service_graph()],
        },
        variables=[
            dashboard.CustomVariable("calls")
            .label("Calls")
            .description("Whose requests count: everyone's, those of load runs, or the others.")
            .values("all : .*,organic : ^$,load runs : test")
        ],
    )


def now() -> list[Stat]:
    return [
        stat(
            101,
            "Requests",
            "Requests a second in the last minute. None means that nobody calls or gets through.",
            PER_SECOND,
            value(service.requests(NOW, CALLS)),
        ),
        stat(
            102,
            "Failed",
            "The share of the last minute's requests that the clinic itself failed: a status of "
            f"500 or more. The objective allows {OBJECTIVE.failed_share:.0%}.",
            SHARE,
            value(service.failed_share(NOW, CALLS)),
        )
        .no_value(NOBODY)
        .thresholds(steps((1e-9, WARNING), (OBJECTIVE.failed_share, BAD))),
        stat(
            103,
            "p95",
            "95 of 100 of the last minute's requests took the clinic less. The objective of all "
            f"together is {OBJECTIVE.p95 * 1000:.0f} ms.",
            SECONDS,
            value(service.quantile(0.95, NOW, CALLS)),
        )
        .no_value(NOBODY)
        .thresholds(steps((OBJECTIVE.p95, BAD))),
        stat(
            108,
            "Alerts firing",
            "How many alerts fire that call somebody; all are listed at the foot of this page.",
            COUNT,
            value(service.firing()),
        ).thresholds(steps((1, BAD))),
        stat(
            104,
            "Processor",
            "Cores in use in the last minute. One process has one core to gain: near 1 it is full.",
            CORES,
            value(service.processor(NOW)),
        )
        .decimals(2)
        .thresholds(steps((0.9, WARNING))),
        stat(
            105,
            "Pool in use",
            "Connections to PostgreSQL in use, at the most, in the last minute. At 100 % requests "
            "wait for one, and are refused after five seconds.",
            SHARE,
            value(service.pool_in_use(NOW)),
        ).thresholds(steps((0.8, WARNING), (1, BAD))),
        stat(
            106,
            "Database",
            "Whether PostgreSQL answers the clinic. While it is away requests are refused by 503.",
            TEXT,
            value(service.database_up(NOW)),
        ).mappings(mappings((1, "answers", GOOD), (0, "away", BAD))),
        stat(
            107,
            "Last heard of",
            "How long ago the clinic's newest number came: it sends every five seconds. Above half "
            "a minute the API is down, or cannot reach Prometheus.",
            SECONDS,
            value(pipeline.silence_of_clinic()),
        )
        .decimals(0)
        .thresholds(steps((15, WARNING), (30, BAD))),
    ]


def requests() -> list[Panel]:
    return [
        stacked(
            by_route(
                201,
                "Requests of each route",
                "Requests a second. A route that stops alone has lost its callers.",
                PER_SECOND,
                service.requests(EACH, CALLS, service.ROUTE),
            )
        ),
        stacked(
            lines(
                202,
                "Organic requests and load runs",
                "Requests a second of load runs, which name themselves, and of everyone else. "
                "Alerts of the service watch the organic ones alone.",
                PER_SECOND,
                {
                    "organic": service.requests(EACH, service.ORGANIC),
                    "load runs": service.requests(EACH, service.LOAD_RUNS),
                },
            )
        ),
        with_limit(
            by_route(
                203,
                "Failed share of each route",
                "The share of requests answered with 500 or more. Above the dashed line it breaks "
                "the objective.",
                SHARE,
                service.failed_share(EACH, CALLS, service.ROUTE),
            ),
            OBJECTIVE.failed_share,
            BAD,
        ),
        stacked(
            lines(
                204,
                "Answers by status",
                "Answers a second. 4xx is what callers did wrong; 500 is a bug; 503 is the "
                "database away or the pool taken.",
                PER_SECOND,
                {"{{http_response_status_code}}": service.requests(EACH, CALLS, service.STATUS)},
            )
            .override_by_regexp("/^2/", [fixed(GOOD)])
            .override_by_regexp("/^4/", [fixed(WARNING)])
            .override_by_regexp("/^5/", [fixed(BAD)])
        ),
        graph(
            205,
            "Duration of all requests",
            "Half, 95 and 99 of 100 requests took the clinic less. Each dot is a request, and "
            "leads to its trace.",
            SECONDS,
            course(service.quantile(0.5, EACH, CALLS), "p50"),
            course(service.quantile(0.95, EACH, CALLS), "p95").exemplar(True),
            course(service.quantile(0.99, EACH, CALLS), "p99"),
            colours={name: LINES[name] for name in ("p50", "p95", "p99")},
        ),
        by_route(
            206,
            "p95 of each route",
            "95 of 100 requests of a route took the clinic less. What is not in the statements' "
            "p95 below was the process's own work, or waiting.",
            SECONDS,
            service.quantile(0.95, EACH, CALLS, service.ROUTE),
        ),
    ]


def by_route(number: int, title: str, description: str, unit: str, expression: str) -> Graph:
    """Draw a line for each route, in its own colour, that leads to its traces."""
    labels = "${__field.labels.http_request_method} ${__field.labels.http_route}"
    return graph(
        number,
        title,
        description,
        unit,
        course(service.with_route(expression), "{{http_request_method}} {{http_route}}"),
        colours=OPERATIONS | {NO_PATH: NEUTRAL},
    ).data_links([to_traces(f'{{ kind = server && span.clinic.operation = "{labels}" }}')])


def database() -> list[Panel]:
    traces = to_traces('{ kind = client && name = "${__field.labels.span_name}" }')
    return [
        stacked(
            lines(
                301,
                "Statements",
                "Statements a second, by their spans: all of load runs, of organic requests as "
                "many as are sampled.",
                A_SECOND,
                {"{{span_name}}": service.statements(EACH)},
            ).data_links([traces])
        ),
        lines(
            302,
            "p95 of each statement",
            "95 of 100 statements took less. One that grows with its table lacks an index; all "
            "that grow together wait for disk or processor.",
            SECONDS,
            {"{{span_name}}": service.statement_quantile(0.95, EACH)},
        ).data_links([traces]),
        lines(
            303,
            "Failed statements and refused requests",
            "Statements a second that the database refused, duplicates among them, and requests "
            "answered with 503: it was away, or no connection came free.",
            A_SECOND,
            {
                "{{span_name}} failed": service.failed_statements(EACH),
                "503 answered": service.failed_requests(EACH, CALLS, service.UNAVAILABLE),
            },
        ),
        lines(
            304,
            "Connections",
            "The pool's connections in use, at the most, and allowed. Where the lines meet "
            "requests wait; more connections help only while PostgreSQL has cores to spare.",
            COUNT,
            {
                "in use": service.connections_used(EACH),
                "allowed": service.connections_allowed(EACH),
            },
        ),
    ]


def process() -> list[Panel]:
    return [
        lines(
            401,
            "Event-loop lag",
            "How late the event loop wakes a sleeper: what each request waits in the process. "
            "Above some ten milliseconds it is short of processor, or something blocks it.",
            SECONDS,
            {f"p{q * 100:.0f}": service.event_loop_lag(q, EACH) for q in (0.5, 0.99)},
        ),
        stacked(
            lines(
                402,
                "Processor",
                "Cores in use by the clinic: its own code's, and the system's on its behalf.",
                CORES,
                {"{{type}}": service.processor(EACH, "type")},
            )
        ),
        lines(
            403,
            "Memory",
            "What the clinic's processes hold. It settles after the first load; a climb is a leak.",
            BYTES,
            {"resident": service.memory(EACH)},
        ),
        lines(
            404,
            "Garbage collections",
            "Collections a second. Generation 2 holds everything up for longest, and is rare: what "
            "there was at the start is never looked at again.",
            A_SECOND,
            {"generation {{generation}}": service.collections(EACH)},
        ),
    ]


def service_graph() -> Panel:
    return (
        nodegraph.Panel()
        .id(501)
        .title("Service graph")
        .description(
            "Who calls whom, how often and for how long, drawn by Tempo from spans. Where Jaeger "
            "stores the traces it stays empty."
        )
        .datasource(TEMPO)
        .no_value("Tempo draws this, from requests in this time range")
        .span(24)
        .height(12)
        .targets([tempo.Dataquery().ref_id("A").datasource(TEMPO).query_type("serviceMap")])
    )


def alerts() -> Panel:
    labels = {"alertname": "Alert", "severity": "Severity", "alertstate": "State", "of": "Of"}
    return (
        joined(
            502,
            "Alerts",
            "What fires now, or will if it lasts. What to do is in observability/README.md, under "
            "the alert's name.",
            {label: (title, []) for label, title in labels.items()},
            [Column("Since", f"1000 * ({service.alerts()})", TIME, [width(185)])],
        )
        .no_value("Nothing fires")
        .height(8)
    )


def to_traces(query: str) -> dashboard.DashboardLink:
    """Lead from a line to the traces behind it."""
    return dashboard.DashboardLink("Traces in Explore").url(links.explore(query))
