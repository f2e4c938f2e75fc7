"""One run: what k6 saw, what the server saw, what the database took."""

from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink

from observability import slo
from observability.dashboards import links, pages
from observability.dashboards.panels import (
    Column,
    Panel,
    course,
    graph,
    joined,
    link,
    on_the_right,
    stacked,
    stat,
    steps,
    text,
    traces,
    value,
    width,
    with_limit,
)
from observability.dashboards.runs import HELD, named, run_table
from observability.dashboards.style import (
    BAD,
    CLIENT,
    COUNT,
    DATABASE,
    LOAD,
    NEUTRAL,
    NUMBER,
    OPERATIONS,
    PER_SECOND,
    SECONDS,
    SERVER,
    SHARE,
    TEXT,
    WARNING,
    coloured_text,
    limits,
    mappings,
    words,
)
from observability.queries import course as over_time
from observability.queries import service, totals, traceql
from observability.queries.names import CLIENT_LABEL, KEPT, SPAN_LABEL, Of, Side

OF = Of("$testid", KEPT, "$scenario")
EACH = "$__rate_interval"
SLO = slo.of_every_request()

UNKNOWN = "No numbers of this run before the end of the time range: they are kept for 15 days"
HOW_TRACES = (
    "A trace's id opens its waterfall. No slow traces: the run is older than a day, for which "
    "traces are kept, or outside the time range. No failed traces: no request was answered with "
    "400 or more, which is good."
)
# Fewer than a table of traces holds, so that none of the slowest is left out.
SLOWEST = 20


def page() -> Dashboard:
    """Make the page that `just load` leads to."""
    return pages.page(
        "load-test",
        "One run of k6: for each operation what k6 saw, what the server saw and what the database "
        "took, over the whole run and over its time, and its slowest and its failed traces.",
        {
            "": _at_a_glance(),
            "Operations": [_operations()],
            "Over time": _over_time(),
            "Traces": _traces(),
            "Judgement": _judgement(),
        },
        variables=[
            pages.scenario_variable(),
            pages.hidden_variable("slow", totals.slow(SLOWEST, OF), r"/} ([0-9.]+) /"),
        ],
    )


def _at_a_glance() -> list[Panel]:
    return [
        run_table(
            101,
            "Run",
            "The run that this page shows; its id leads to its own time range. Totals on this page "
            "count from the run's start to the end of the time range.",
            'testid="$testid"',
            judged=False,
        )
        .no_value(UNKNOWN)
        .span(15)
        .height(3),
        stat(
            107,
            "Ledger",
            "Requests that k6 sent against traces stored of them, and rows promised by a 201 "
            "against rows written. While a run is on, the sides arrive at different times.",
            COUNT,
            value(totals.all_requests(OF), "sent"),
            value(totals.all_spans(Side.SERVER, OF), "traced"),
            value(totals.created(OF), "promised"),
            value(totals.rows_written(OF), "written"),
        )
        .span(9)
        .height(3),
        stat(
            102,
            "Thresholds",
            "k6's own verdict on performance/slo.json, written at the run's end. Crossed: the "
            "objective was missed, and the table at the bottom says by what. No numbers: "
            "Prometheus, which keeps 15 days, has nothing of this run before the end of the time "
            "range.",
            TEXT,
            value(totals.state(OF)),
        ).mappings(
            mappings(
                *HELD,
                (2, "… still on", CLIENT),
                (3, "no verdict: killed", WARNING),
                (4, "no numbers", NEUTRAL),
            )
        ),
        stat(
            103,
            "Requests",
            "The requests of the load that k6 counted, its first push included.",
            COUNT,
            value(totals.all_requests(OF)),
        ),
        stat(
            104,
            "Rate",
            "Requests a second over the whole run. Below what the profile asks for, the clinic or "
            "the generator did not keep up.",
            PER_SECOND,
            value(totals.all_rate(OF)),
        ),
        stat(
            105,
            "Failed",
            "The share of all requests that were not answered as expected, counted by request. The "
            f"objective is below {SLO.failed_share:.0%}.",
            SHARE,
            value(totals.all_failed_share(OF)),
        )
        .decimals(2)
        .thresholds(steps((SLO.failed_share, BAD))),
        stat(
            106,
            "Client p95",
            "95 of 100 requests took k6 less than this. The objective for all requests together is "
            f"{SLO.p95 * 1000:.0f} ms; each operation has its own.",
            SECONDS,
            value(totals.all_client_quantile(0.95, OF)),
        ).thresholds(steps((SLO.p95, BAD))),
        stat(
            108,
            "Lost",
            "Answered requests without a trace, and promised rows that were not written. Anything "
            "but zero is a loss. Told from 20 s after the run's end, when the last spans are in.",
            COUNT,
            value(totals.settled(totals.untraced(OF), OF), "traces"),
            value(totals.settled(totals.unwritten(OF), OF), "rows"),
        ).thresholds(steps((0.5, BAD))),
    ]


def _operations() -> tables.Panel:
    def client(expression: str) -> str:
        return named(expression, CLIENT_LABEL)

    def client_p(quantile: float) -> str:
        return client(totals.client_quantile(quantile, OF))

    def span_p95(side: Side) -> str:
        return named(totals.span_quantile(0.95, side, OF), SPAN_LABEL)

    def share(side: Side) -> str:
        return totals.share_of_client_time(side, OF)

    its_traces = links.explore(traceql.of_operation("$testid", "${__value.text}"))
    too_many = [limits((SLO.failed_share, BAD)), coloured_text()]
    columns = [
        Column("Requests", client(totals.requests(OF)), COUNT),
        Column("Rate /s", client(totals.rate(OF)), NUMBER),
        Column("Client p50", client_p(0.5), SECONDS, colour=CLIENT),
        Column("Client p95", client_p(0.95), SECONDS, colour=CLIENT),
        Column("Client p99", client_p(0.99), SECONDS, colour=CLIENT),
        Column("Server p95", span_p95(Side.SERVER), SECONDS, colour=SERVER),
        Column("Database p95", span_p95(Side.DATABASE), SECONDS, colour=DATABASE),
        Column("In server", share(Side.SERVER), SHARE, colour=SERVER),
        Column("In database", share(Side.DATABASE), SHARE, colour=DATABASE),
        Column("Failed", client(totals.failed_share(OF)), SHARE, too_many),
    ]
    return joined(
        201,
        "Operations",
        "Each operation as k6, the server and the database saw it. In server and In database are "
        "shares of the client's time; the database's is part of the server's. A name leads to the "
        "operation's traces in this run.",
        {"operation": ("Operation", [link("Its traces in Explore", its_traces), width(255)])},
        columns,
    ).sort_by([SortBy().display_name("Client p95").desc(True)])


def _over_time() -> list[Panel]:
    nothing = "Nothing of this run in this time range"
    quantile = over_time.all_span_quantile

    def span_p95(side: Side) -> str:
        return over_time.span_quantile(0.95, side, OF, EACH)

    by_side = {"client": CLIENT, "server": SERVER, "database": DATABASE}
    load = graph(
        301,
        "Load",
        "Virtual users, right, and the requests a second that they got through. The knee of a "
        "stress run is where users still rise and requests no longer do. Visits not started: no "
        "user was free, so the clinic got less load than planned.",
        PER_SECOND,
        course(over_time.all_request_rate(OF, EACH), "requests"),
        course(over_time.failed_rate(OF, EACH), "failed"),
        course(over_time.virtual_users(OF, EACH), "virtual users"),
        course(over_time.dropped_rate(OF, EACH), "visits not started"),
        colours={
            "requests": CLIENT,
            "failed": BAD,
            "virtual users": LOAD,
            "visits not started": WARNING,
        },
    )
    latency = graph(
        302,
        "p95 by side",
        "What 95 of 100 requests stayed below: for k6, for the server, for the database. The gap "
        "between two lines is time that the inner one did not see. Dashed: the objective.",
        SECONDS,
        course(over_time.all_client_quantile(0.95, OF, EACH), "client"),
        course(quantile(0.95, Side.SERVER, OF, EACH), "server"),
        course(quantile(0.95, Side.DATABASE, OF, EACH), "database"),
        colours=by_side,
    )
    where = graph(
        303,
        "Where the time goes",
        "The mean time of a request, parted: outside the server (network, queues before it, k6 "
        "itself), in the server without its statements, in the database.",
        SECONDS,
        course(over_time.mean_in_database(OF, EACH), "database"),
        course(over_time.mean_in_server(OF, EACH), "server"),
        course(over_time.mean_outside_server(OF, EACH), "outside the server"),
        colours=by_side | {"outside the server": CLIENT},
    )
    errors = graph(
        304,
        "Errors by kind",
        "What k6 judged wrong, a second: an unexpected status, a body without what was promised, "
        "no answer, a time-out. No line means no error.",
        PER_SECOND,
        course(over_time.error_rate(OF, EACH), "{{kind}}"),
    )
    sides = [
        _by_operation(305, "Client", "as k6 saw it", over_time.client_quantile(0.95, OF, EACH)),
        _by_operation(306, "Server", "as the server saw it", span_p95(Side.SERVER)),
        _by_operation(307, "Database", "in the database", span_p95(Side.DATABASE)),
    ]
    wide = [
        on_the_right(load, "virtual users", NUMBER),
        with_limit(latency, SLO.p95, NEUTRAL),
        stacked(where),
        errors.no_value("No errors of this run in this time range"),
    ]
    for panel in (load, latency, where):
        panel.no_value(nothing)
    pool = graph(
        308,
        "Connections and event loop",
        "The server's connections to the database, at the most, and its event loop's delay, right, "
        "whoever called it. At the limit requests queue for a connection; a delay of many "
        "milliseconds means that the server's one core is busy.",
        NUMBER,
        course(service.connections_used(EACH), "in use"),
        course(service.connections_allowed(EACH), "allowed"),
        course(service.event_loop_lag(0.95, EACH), "event loop p95"),
        colours={"in use": DATABASE, "allowed": NEUTRAL, "event loop p95": SERVER},
    ).height(9)
    of_the_run = [*wide, *(panel.no_value(nothing) for panel in sides)]
    return [*of_the_run, on_the_right(pool, "event loop p95", SECONDS)]


def _by_operation(number: int, side: str, where: str, p95: str) -> timeseries.Panel:
    """Draw a line for each operation, which leads to its traces."""
    label = CLIENT_LABEL if side == "Client" else SPAN_LABEL
    its_traces = links.explore(traceql.of_operation("$testid", f"${{__field.labels.{label}}}"))
    return (
        graph(
            number,
            f"{side} p95 by operation",
            f"What 95 of 100 requests for an operation stayed below, {where}. Writes are warm, "
            "reads are cool. A point leads to the operation's traces in this run.",
            SECONDS,
            course(p95, f"{{{{{label}}}}}"),
            colours=OPERATIONS,
        )
        .fill_opacity(0)
        .height(9)
        .data_links([DashboardLink("Its traces in Explore").url(its_traces)])
    )


def _traces() -> list[Panel]:
    return [
        text(403, HOW_TRACES).height(2),
        traces(
            401,
            "Slowest traces",
            "The slowest requests of this run, by the server's time; the id opens the waterfall.",
            traceql.slow("$testid", "${slow}ms", "$scenario"),
            "No traces of this run in this time range; they are kept for a day",
        ).sort_by([SortBy().display_name("In server").desc(True)]),
        traces(
            402,
            "Failed traces",
            "Requests of this run that the server answered with 400 or more; none is good.",
            traceql.failed("$testid", "$scenario"),
            "No request of this run was answered with 400 or more",
        ).height(7),
    ]


def _judgement() -> list[Panel]:
    verdict = [words(*HELD), coloured_text(), width(110)]
    return [
        joined(
            501,
            "Thresholds",
            "k6's verdict on each threshold of performance/slo.json, written at the run's end.",
            {"metric": ("Of", []), "threshold": ("Threshold", [width(140)])},
            [Column("Verdict", totals.thresholds(OF), TEXT, verdict)],
        )
        .no_value("No verdict: the run is still on, or it was killed")
        .span(15),
        joined(
            502,
            "Errors",
            "What k6 judged wrong over the whole run, by operation and kind. Empty is good.",
            {"operation": ("Operation", []), "kind": ("Kind", [width(120)])},
            [Column("Errors", totals.errors(OF), COUNT, [width(90)], colour=BAD)],
        )
        .no_value("No errors in this run")
        .span(9),
    ]
