"""Runs: the list of all runs, their trend, and two of them side by side."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, TextBoxVariable
from grafana_foundation_sdk.models.common import VisibilityMode

from lab.dashboards import base, style
from lab.dashboards.explore import SOURCES
from lab.dashboards.panels import (
    Column,
    Fields,
    Graph,
    Panel,
    Table,
    graph,
    join_table,
    stat,
    table_queries,
    text,
    transformation,
)
from lab.promql import load_run, run_list, run_range
from lab.promql.load_run import MISMATCH_CODES
from lab.promql.selectors import (
    OPERATION,
    RETENTION,
    STARTED,
    RunList,
    RunSelector,
    Side,
)

# The time range of a run of another script is not known; its dashboard opens at the last minutes.
RUN_URL = (
    "/d/clinic-load-test?var-testid=${__data.fields.Run}&from=${__data.fields.from}"
    f"&to=${{__data.fields.to}}&refresh=${{__data.fields.refresh}}&{SOURCES}"
)
ALL_RUNS = RunList(RETENTION)
CHOSEN_RUNS = RunList(RETENTION, 'profile=~"$profile",journey=~"$journey"')
BOTH_RUNS = RunList(RETENTION, 'testid=~"$testid|$against"')
MISMATCHES: list[style.Word] = [
    (MISMATCH_CODES["none"], "yes: profile, journey and length are the same", style.NEUTRAL),
    (MISMATCH_CODES["fewer than two runs"], "choose two runs above", style.NEUTRAL),
    (MISMATCH_CODES["profile"], "no: the profiles differ", style.WARNING),
    (MISMATCH_CODES["journey"], "no: the journeys differ", style.WARNING),
    (MISMATCH_CODES["planned length"], "no: the planned lengths differ", style.WARNING),
    (MISMATCH_CODES["aborted"], "no: one of them ended early", style.WARNING),
    (MISMATCH_CODES["running"], "no: one of them is still running", style.WARNING),
]
NO_RUNS = "No runs; `just smoke` makes one in 20 s"
SIGNIFICANCE = (
    "Ratios are this run divided by the other. They are no verdict: "
    "`just compare ${testid} ${against}` tests which differences exceed the noise."
)


def dashboard() -> Dashboard:
    runs = run_table("Runs", CHOSEN_RUNS, "$tag").description(
        "Runs of the 15 days before the end of the time range, chosen by profile, journey and part "
        "of a tag. Click an id for the run's dashboard."
    )
    return base.make_dashboard(
        "clinic-runs",
        {
            "": [
                runs.height(10),
                info_table("Size, build and note", CHOSEN_RUNS, "$tag").height(7),
            ],
            "Trend": _trend(),
            "Two runs side by side": _side_by_side(),
        },
        variables=[
            base.run_variable("against", "Other run", 'testid!="$testid"'),
            base.label_values_variable("profile", "Profile", STARTED),
            base.label_values_variable("journey", "Journey", STARTED),
            TextBoxVariable("tag").label("Tag contains").description("Such as env=qa."),
        ],
        time=f"now-{RETENTION}",
    )


def _trend() -> list[Panel]:
    failed = partial(load_run.failed_share, by="testid")
    return [
        _trend_of(
            "p95 of each run", style.SECONDS, partial(load_run.client_quantile, 0.95, by="testid")
        ).description(
            "95th percentile of the duration of all requests as measured by k6, at the start of "
            "each finished run. Choose one profile. Dashed: the baseline of `just baseline`."
        ),
        _trend_of(
            "Throughput of each run", style.REQUESTS_PER_SECOND, run_list.request_rate
        ).description("Requests per second over each finished run. Dashed: the baseline."),
        _trend_of("Failed share of each run", style.SHARE, failed)
        .axis_soft_max(0.01)
        .description(
            "Share of requests with an unexpected response or none. Dashed: the baseline."
        ),
    ]


def _trend_of(title: str, unit: str, expression: Callable[[RunList], str]) -> Graph:
    """Draw one value of each run at the time of its start, and that of the baseline."""
    value = expression(ALL_RUNS)
    queries = [
        f"1000 * {run_list.finished(CHOSEN_RUNS, '$tag')}",
        value,
        run_list.of_baseline(value, CHOSEN_RUNS),
    ]
    names = {"Value #A": "Started", "Value #B": "each run", "Value #C": "baseline", "testid": "Run"}
    fields = [*names, *ADDRESS]
    started = {"targetField": "Value #A", "destinationType": "time"}
    has_start = {"fieldName": "Value #A", "config": {"id": "isNotNull", "options": {}}}
    return (
        graph(title, unit, {})
        .span(8)
        .colours({"each run": style.CLIENT, "baseline": style.NEUTRAL})
        .dashed("baseline")
        .data_links([DashboardLink("Open this run").url(RUN_URL)])
        .show_points(VisibilityMode.ALWAYS)
        .no_value("No finished runs of this profile, journey and tag")
        .targets(table_queries(queries))
        .transformations(
            [
                transformation("joinByField", {"byField": "testid", "mode": "outer"}),
                transformation(
                    "filterByValue", {"filters": [has_start], "match": "all", "type": "include"}
                ),
                transformation("filterFieldsByName", {"include": {"names": fields}}),
                transformation("convertFieldType", {"conversions": [started]}),
                transformation("sortBy", {"sort": [{"field": "Value #A"}]}),
                transformation("organize", {"renameByName": names}),
            ]
        )
    )


def _side_by_side() -> list[Panel]:
    def quantile(side: Side) -> Callable[[RunSelector], str]:
        return partial(load_run.side_quantile, 0.95, side, by=OPERATION)

    client = _compare_tables(
        "Client",
        *_both("req/s", style.NUMBER, partial(load_run.request_rate, by=OPERATION)),
        *_with_ratio("p95", partial(load_run.client_quantile, 0.95, by=OPERATION)),
        *_both("Failed", style.SHARE, partial(load_run.failed_share, by=OPERATION)),
    ).description("As measured by k6, by operation.")
    sides = _compare_tables(
        "Server and database",
        *_with_ratio("Server p95", quantile(Side.SERVER)),
        *_with_ratio("Database p95", quantile(Side.DATABASE)),
    ).description(
        "As measured by spans. An operation that is slower for k6 but not in the server waits in "
        "the network, or in a queue before the server."
    )
    mismatch = load_run.mismatch(BOTH_RUNS)
    return [
        text(SIGNIFICANCE).height(2),
        stat("Comparable", style.TEXT, mismatch)
        .words(MISMATCHES)
        .span(24)
        .height(3)
        .description(
            "Runs can be compared if profile, journey and planned length are the same and neither "
            "ended early. Otherwise differences may be due to that alone, and no ratios are shown."
        ),
        run_table("The two runs", BOTH_RUNS, measured=BOTH_RUNS)
        .height(5)
        .description("This run and the other run, as chosen above."),
        client,
        sides,
    ]


def _compare_tables(title: str, *columns: Column) -> Table:
    table = join_table(title, {OPERATION: ("Operation", [style.width(250)])}, *columns)
    table.no_value("Choose two runs above; `just smoke` makes one in 20 s")
    return table.sort_by([SortBy().display_name("Operation").desc(False)])


def _both(title: str, unit: str, expression: Callable[[RunSelector], str]) -> list[Column]:
    """Show a number of both runs."""
    this, other = (expression(RunSelector(run, RETENTION)) for run in ("$testid", "$against"))
    digits = [style.decimals(2)] if unit == style.SHARE else []
    runs = {"this run": this, "other run": other}
    return [Column(f"{title}, {run}", values, unit, digits) for run, values in runs.items()]


def _with_ratio(title: str, expression: Callable[[RunSelector], str]) -> list[Column]:
    """Show seconds of both runs, and their ratio if they can be compared."""
    this, other = _both(title, style.SECONDS, expression)
    ratio = load_run.comparable(load_run.ratio(this.expression, other.expression), BOTH_RUNS)
    return [this, other, Column(f"{title}, ratio", ratio, style.RATIO, [style.decimals(2)])]


# Labels that only links use.
ADDRESS: Fields = {
    label: (label, [style.HIDDEN, style.EMPTY])
    for label in (run_range.FROM, run_range.TO, run_range.REFRESH)
}
RUN: Fields = {"testid": ("Run", [style.link("Open this run", RUN_URL), style.width(212)])}
KIND: Fields = {
    "profile": ("Profile", [style.width(86)]),
    "journey": ("Journey", [style.width(76)]),
}
INFO: Fields = {
    "name": ("Name", [style.WRAPPED]),
    "note": ("Note", [style.WRAPPED]),
    "tags": ("Tags", [style.WRAPPED]),
    "version": ("Version", [style.width(76)]),
    "commit": ("Commit", [style.width(92)]),
}


def run_table(title: str, chosen: RunList, tag: str = "", *, measured: RunList = ALL_RUNS) -> Table:
    """List the chosen runs, newest first, each with a link to its dashboard.

    `measured` may leave out others, but not by labels that only marks have.
    """
    verdict = [*style.words(style.VERDICTS), style.LEFT, style.min_width(246)]
    p95 = load_run.client_quantile(0.95, measured, "testid")
    failed = load_run.failed_share(measured, "testid")
    table = join_table(
        title,
        RUN,
        _started(chosen, tag),
        Column("Verdict", load_run.verdict(measured, "testid"), style.TEXT, verdict),
        Column("p95", p95, style.SECONDS, [style.width(74)]),
        Column("Failed", failed, style.SHARE, [style.decimals(2), style.width(68)]),
        labels_after={**KIND, **ADDRESS},
        only_first=True,
    )
    return table.no_value(NO_RUNS).sort_by([SortBy().display_name("Started").desc(True)])


def info_table(
    title: str, chosen: RunList, tag: str = "", *, measured: RunList = ALL_RUNS
) -> Table:
    """Say how large each run was, what it is called and made for, and which build it tested."""
    started = _started(chosen, tag)
    table = join_table(
        title,
        RUN,
        replace(started, properties=[*started.properties, style.HIDDEN]),
        _duration(measured),
        Column("Requests", load_run.requests(measured, "testid"), style.COUNT, [style.width(84)]),
        labels_after={**INFO, **ADDRESS},
        only_first=True,
    )
    table.sort_by([SortBy().display_name("Started").desc(True)]).no_value(NO_RUNS)
    return table.description(
        "Version, commit and note of a run are known from its start on, its tags from its report. "
        "The note is the NOTE of `just load`; `just rename` sets the name."
    )


def this_run(run: RunList) -> Table:
    """Describe one run, with links to its dashboard and to its report page."""
    page = [style.link("Open the report page", "${__value.raw}"), style.any_text("report page")]
    missing = load_run.missing_seconds(run, "testid")
    return (
        join_table(
            "Run",
            RUN,
            _started(run),
            Column("Ended early by", missing, style.CLOCK, [style.width(124)]),
            labels_after={**KIND, "report": ("Report", [*page, style.width(110)]), **ADDRESS},
            only_first=True,
        )
        .no_value("No data of this run before the end of the time range; it is kept for 15 days")
        .height(3)
        .description(
            "Click the id to set the time range to the run's. `just report` writes the report page."
        )
    )


def _started(chosen: RunList, tag: str = "") -> Column:
    listed = f"1000 * {run_list.listed(chosen, tag)}"
    return Column("Started", listed, style.TIME, [style.width(158), style.texts({"0": "unknown"})])


def _duration(runs: RunList) -> Column:
    whole_seconds = f"round({load_run.duration(runs, 'testid')})"
    return Column("Duration", whole_seconds, style.CLOCK, [style.width(80)])
