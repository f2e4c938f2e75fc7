"""One run: what k6 saw, what the server saw, what the database took."""

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard

from lab import slo
from lab.dashboards import links, pages, style
from lab.dashboards.panels import Column, Panel, graph, joined, stat, text, traces
from lab.dashboards.runs import PASSED, run_table
from lab.promql import load_run, service, traceql
from lab.promql.selectors import OPERATION, RETENTION, RunSelector, Side

EACH = "$__rate_interval"
RUN = RunSelector("$testid", RETENTION, "$scenario")
TIMELINE = RunSelector("$testid", RETENTION, "$scenario", step=EACH)
SLO = slo.all_requests_limits()

BY_SIDE = {"client": style.CLIENT, "server": style.SERVER, "database": style.DATABASE}
UNKNOWN = "No numbers of this run before the end of the time range: they are kept for 15 days"
NOTHING = "Nothing of this run in this time range"
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
            pages.hidden_variable(
                "slow", load_run.slowest_milliseconds(SLOWEST, RUN), r"/} ([0-9.]+) /"
            ),
        ],
    )


def _at_a_glance() -> list[Panel]:
    completeness = {
        "sent": load_run.requests(RUN),
        "traced": load_run.spans(Side.SERVER, RUN),
        "promised": load_run.created_responses(RUN),
        "written": load_run.rows_written(RUN),
    }
    lost = {
        "traces": load_run.settled(load_run.untraced(RUN), RUN),
        "rows": load_run.settled(load_run.unwritten(RUN), RUN),
    }
    p95 = load_run.client_quantile(0.95, RUN)
    unjudged: list[style.Word] = [
        (2, "… still on", style.CLIENT),
        (3, "no verdict: killed", style.WARNING),
        (4, "no numbers", style.NEUTRAL),
    ]
    return [
        run_table("Run", 'testid="$testid"', judged=False)
        .no_value(UNKNOWN)
        .span(15)
        .height(3)
        .description(
            "The run that this page shows; its id leads to its own time range. Totals on this page "
            "count from the run's start to the end of the time range."
        ),
        stat("Completeness", style.COUNT, completeness)
        .id(107)
        .span(9)
        .height(3)
        .description(
            "Requests that k6 sent against traces stored of them, and rows promised by a 201 "
            "against rows written. While a run is on, the sides arrive at different times."
        ),
        stat("Thresholds", style.TEXT, load_run.verdict_code(RUN))
        .mappings(style.mappings(*PASSED, *unjudged))
        .description(
            "k6's own verdict on performance/slo.json, written at the run's end. Crossed: the "
            "objective was missed, and the table at the bottom says by what. No numbers: "
            "Prometheus, which keeps 15 days, has nothing of this run before the end of the time "
            "range."
        ),
        stat("Requests", style.COUNT, load_run.requests(RUN)).description(
            "The requests of the load that k6 counted, its first push included."
        ),
        stat("Rate", style.PER_SECOND, load_run.request_rate(RUN)).description(
            "Requests a second over the whole run. Below what the profile asks for, the clinic or "
            "the generator did not keep up."
        ),
        stat("Failed", style.SHARE, load_run.failed_share(RUN), bad=SLO.failed_share)
        .decimals(2)
        .description(
            "The share of all requests that were not answered as expected, counted by request. The "
            f"objective is below {SLO.failed_share:.0%}."
        ),
        stat("Client p95", style.SECONDS, p95, bad=SLO.p95).description(
            "95 of 100 requests took k6 less than this. The objective for all requests together is "
            f"{SLO.p95 * 1000:.0f} ms; each operation has its own."
        ),
        stat("Lost", style.COUNT, lost, bad=0.5).description(
            "Answered requests without a trace, and promised rows that were not written. Anything "
            "but zero is a loss. Told from 20 s after the run's end, when the last spans are in."
        ),
    ]


def _operations() -> Panel:
    quantile = {q: load_run.client_quantile(q, RUN, OPERATION) for q in (0.5, 0.95, 0.99)}
    p95 = {side: load_run.span_quantile(0.95, side, RUN, OPERATION) for side in Side}
    share = {side: load_run.share_of_client_time(side, RUN, OPERATION) for side in Side}
    its_traces = links.explore(traceql.requests("$testid", operation="${__value.text}"))
    name = [style.link("Its traces in Explore", its_traces), style.width(246)]
    # Beside Grafana's menu a window of 1280 pixels leaves 932 for all columns.
    wide = [style.width(78)]
    too_many = [style.limits((SLO.failed_share, style.BAD)), style.COLOURED_TEXT]
    table = joined(
        "Operations",
        {"operation": ("Operation", name)},
        Column("Requests", load_run.requests(RUN, OPERATION), style.COUNT, wide),
        Column("Rate /s", load_run.request_rate(RUN, OPERATION), style.NUMBER),
        Column("Client p50", quantile[0.5], style.SECONDS, colour=style.CLIENT),
        Column("Client p95", quantile[0.95], style.SECONDS, wide, style.CLIENT),
        Column("Client p99", quantile[0.99], style.SECONDS, colour=style.CLIENT),
        Column("Server p95", p95[Side.SERVER], style.SECONDS, colour=style.SERVER),
        Column("Database p95", p95[Side.DATABASE], style.SECONDS, wide, style.DATABASE),
        Column("In server", share[Side.SERVER], style.SHARE, colour=style.SERVER),
        Column("In database", share[Side.DATABASE], style.SHARE, wide, style.DATABASE),
        Column("Failed", load_run.failed_share(RUN, OPERATION), style.SHARE, too_many),
    )
    return table.sort_by([SortBy().display_name("Client p95").desc(True)]).description(
        "Each operation as k6, the server and the database saw it. In server and In database are "
        "shares of the client's time; the database's is part of the server's. A name leads to the "
        "operation's traces in this run."
    )


def _over_time() -> list[Panel]:
    client = load_run.client_quantile(0.95, TIMELINE, OPERATION)
    server, database = (load_run.span_quantile(0.95, side, TIMELINE, OPERATION) for side in Side)
    return [
        graph("Load", style.PER_SECOND)
        .line("requests", load_run.request_rate(TIMELINE))
        .line("failed", load_run.failed_rate(TIMELINE))
        .line("virtual users", load_run.virtual_users(TIMELINE))
        .line("iterations not started", load_run.dropped_rate(TIMELINE))
        .on_the_right("virtual users", style.NUMBER)
        .no_value(NOTHING)
        .description(
            "Virtual users, right, and the requests a second that they got through. The knee of a "
            "stress run is where users still rise and requests no longer do. Iterations not "
            "started: no user was free, so the clinic got less load than planned."
        ),
        graph("p95 by side", style.SECONDS)
        .line("client", load_run.client_quantile(0.95, TIMELINE))
        .line("server", load_run.span_quantile(0.95, Side.SERVER, TIMELINE))
        .line("database", load_run.span_quantile(0.95, Side.DATABASE, TIMELINE))
        .coloured(BY_SIDE)
        .limit(SLO.p95, style.NEUTRAL)
        .no_value(NOTHING)
        .description(
            "What 95 of 100 requests stayed below: for k6, for the server, for the database. The "
            "gap between two lines is time that the inner one did not see. Dashed: the objective."
        ),
        graph("Where the time goes", style.SECONDS)
        .line("database", load_run.mean_in_database(TIMELINE))
        .line("server", load_run.mean_in_server(TIMELINE))
        .line("outside the server", load_run.mean_outside_server(TIMELINE))
        .coloured(BY_SIDE | {"outside the server": style.CLIENT})
        .stacked()
        .no_value(NOTHING)
        .description(
            "The mean time of a request, parted: outside the server (network, queues before it, k6 "
            "itself), in the server without its statements, in the database."
        ),
        graph("Errors by kind", style.PER_SECOND, {"{{kind}}": load_run.error_rate(TIMELINE)})
        .no_value("No errors of this run in this time range")
        .description(
            "What k6 judged wrong, a second: an unexpected status, a body without what was "
            "promised, no answer, a time-out. No line means no error."
        ),
        _by_operation("Client", "as k6 saw it", client),
        _by_operation("Server", "as the server saw it", server),
        _by_operation("Database", "in the database", database),
        graph("Connections and event loop", style.NUMBER)
        .line("in use", service.connections_used(EACH))
        .line("allowed", service.connections_allowed(EACH))
        .line("event loop p95", service.event_loop_lag(0.95, EACH))
        .on_the_right("event loop p95", style.SECONDS)
        .height(9)
        .description(
            "The server's connections to the database, at the most, and its event loop's delay, "
            "right, whoever called it. At the limit requests queue for a connection; a delay of "
            "many milliseconds means that the server's one core is busy."
        ),
    ]


def _by_operation(side: str, where: str, p95: str) -> Panel:
    """Draw a line for each operation, which leads to its traces."""
    its_traces = traceql.requests("$testid", operation="${__field.labels.operation}")
    return (
        graph(f"{side} p95 by operation", style.SECONDS, {"{{operation}}": p95})
        .coloured(style.OPERATIONS)
        .leading_to("Its traces in Explore", its_traces)
        .fill_opacity(0)
        .no_value(NOTHING)
        .height(9)
        .description(
            f"What 95 of 100 requests for an operation stayed below, {where}. Writes are warm, "
            "reads are cool. A point leads to the operation's traces in this run."
        )
    )


def _traces() -> list[Panel]:
    return [
        text(HOW_TRACES).id(403).height(2),
        traces(
            "Slowest traces",
            traceql.requests("$testid", scenarios="$scenario", longer_than="${slow}ms"),
        )
        .sort_by([SortBy().display_name("In server").desc(True)])
        .no_value("No traces of this run in this time range; they are kept for a day")
        .description(
            "The slowest requests of this run, by the server's time; the id opens the waterfall."
        ),
        traces(
            "Failed traces",
            traceql.requests("$testid", scenarios="$scenario", condition=traceql.FAILED),
        )
        .no_value("No request of this run was answered with 400 or more")
        .height(7)
        .description(
            "Requests of this run that the server answered with 400 or more; none is good."
        ),
    ]


def _judgement() -> list[Panel]:
    look = [style.words(*PASSED), style.COLOURED_TEXT, style.width(110)]
    verdict = Column("Verdict", load_run.thresholds(RUN), style.TEXT, look)
    thresholds = {"metric": ("Of", [style.WRAPPED]), "threshold": ("Threshold", [style.width(140)])}
    errors = {"operation": ("Operation", []), "kind": ("Kind", [style.width(120)])}
    wrong = Column("Errors", load_run.errors(RUN), style.COUNT, [style.width(90)], style.BAD)
    return [
        joined("Thresholds", thresholds, verdict)
        .no_value("No verdict: the run is still on, or it was killed")
        .span(15)
        .description(
            "k6's verdict on each threshold of performance/slo.json, written at the run's end."
        ),
        joined("Errors", errors, wrong)
        .no_value("No errors in this run")
        .span(9)
        .description(
            "What k6 judged wrong over the whole run, by operation and kind. Empty is good."
        ),
    ]
