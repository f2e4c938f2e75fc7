"""Load test: one run, as k6, the server and the database measured it."""

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard

from lab import slo
from lab.dashboards import base, style
from lab.dashboards.explore import explore_url
from lab.dashboards.panels import (
    EXPLORE_TRACES,
    Column,
    Panel,
    graph,
    join_table,
    stat,
    text,
    trace_table,
)
from lab.dashboards.runs import run_table
from lab.promql import api, load_run, traceql
from lab.promql.selectors import OPERATION, RETENTION, RunSelector, Side

WINDOW = "$__rate_interval"
RUN = RunSelector("$testid", RETENTION, "$scenario")
TIMELINE = RunSelector("$testid", RETENTION, "$scenario", interval=WINDOW)
SLO = slo.all_requests_limits()

NO_DATA = "No data of this run in this time range"
TRACES_HELP = (
    "Click a trace id for its waterfall. Traces are kept for one day. A list is also empty when "
    "the time range leaves the run out."
)
# Fewer than a table of traces holds, so that it has room for every one of the slowest.
SLOWEST = 20


def dashboard() -> Dashboard:
    slowest = load_run.slowest_milliseconds(SLOWEST, RUN)
    return base.make_dashboard(
        "load-test",
        {
            "": _overview(),
            "Operations": [_operations()],
            "Over time": _over_time(),
            "Traces": _traces(),
            "Thresholds and errors": _thresholds_and_errors(),
        },
        variables=[base.scenario_variable(), base.number_variable("slow", slowest)],
    )


def _overview() -> list[Panel]:
    completeness = {
        "sent": load_run.requests(RUN),
        "traced": load_run.spans(Side.SERVER, RUN),
        "promised": load_run.created_responses(RUN),
        "written": load_run.rows_written(RUN),
    }
    missing = {
        "traces": load_run.settled(load_run.untraced(RUN), RUN),
        "rows": load_run.settled(load_run.unwritten(RUN), RUN),
    }
    failed = stat("Failed", style.SHARE, load_run.failed_share(RUN), bad=SLO.failed_share)
    p95 = stat("Client p95", style.SECONDS, load_run.client_quantile(0.95, RUN), bad=SLO.p95)
    return [
        run_table("Run", 'testid="$testid"', results=False)
        .no_value("No data of this run before the end of the time range; it is kept for 15 days")
        .span(17)
        .height(3)
        .description(
            "Click the id to set the time range to the run's. Totals on this dashboard count from "
            "the run's start to the end of the time range."
        ),
        stat("Completeness", style.COUNT, completeness)
        .span(7)
        .height(3)
        .description(
            "Requests sent and their traces stored; rows promised by responses with status 201, "
            "and rows written. During a run these differ, as they arrive at different times."
        ),
        stat("Verdict", style.TEXT, load_run.verdict(RUN))
        .mappings(style.mappings(style.VERDICTS))
        .description(
            "Passed: all thresholds of performance/slo.json passed. Failed: see the thresholds at "
            "the bottom. Aborted: the run ended early. Running: it has not ended. No verdict: k6 "
            "reported none. No data: Prometheus has nothing of this run before the end of the time "
            "range."
        ),
        stat("Requests", style.COUNT, load_run.requests(RUN)).description(
            "Requests of the load, as k6 counted them."
        ),
        stat("Rate", style.REQUESTS_PER_SECOND, load_run.request_rate(RUN)).description(
            "Requests per second over the whole run. If iterations were dropped, the load was "
            "smaller than planned."
        ),
        failed.decimals(2).description(
            "Share of requests with an unexpected response or none. Limit: "
            f"{SLO.failed_share * 100:.0f} %."
        ),
        p95.description(
            "95th percentile of the duration as measured by k6. Limit for all requests together: "
            f"{SLO.p95 * 1000:.0f} ms; each operation has its own."
        ),
        stat("Missing", style.COUNT, missing, bad=0.5).description(
            "Requests with a response and no trace, and promised rows that were not written. Both "
            "must be 0. Shown from 20 s after the run ends, once the last spans have arrived."
        ),
    ]


def _operations() -> Panel:
    quantile = {q: load_run.client_quantile(q, RUN, OPERATION) for q in (0.5, 0.95, 0.99)}
    p95 = {side: load_run.span_quantile(0.95, side, RUN, OPERATION) for side in Side}
    in_server = load_run.share_in_server(RUN, OPERATION)
    in_database = load_run.share_of_client_time(Side.DATABASE, RUN, OPERATION)
    its_traces = explore_url(traceql.requests("$testid", operation="${__value.text}"))
    name = [style.link(EXPLORE_TRACES, its_traces), style.width(246)]
    # At 1280 pixels, Grafana's menu leaves 932 for all columns.
    wide = [style.width(78)]
    too_many = [style.limit(SLO.failed_share), style.COLOURED_TEXT]
    table = join_table(
        "Operations",
        {OPERATION: ("Operation", name)},
        Column("Requests", load_run.requests(RUN, OPERATION), style.COUNT, wide),
        Column("req/s", load_run.request_rate(RUN, OPERATION), style.NUMBER, wide),
        Column("Client p50", quantile[0.5], style.SECONDS, colour=style.CLIENT),
        Column("Client p95", quantile[0.95], style.SECONDS, colour=style.CLIENT),
        Column("Client p99", quantile[0.99], style.SECONDS, colour=style.CLIENT),
        Column("Server p95", p95[Side.SERVER], style.SECONDS, colour=style.SERVER),
        Column("Database p95", p95[Side.DATABASE], style.SECONDS, wide, style.DATABASE),
        Column("In server", in_server, style.SHARE, colour=style.SERVER),
        Column("In database", in_database, style.SHARE, wide, style.DATABASE),
        Column("Failed", load_run.failed_share(RUN, OPERATION), style.SHARE, too_many),
    )
    return table.sort_by([SortBy().display_name("Client p95").desc(True)]).description(
        "In server and In database are shares of the client's time; In server excludes the "
        "database. Click an operation for its traces."
    )


def _over_time() -> list[Panel]:
    load = {
        "requests": load_run.request_rate(TIMELINE),
        "failed": load_run.failed_rate(TIMELINE),
        "virtual users": load_run.virtual_users(TIMELINE),
        "dropped iterations": load_run.dropped_rate(TIMELINE),
    }
    p95 = {
        "client": load_run.client_quantile(0.95, TIMELINE),
        "server": load_run.span_quantile(0.95, Side.SERVER, TIMELINE),
        "database": load_run.span_quantile(0.95, Side.DATABASE, TIMELINE),
    }
    mean = {
        "in database": load_run.mean_in_database(TIMELINE),
        "in server": load_run.mean_in_server(TIMELINE),
        "outside server": load_run.mean_outside_server(TIMELINE),
    }
    resources = {
        "in use": api.connections_used(WINDOW),
        "pool size": api.pool_size(WINDOW),
        "event-loop delay p95": api.event_loop_delay(0.95, WINDOW),
    }
    errors = {"{{kind}}": load_run.error_rate(TIMELINE)}
    client = load_run.client_quantile(0.95, TIMELINE, OPERATION)
    server, database = (load_run.span_quantile(0.95, side, TIMELINE, OPERATION) for side in Side)
    return [
        graph("Load", style.REQUESTS_PER_SECOND, load)
        .right_axis("virtual users", style.NUMBER)
        .override_by_name("dropped iterations", [style.unit("suffix:iterations/s")])
        .no_value(NO_DATA)
        .description(
            "Where virtual users (right axis) still rise and requests no longer do, the API is "
            "saturated. k6 drops iterations when no virtual user is free."
        ),
        graph("p95 by side", style.SECONDS, p95)
        .limit(SLO.p95, style.NEUTRAL)
        .no_value(NO_DATA)
        .description(
            "95th percentile of the duration as measured by k6 (client) and by the API. Server and "
            "database data arrive in batches and may be shifted by some seconds. Dashed: the limit."
        ),
        graph("Where the time goes", style.SECONDS, mean)
        .stacked()
        .no_value(NO_DATA)
        .description(
            "Mean time of a request in the database, in the server without the database, and "
            "outside the server: network, queues, k6 itself."
        ),
        graph("Errors by kind", style.PER_SECOND, errors)
        .no_value("No errors of this run in this time range")
        .description(
            "What k6 found wrong: an unexpected status, an incomplete body, no response, a timeout."
        ),
        _by_operation("Client p95 by operation", "duration as measured by k6", client),
        _by_operation("Server p95 by operation", "duration as measured by the API", server),
        _by_operation("Database p95 by operation", "duration of statements", database),
        graph("Connections and event loop", style.NUMBER, resources)
        .right_axis("event-loop delay p95", style.SECONDS)
        .height(9)
        .description(
            "The API's database connections and event-loop delay (right axis). With all "
            "connections in use, requests wait for one. A delay above 10 ms means a busy CPU "
            "or code that blocks the event loop."
        ),
    ]


def _by_operation(title: str, duration: str, p95: str) -> Panel:
    its_traces = traceql.requests("$testid", operation=f"${{__field.labels.{OPERATION}}}")
    return (
        graph(title, style.SECONDS, {f"{{{{{OPERATION}}}}}": p95})
        .colours(style.OPERATIONS)
        .link_to_traces(its_traces)
        .fill_opacity(0)
        .no_value(NO_DATA)
        .height(9)
        .description(
            f"95th percentile of the {duration}. Writes have warm colours, reads cool ones. Click "
            "a point for the operation's traces."
        )
    )


def _traces() -> list[Panel]:
    slowest = traceql.requests("$testid", scenarios="$scenario", longer_than="${slow}ms")
    failed = traceql.requests("$testid", scenarios="$scenario", condition=traceql.FAILED)
    return [
        text(TRACES_HELP).height(2),
        trace_table("Slowest traces", slowest)
        .sort_by([SortBy().display_name("Server time").desc(True)])
        .no_value("No traces of this run in this time range; they are kept for one day")
        .description("The requests that took the server longest."),
        trace_table("Failed traces", failed)
        .no_value("No trace of a failed request of this run in this time range")
        .height(7)
        .description("Requests whose response had status 400 or more."),
    ]


def _thresholds_and_errors() -> list[Panel]:
    look = [*style.words(style.PASSED_OR_FAILED), style.width(110)]
    result = Column("Result", load_run.thresholds(RUN), style.TEXT, look)
    labels = {"metric": ("Metric", [style.WRAPPED]), "threshold": ("Threshold", [style.width(140)])}
    kinds = {OPERATION: ("Operation", [style.WRAPPED]), "kind": ("Kind", [style.width(110)])}
    errors = Column("Errors", load_run.errors(RUN), style.COUNT, [style.width(80)], style.BAD)
    return [
        join_table("Thresholds", labels, result)
        .no_value("No results: the run is still running, or k6 did not report any")
        .span(15)
        .sort_by([SortBy().display_name("Result").desc(False)])
        .description("k6's result for each threshold of performance/slo.json, failed ones first."),
        join_table("Errors", kinds, errors)
        .no_value("No errors in this run")
        .span(9)
        .description("What k6 found wrong in the whole run, by operation and kind."),
    ]
