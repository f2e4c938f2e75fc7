"""Load test: one run, as k6, the server and the database measured it."""

from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.common import VizTextDisplayOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, TimePicker
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import GridPos

from lab import slo
from lab.dashboards import base, style
from lab.dashboards import load_test_details as details
from lab.dashboards import load_test_over_time as over_time
from lab.dashboards.explore import SOURCES, explore_url
from lab.dashboards.panels import (
    TEXT_SIZE,
    Column,
    Panel,
    join_table,
    stat,
    text_table,
    trace_table,
)
from lab.dashboards.runs import info_table, this_run
from lab.findings.names import CAUSES, PARTS
from lab.promql import (
    bottleneck,
    client,
    limits,
    load_run,
    published,
    request_time,
    run_list,
    run_range,
    thresholds,
    traceql,
)
from lab.promql.request_time import Part, Window
from lab.promql.selectors import OPERATION, RETENTION, RunList, RunSelector, Side

LOAD = Window("${load_length}s", "$load_start", "$load_end")
RUN = RunSelector("$testid", RETENTION, "$scenario")
SLO = slo.all_requests_limits()

NO_SERVER_DATA = "No data: another API served the run, or metrics are missing"
# Sets the time range to the run's.
WHOLE_RUN = f"/d/clinic-load-test?var-testid=$testid&from=${{from}}&to=${{to}}&{SOURCES}"
COVERS: list[style.Word] = [
    (1, "complete", style.NEUTRAL),
    (0, "incomplete: click", style.WARNING),
]
# Follows a run that is on.
LIVE = f"/d/clinic-load-test?from=now-5m&to=now&refresh={run_range.LIVE}"
REFRESH_INTERVALS = ["5s", "10s", "30s", "1m", "5m"]
# A column of the table of operations, by which that of the p95 is coloured.
P95_STYLE = "p95_style"
# Fewer than a table of traces holds, so that it has room for every one of the slowest.
SLOWEST = 20


def dashboard() -> Dashboard:
    slowest = load_run.slowest_milliseconds(SLOWEST, RUN)
    address = run_range.address(RUN)
    board = base.make_dashboard(
        "clinic-load-test",
        {
            "": _verdict(),
            "Run": _run(),
            "Operations": [_operations(), _sides_by_operation(), _parts_by_operation()],
            "Over time": over_time.panels(),
            "Traces": _traces(),
            "Distribution": details.distribution(RUN),
            "Errors": details.failures(RUN),
            "Resources": details.used_resources(RUN, LOAD),
        },
        variables=[
            base.scenario_variable(),
            *over_time.variables(RUN),
            base.number_variable("slow", slowest),
            base.number_variable("load_start", run_list.load_start(RUN)),
            base.number_variable("load_end", run_list.load_end(RUN)),
            base.number_variable("load_length", run_list.load_length(RUN)),
            *(base.label_variable(name, address) for name in (run_range.FROM, run_range.TO)),
        ],
        band=RUN,
    )
    board.link(DashboardLink("Live").url(LIVE).include_vars(True))
    return board.timepicker(TimePicker().refresh_intervals(REFRESH_INTERVALS))


def _verdict() -> list[Panel]:
    lag = load_run.lag_or_over(RUN)
    counted = f"{{{{{thresholds.FAILED_COUNT}}}}} of {{{{{thresholds.ALL_COUNT}}}}}"
    covers = run_range.covers(RUN, "$__from", "$__to")
    set_range = DashboardLink("Show the whole run").url(WHOLE_RUN)
    return [
        stat("Verdict", style.TEXT, load_run.verdict(RUN))
        .words(style.VERDICTS)
        .span(9)
        .height(3)
        .description(
            "Passed: all thresholds passed. Failed: at least one failed. Aborted: the run, or one "
            "of its generators, ended early. Running: it has not ended. No verdict: k6 reported "
            "none. No data: Prometheus has nothing of this run before the end of the time range."
        ),
        stat("Failed thresholds", style.COUNT, {counted: thresholds.failed(RUN)}, bad=1)
        .text_mode(BigValueTextMode.NAME)
        .text(VizTextDisplayOptions().value_size(TEXT_SIZE))
        .without_value("none known")
        .span(6)
        .height(3)
        .description("How many of the thresholds that k6 evaluated failed. They are listed below."),
        stat("Time range", style.TEXT, covers)
        .words(COVERS)
        .without_value("no run of this id")
        .data_links([set_range])
        .span(5)
        .height(3)
        .description(
            "Whether the time range of this dashboard has the whole run. Click the text to set it. "
            "Totals count from the run's start to the end of the time range."
        ),
        stat("Server side", "suffix: s behind", lag)
        .decimals(0)
        .words([(load_run.OVER, "complete", style.NEUTRAL)])
        .text(VizTextDisplayOptions().value_size(TEXT_SIZE))
        .span(4)
        .height(3)
        .description(
            "How far what the server's and the database's spans say lags behind k6 while the run "
            "is on. Complete: the run is over."
        ),
        _thresholds(),
        _bottleneck(),
        _findings(),
    ]


def _thresholds() -> Panel:
    result = [*style.words(style.PASSED_OR_FAILED), style.width(80)]
    over_by = [style.only_above_one(), style.decimals(1), style.width(68)]
    labels = {
        thresholds.ID: ("id", [style.HIDDEN]),
        thresholds.SUBJECT: ("Applies to", [style.WRAPPED]),
        thresholds.CONDITION: ("Condition", [style.width(108)]),
        thresholds.REACHED: ("Reached", [style.width(74), style.RIGHT]),
    }
    return (
        join_table(
            "Thresholds",
            labels,
            Column("Result", thresholds.results(RUN), style.TEXT, result),
            Column("Over by", thresholds.share_of_limit(RUN), style.RATIO, over_by),
        )
        .no_value("No results: k6 evaluates thresholds when a run ends, if it has any")
        .grid_pos(GridPos(x=0, y=3, w=13, h=11))
        .sort_by(
            [
                SortBy().display_name("Result").desc(False),
                SortBy().display_name("Over by").desc(True),
            ]
        )
        .description(
            "Failed thresholds first, the furthest over its limit at their head. Over by: the "
            "value reached, divided by the limit. The limits are those of performance/slo.json; "
            "the values reached are k6's. Of several generators they are those of all requests: "
            "counts add up, percentiles and shares lie between the generators' own."
        )
    )


def _findings() -> Panel:
    # The table of thresholds has those that failed.
    found = published.newest(published.FINDING, RUN, matchers='subject!="threshold"')
    return (
        text_table("Findings", "text", "position", found)
        .no_value("`just report RUN` writes them here")
        .grid_pos(GridPos(x=13, y=3, w=11, h=16))
        .description(
            "What the report says of the run, in its words. docs/load-testing.md explains them."
        )
    )


def _run() -> list[Panel]:
    failed = stat("Failed", style.SHARE, load_run.failed_share(RUN), bad=SLO.failed_share)
    p95 = stat("Client p95", style.SECONDS, load_run.client_quantile(0.95, RUN), bad=SLO.p95)
    tiles = [
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
    ]
    run = RunList(RETENTION, 'testid="$testid"')
    return [
        this_run(run),
        info_table("Size, build and note", run).height(4),
        *(tile.span(6).height(3) for tile in tiles),
    ]


def _operations() -> Panel:
    requests = partial(load_run.requests, RUN, OPERATION)
    p95 = limits.p95_with_result(RUN, P95_STYLE, style.css(style.GOOD), style.css(style.BAD), "{}")
    its_traces = explore_url(
        traceql.requests(
            "$testid", operation="${__value.text}", longer_than="${__data.fields.slow.numeric}ms"
        )
    )
    failed_traces = explore_url(
        traceql.requests(
            "$testid", operation="${__data.fields.Operation}", condition=traceql.FAILED
        )
    )
    name = [style.link("Its slow traces", its_traces), style.width(246)]
    failed = [
        *(style.limit(SLO.failed_share), style.COLOURED_TEXT, style.decimals(2)),
        style.link("Its failed traces", failed_traces),
    ]
    table = join_table(
        "Operations",
        {OPERATION: ("Operation", name), P95_STYLE: (P95_STYLE, [style.HIDDEN])},
        Column("p95", p95, style.SECONDS, [style.styled_by(P95_STYLE)]),
        Column("Limit", limits.p95_limit(RUN), style.SECONDS),
        Column("Over limit", client.over_limit_share(RUN, OPERATION), style.SHARE),
        Column("Requests", requests(), style.COUNT, [style.width(78)]),
        Column("req/s", load_run.request_rate(RUN, OPERATION), style.NUMBER),
        Column("Failed", load_run.failed_share(RUN, OPERATION), style.SHARE, failed),
        Column("4xx", requests(load_run.CLIENT_ERROR), style.COUNT),
        Column("5xx", requests(load_run.SERVER_ERROR), style.COUNT),
        Column("No answer", requests(load_run.UNANSWERED), style.COUNT, [style.width(70)]),
        Column("Invalid body", load_run.invalid_bodies(RUN, OPERATION), style.COUNT),
        Column("of limit", limits.furthest_over(RUN), style.SHARE, [style.HIDDEN]),
        Column("slow", load_run.slow_milliseconds(RUN), style.NUMBER, [style.HIDDEN]),
    )
    table.no_value(details.NO_REQUESTS).sort_by([SortBy().display_name("of limit").desc(True)])
    return table.description(
        "As measured by k6; the operation whose p95 or failed share is the furthest over its "
        "limit, or the closest to it, first. "
        "Over limit: the share of its requests that took longer than the limit of the p95. 4xx, "
        "5xx, no answer and invalid body are numbers of failed requests. Click an operation for "
        "its slow traces, its failed share for its failed traces."
    )


def _sides_by_operation() -> Panel:
    p95 = {side: load_run.side_quantile(0.95, side, RUN, OPERATION) for side in Side}
    execution = request_time.execution(RUN, LOAD, OPERATION)
    pool = request_time.pool(RUN, LOAD, OPERATION)
    lock, commit = (
        request_time.postgresql(wait, RUN, LOAD, OPERATION) for wait in ("lock", "commit")
    )
    return (
        join_table(
            "Server and database by operation",
            {OPERATION: ("Operation", [style.width(246)])},
            Column("Client p95", load_run.client_quantile(0.95, RUN, OPERATION), style.SECONDS),
            Column("Server p95", p95[Side.SERVER], style.SECONDS),
            Column("Database span p95", p95[Side.DATABASE], style.SECONDS),
            Column("Pool wait, mean", pool, style.SECONDS),
            Column("Execution, mean", execution, style.SECONDS),
            Column("Lock wait, mean", lock, style.SECONDS),
            Column("Commit, mean", commit, style.SECONDS),
        )
        .no_value(details.NO_REQUESTS)
        .sort_by([SortBy().display_name("Server p95").desc(True)])
        .description(
            "A database span is a statement as the API saw it, waits for its event loop included. "
            "Pool wait is the wait for one of the API's connections, as a mean of a request. "
            "Execution, lock wait and commit are PostgreSQL's own, as means of a request; "
            "execution includes waits for row locks."
        )
    )


def _bottleneck() -> Panel:
    causes: dict[str, str] = {
        cause: f"{text[0].upper()}{text[1:]}" for cause, text in CAUSES.items()
    }
    share = Column("Share of time", bottleneck.causes(RUN, LOAD), style.SHARE, [style.width(140)])
    cause = {bottleneck.CAUSE: ("What limited the run", [style.texts(causes)])}
    return (
        join_table("Bottleneck", cause, share)
        .no_value("None found, or metrics are missing")
        .grid_pos(GridPos(x=0, y=14, w=13, h=5))
        .sort_by([SortBy().display_name("Share of time").desc(True)])
        .description(
            "What took a large share of the requests' time, the largest first, with the waits for "
            "connections that it kept busy; of a generator that is too small the share of "
            "iterations that it dropped. If the generator was starved, "
            "the run cannot be judged, whatever else took more of the time. The panels below show "
            "the same parts over time. docs/bottleneck.md describes the method, and each cause."
        )
    )


def _parts_by_operation() -> Panel:
    parts = request_time.parts(RUN, LOAD, OPERATION)
    mean = load_run.client_mean(RUN, OPERATION)
    columns = [
        Column(heading, load_run.ratio(parts[Part(part)], mean), style.SHARE, [style.decimals(1)])
        for part, (heading, _) in PARTS.items()
    ]
    total = Column("Client, mean", mean, style.SECONDS)
    name = [style.width(246)]
    return (
        join_table(
            "Where the time goes by operation", {OPERATION: ("Operation", name)}, total, *columns
        )
        .min_width(76)
        .no_value(NO_SERVER_DATA)
        .sort_by([SortBy().display_name(total.title).desc(True)])
        .description(
            "The mean request of each operation as measured by k6, the longest first, and the "
            "shares of its parts, which add up to 100 %. Unknown: the metrics of a part are not "
            "there."
        )
    )


def _traces() -> list[Panel]:
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
    slowest = traceql.requests("$testid", scenarios="$scenario", longer_than="${slow}ms")
    failed = traceql.requests("$testid", scenarios="$scenario", condition=traceql.FAILED)
    return [
        stat("Completeness", style.COUNT, completeness)
        .span(12)
        .height(3)
        .description(
            "Requests sent and their traces stored; rows promised by responses with status 201, "
            "and rows written. During a run these differ, as they arrive at different times."
        ),
        stat("Missing", style.COUNT, missing, bad=0.5)
        .span(6)
        .height(3)
        .description(
            "Requests with a response and no trace, and promised rows that were not written. Both "
            "must be 0. Shown from 20 s after the run ends, once the last spans have arrived."
        ),
        stat("4xx and 5xx", style.COUNT, load_run.failed_responses(RUN))
        .span(6)
        .height(3)
        .description(
            "Responses with these statuses that have a trace; the latest are listed below."
        ),
        trace_table("Slowest traces", slowest, "Server time")
        .no_value("No traces of this run in this time range; they are kept for one day")
        .description(
            f"The {SLOWEST} or so requests that took the server longest. Click a trace id for its "
            "waterfall. Traces are kept for one day."
        ),
        trace_table("Latest failed traces", failed, "Started")
        .no_value("No trace of a failed request of this run in this time range, or no traces")
        .height(7)
        .description(
            "The last requests whose response had status 400 or more. Click a trace id for its "
            "waterfall. Traces are kept for one day."
        ),
    ]
