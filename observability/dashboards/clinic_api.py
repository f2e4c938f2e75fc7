"""The clinic itself, whoever calls it: requests, database, process, alerts."""

from grafana_foundation_sdk.builders import dashboard, nodegraph, tempo

from observability import slo
from observability.dashboards import pages
from observability.dashboards.panels import (
    TEMPO,
    Column,
    Panel,
    course,
    explore_traces,
    graph,
    joined,
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
    CLIENT,
    COUNT,
    DATABASE,
    GOOD,
    LOAD,
    NEUTRAL,
    PER_SECOND,
    SECONDS,
    SERVER,
    SHARE,
    TEXT,
    TIME,
    WARNING,
    mappings,
)
from observability.queries import pipeline, service

EACH = "$__rate_interval"
NOW = "1m"
CALLS = 'user_agent_synthetic_type=~"$calls"'
ROUTE = "{{http_request_method}} {{http_route}}"
OBJECTIVE = slo.of_every_request()
CORES = "suffix: cores"
NEVER = "Never"
SPANS_ONLY = "No statement in this time range"

TRACES_OF_ROUTE = explore_traces(
    "{ kind = server && span.clinic.operation = "
    '"${__field.labels.http_request_method} ${__field.labels.http_route}" }'
)
TRACES_OF_STATEMENT = explore_traces('{ kind = client && name = "${__field.labels.span_name}" }')


def page() -> dashboard.Dashboard:
    """Make the page of the service."""
    return pages.page(
        "clinic-api",
        "Rate, errors and duration of each route, what the database took, and the process itself.",
        {
            "": now(),
            "Requests": requests(),
            "Database": database(),
            "Process": process(),
            "Who calls whom, and alerts": surroundings(),
        },
        variables=[
            dashboard.CustomVariable("calls")
            .label("Calls")
            .description("Whose requests count: everyone's, those of load runs, or the others.")
            .values("all : .*,organic : ^$,load runs : test")
        ],
    )


def now() -> list[Panel]:
    panels = [
        stat(
            101,
            "Requests",
            "Requests a second in the last minute of the time range. None for long means that "
            "nobody calls, or nobody gets through: see when the API was last heard of.",
            PER_SECOND,
            value(service.requests(NOW, CALLS)),
        ),
        stat(
            102,
            "Failed",
            "The share of the last minute's requests that the clinic itself failed, with a status "
            f"of 500 or more. The objective allows {OBJECTIVE.failed_share:.0%}.",
            SHARE,
            value(service.failed_share(NOW, CALLS)),
        )
        .decimals(2)
        .thresholds(steps((1e-9, WARNING), (OBJECTIVE.failed_share, BAD))),
        stat(
            103,
            "p95",
            "95 of 100 of the last minute's requests took the clinic less. For all requests "
            f"together the objective is {OBJECTIVE.p95 * 1000:.0f} ms.",
            SECONDS,
            value(service.quantile(0.95, NOW, CALLS)),
        ).thresholds(steps((OBJECTIVE.p95, BAD))),
        stat(
            104,
            "Processor",
            "Cores in use by the clinic in the last minute. One process has one core to gain: near "
            "1 it is full, and requests wait their turn.",
            CORES,
            value(service.processor(NOW)),
        ).thresholds(steps((0.9, WARNING))),
        stat(
            105,
            "Pool in use",
            "The share of the connections to PostgreSQL that requests held, at the most, in the "
            "last minute. At 100 % requests wait for one, and are refused after five seconds.",
            SHARE,
            value(service.pool_in_use(NOW)),
        ).thresholds(steps((0.8, WARNING), (1, BAD))),
        stat(
            106,
            "Database",
            "Whether PostgreSQL answers the clinic, which asks every five seconds. While it is "
            "away every request for data is answered with 503.",
            TEXT,
            value(service.database_up(NOW)),
        )
        .no_value(NEVER)
        .mappings(mappings((1, "answers", GOOD), (0, "away", BAD))),
        stat(
            107,
            "Last heard of",
            "How long ago the clinic's newest number arrived: it sends every five seconds. More "
            "than half a minute means that the API is down, or cannot reach Prometheus.",
            SECONDS,
            value(pipeline.silence_of_clinic()),
        )
        .no_value(NEVER)
        .decimals(0)
        .thresholds(steps((15, WARNING), (30, BAD))),
        stat(
            108,
            "Alerts firing",
            "How many alerts fire; which ones is at the foot of this page.",
            COUNT,
            value(service.firing()),
        ).thresholds(steps((1, BAD))),
    ]
    return [panel.span(3) for panel in panels]


def requests() -> list[Panel]:
    traces = (
        dashboard.DashboardLink("Traces of ${__field.name}").url(TRACES_OF_ROUTE).target_blank(True)
    )
    return [
        stacked(
            graph(
                201,
                "Requests of each route",
                "Requests a second. A route that stops alone has lost its callers.",
                PER_SECOND,
                course(service.with_route(service.requests(EACH, CALLS, service.ROUTE)), ROUTE),
            ).data_links([traces])
        ),
        stacked(
            graph(
                202,
                "Organic requests and load runs",
                "Requests a second of load runs, which name themselves, and of everyone else. "
                "Alerts watch the organic ones alone.",
                PER_SECOND,
                course(service.requests(EACH, service.ORGANIC), "organic"),
                course(service.requests(EACH, service.LOAD_RUNS), "load runs"),
                colours={"organic": CLIENT, "load runs": LOAD},
            )
        ),
        with_limit(
            graph(
                203,
                "Failed share of each route",
                "The share of requests answered with 500 or more. The dashed line is the "
                "objective; what is above it for long eats the error budget.",
                SHARE,
                course(service.with_route(service.failed_share(EACH, CALLS, service.ROUTE)), ROUTE),
            ).data_links([traces]),
            OBJECTIVE.failed_share,
            BAD,
        ),
        stacked(
            graph(
                204,
                "Answers by status",
                "Answers a second. 4xx is what callers did wrong; 500 is a bug, 503 is the "
                "database away or the pool taken.",
                PER_SECOND,
                course(
                    service.requests(EACH, CALLS, service.STATUS), "{{http_response_status_code}}"
                ),
            )
        ),
        graph(
            205,
            "Duration of all requests",
            "Half, 95 and 99 of 100 requests took the clinic less. Each dot is one request, and "
            "leads to its trace.",
            SECONDS,
            course(service.quantile(0.5, EACH, CALLS), "p50"),
            course(service.quantile(0.95, EACH, CALLS), "p95").exemplar(True),
            course(service.quantile(0.99, EACH, CALLS), "p99"),
            colours={"p50": NEUTRAL, "p95": SERVER, "p99": BAD},
        ),
        graph(
            206,
            "p95 of each route",
            "95 of 100 requests of a route took the clinic less. Compare with the statements' "
            "p95 below: what is not there was the process's own work, or waiting.",
            SECONDS,
            course(service.with_route(service.quantile(0.95, EACH, CALLS, service.ROUTE)), ROUTE),
        ).data_links([traces]),
    ]


def database() -> list[Panel]:
    traces = (
        dashboard.DashboardLink("Traces with ${__field.name}")
        .url(TRACES_OF_STATEMENT)
        .target_blank(True)
    )
    return [
        stacked(
            graph(
                301,
                "Statements",
                "Statements a second, from their spans: of organic requests as far as those are "
                "sampled, of load runs all.",
                PER_SECOND,
                course(service.statements(EACH), "{{span_name}}"),
            )
            .no_value(SPANS_ONLY)
            .data_links([traces])
        ),
        graph(
            302,
            "p95 of each statement",
            "95 of 100 statements took less, from the driver's call to its answer. One that grows "
            "with the table lacks an index; all that grow together wait for disk or processor.",
            SECONDS,
            course(service.statement_quantile(0.95, EACH), "{{span_name}}"),
        )
        .no_value(SPANS_ONLY)
        .data_links([traces]),
        graph(
            303,
            "Failed statements and refused requests",
            "Statements a second that the database failed, duplicates among them; and requests "
            "answered with 503, since the database was away or no connection came free.",
            PER_SECOND,
            course(service.failed_statements(EACH), "{{span_name}} failed"),
            course(service.failed_requests(EACH, CALLS, service.UNAVAILABLE), "503 answered"),
            colours={"503 answered": BAD},
        ),
        graph(
            304,
            "Connections",
            "The pool's connections in use, at the most, and how many it may open. Where the two "
            "meet, requests wait: more connections help only while PostgreSQL has cores to spare.",
            COUNT,
            course(service.connections_used(EACH), "in use"),
            course(service.connections_allowed(EACH), "allowed"),
            colours={"in use": DATABASE, "allowed": NEUTRAL},
        ),
    ]


def process() -> list[Panel]:
    return [
        graph(
            401,
            "Event-loop lag",
            "How late the event loop wakes a sleeper: what every request waits in the process. "
            "Above some ten milliseconds it is short of processor, or something blocks it.",
            SECONDS,
            course(service.event_loop_lag(0.5, EACH), "p50"),
            course(service.event_loop_lag(0.99, EACH), "p99"),
            colours={"p50": NEUTRAL, "p99": SERVER},
        ),
        stacked(
            graph(
                402,
                "Processor",
                "Cores in use by the clinic. One process has one core to gain: near 1 it is full.",
                CORES,
                course(service.processor(EACH, "type"), "{{type}}"),
                colours={"user": SERVER, "system": NEUTRAL},
            )
        ),
        graph(
            403,
            "Memory",
            "What the clinic's processes hold. It settles after the first load; a steady climb is "
            "a leak.",
            BYTES,
            course(service.memory(EACH), "resident"),
            colours={"resident": SERVER},
        ),
        graph(
            404,
            "Garbage collections",
            "Collections a second. Generation 2 stops everything for longest, and should be rare: "
            "what is there at the start is never looked at again.",
            "suffix:/s",
            course(service.collections(EACH), "generation {{generation}}"),
        ),
    ]


def surroundings() -> list[Panel]:
    return [
        nodegraph.Panel()
        .id(501)
        .title("Service graph")
        .description(
            "Who calls whom, a second and for how long, from the spans. It is drawn by Tempo: "
            "where Jaeger stores the traces it stays empty."
        )
        .datasource(TEMPO)
        .no_value("Only Tempo draws this, from requests in this time range")
        .span(12)
        .height(11)
        .targets([tempo.Dataquery().ref_id("A").datasource(TEMPO).query_type("serviceMap")]),
        joined(
            502,
            "Alerts",
            "What fires, or will if it lasts. What to do about it is in the runbook, "
            "observability/README.md.",
            {
                "alertname": ("Alert", [width(210)]),
                "of": ("Of", []),
                "severity": ("Severity", [width(85)]),
                "alertstate": ("State", [width(85)]),
            },
            [Column("Since", f"1000 * ({service.alerts()})", TIME, [width(165)])],
        )
        .no_value("Nothing fires")
        .span(12)
        .height(11),
    ]
