"""Runs: the list of all runs, and two of them side by side."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard

from lab.dashboards import base, style
from lab.dashboards.panels import Column, Panel, Table, join_table, stat
from lab.promql import load_run, run_list
from lab.promql.load_run import MISMATCH_CODES
from lab.promql.selectors import OPERATION, RETENTION, RunList, RunSelector, Side

RUN_URL = (
    "/d/load-test?var-testid=${__data.fields.Run}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)
BOTH_RUNS = 'testid=~"$testid|$against"'
MISMATCHES: list[style.Word] = [
    (MISMATCH_CODES["none"], "yes: profile, journey and length are the same", style.NEUTRAL),
    (MISMATCH_CODES["fewer than two runs"], "choose two runs above", style.NEUTRAL),
    (MISMATCH_CODES["profile"], "no: the profiles differ", style.WARNING),
    (MISMATCH_CODES["journey"], "no: the journeys differ", style.WARNING),
    (MISMATCH_CODES["planned length"], "no: the planned lengths differ", style.WARNING),
    (MISMATCH_CODES["aborted"], "no: one of them ended early", style.WARNING),
    (MISMATCH_CODES["running"], "no: one of them is still running", style.WARNING),
]


def dashboard() -> Dashboard:
    runs = run_table("Runs").description(
        "Runs of the 15 days before the end of the time range. Click an id for the run's dashboard."
    )
    return base.make_dashboard(
        "runs",
        {"": [runs.height(10)], "Two runs side by side": _side_by_side()},
        variables=[base.run_variable("against", "Other run", 'testid!="$testid"')],
        time="now-15d",
    )


def _side_by_side() -> list[Panel]:
    def quantile(side: Side) -> Callable[[RunSelector], str]:
        return partial(load_run.span_quantile, 0.95, side, by=OPERATION)

    client = _compare_tables(
        "Client",
        *_both("req/s", style.NUMBER, partial(load_run.request_rate, by=OPERATION)),
        *_with_ratio("p95", partial(load_run.client_quantile, 0.95, by=OPERATION)),
        *_both("Failed", style.SHARE, partial(load_run.failed_share, by=OPERATION)),
    ).description(
        "As measured by k6. A ratio is this run divided by the other. `just compare` tests "
        "significance."
    )
    sides = _compare_tables(
        "Server and database",
        *_with_ratio("Server p95", quantile(Side.SERVER)),
        *_with_ratio("Database p95", quantile(Side.DATABASE)),
    ).description(
        "As measured by spans. An operation that is slower for k6 but not in the server waits in "
        "the network, or in a queue before the server."
    )
    mismatch = load_run.mismatch(RunList(RETENTION, BOTH_RUNS))
    two_runs = run_table("The two runs", BOTH_RUNS).height(5)
    return [
        stat("Comparable", style.TEXT, mismatch)
        .mappings(style.mappings(MISMATCHES))
        .span(24)
        .height(3)
        .description(
            "Runs can be compared if profile, journey and planned length are the same and neither "
            "ended early. Otherwise the differences below may be due to that alone."
        ),
        two_runs.description("This run and the other run, as chosen above."),
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
    return [Column(f"{title}, this run", this, unit), Column(f"{title}, other run", other, unit)]


def _with_ratio(title: str, expression: Callable[[RunSelector], str]) -> list[Column]:
    """Show seconds of both runs, and their ratio."""
    this, other = _both(title, style.SECONDS, expression)
    ratio = load_run.ratio(this.expression, other.expression)
    return [this, other, Column(f"{title}, ratio", ratio, style.RATIO, [style.decimals(2)])]


def run_table(title: str, matchers: str = "", *, results: bool = True) -> Table:
    """List runs, newest first, each with a link to its dashboard."""
    runs = RunList(RETENTION, matchers)
    labels = {
        "testid": ("Run", [style.link("Open this run", RUN_URL), style.width(212)]),
        "profile": ("Profile", [style.width(88)]),
        "journey": ("Journey", [style.width(75)]),
    }
    started = f"1000 * ({load_run.started(runs, run_list.RUN_LABELS)})"
    verdict = [*style.words(style.VERDICTS), style.width(100)]
    p95 = load_run.client_quantile(0.95, runs, "testid")
    result_columns = [
        Column("Requests", load_run.requests(runs, "testid"), style.COUNT, [style.width(72)]),
        Column("Client p95", p95, style.SECONDS),
        Column("Failed", load_run.failed_share(runs, "testid"), style.SHARE),
        Column("Verdict", load_run.verdict(runs, "testid"), style.TEXT, verdict),
    ]
    table = join_table(
        title,
        labels,
        Column("Started", started, style.TIME, [style.width(158)]),
        Column("Duration", load_run.duration(runs, "testid"), style.SECONDS),
        Column("Ended early by", load_run.missing_seconds(runs, "testid"), style.SECONDS),
        *(result_columns if results else []),
        Column("from", run_list.dashboard_from(runs), style.NUMBER, [style.HIDDEN]),
        Column("to", run_list.dashboard_to(runs), style.NUMBER, [style.HIDDEN]),
    )
    table.no_value("No runs; `just smoke` makes one in 20 s")
    return table.sort_by([SortBy().display_name("Started").desc(True)])
