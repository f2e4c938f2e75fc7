"""The runs there are, and one beside another."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard

from lab.dashboards import pages, style
from lab.dashboards.panels import Column, Panel, Table, joined
from lab.promql import run_list, run_totals
from lab.promql.selectors import CLIENT_LABEL, KEPT, SPAN_LABEL, RunSelector, Side, by_operation

PASSED: list[style.Word] = [(1, "✓ held", style.GOOD), (0, "✗ crossed", style.BAD)]
OWN_PAGE = (
    "/d/load-test?var-testid=${__data.fields.Run}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)
# A bucket of a native histogram is 10 % wide: less than half of one is no difference.
ALIKE = 0.05


def page() -> Dashboard:
    """Make the page of all runs."""
    everything = run_table("Runs").description(
        "The runs that began in the 15 days before the end of the time range, newest first. A "
        "run's id leads to its page at its own times."
    )
    return pages.page(
        "runs",
        "The runs that there are, and one of them against another, operation by operation.",
        {"": [everything.height(10)], "Run against run": _against()},
        variables=[pages.run_variable("against", "Against", 'testid!="$testid"')],
        time="now-15d",
    )


def _against() -> list[Panel]:
    by = {"operation": ("Operation", [style.width(250)])}
    failed = _both(run_totals.failed_share)
    more_failed = [style.limits((0, style.NEUTRAL), (0.0001, style.BAD)), style.COLOURED_TEXT]
    saw = joined(
        "What k6 saw",
        by,
        *_pair("Rate /s", style.NUMBER, _both(run_totals.rate)),
        *_compared("p95", _both(partial(run_totals.client_quantile, 0.95))),
        *_pair("Failed", style.SHARE, failed),
        Column("Failed change", " - ".join(failed), style.SHARE, more_failed),
    ).description(
        "Each operation in both runs. A change is of the run against the other: ▲ in red is worse, "
        "▼ in green is better, and less than 5 % is no difference."
    )
    server, database = (partial(run_totals.span_quantile, 0.95, side) for side in Side)
    took = joined(
        "Where it changed",
        by,
        *_compared("Server p95", _both(server, SPAN_LABEL)),
        *_compared("Database p95", _both(database, SPAN_LABEL)),
    ).description(
        "The same on the two other sides of the request, from their spans: an operation that is "
        "slower for k6 but not in the server waits in a queue before it."
    )
    for compared in (saw, took):
        compared.no_value("Choose two runs above: `just smoke` makes one in 20 s")
        compared.sort_by([SortBy().display_name("Operation").desc(False)])
    chosen = run_table("The two runs", 'testid=~"$testid|$against"').height(5)
    return [chosen.description("The run, and the one that it is held against."), saw, took]


def _both(total: Callable[[RunSelector], str], label: str = CLIENT_LABEL) -> tuple[str, str]:
    """Give a total by operation for the run, and for the one that it is held against."""
    ours, theirs = (named(total(RunSelector(run, KEPT)), label) for run in ("$testid", "$against"))
    return ours, theirs


def named(expression: str, label: str) -> str:
    """Name operations as every other column does, and keep no other label."""
    return f"sum by (operation) ({by_operation(expression, label)})"


def _pair(title: str, unit: str, both: tuple[str, str]) -> list[Column]:
    ours, theirs = both
    return [Column(f"{title} run", ours, unit), Column(f"{title} against", theirs, unit)]


def _compared(title: str, both: tuple[str, str]) -> list[Column]:
    """Show a number of seconds for both runs, its change, and a word for the direction."""
    change = run_totals.change(*both)
    sign = style.limits((-ALIKE, style.NEUTRAL), (ALIKE, style.BAD))
    word = style.words(
        ((ALIKE, None), "▲ slower", style.BAD),
        ((None, -ALIKE), "▼ faster", style.GOOD),
        ((-ALIKE, ALIKE), "≈ alike", style.NEUTRAL),
    )
    whole = style.Property(id_val="decimals", value=0)
    return [
        *_pair(title, style.SECONDS, both),
        Column(f"{title} change", change, style.SHARE, [sign, whole, style.COLOURED_TEXT]),
        Column(f"{title} is", change, style.TEXT, [word, style.COLOURED_TEXT, style.width(90)]),
    ]


def run_table(title: str, only: str = "", *, judged: bool = True) -> Table:
    """List runs, newest first, each leading to its page at its own times."""
    marks = {
        "testid": ("Run", [style.link("Open this run", OWN_PAGE), style.width(180)]),
        "profile": ("Profile", [style.width(80)]),
        "journey": ("Journey", [style.width(80)]),
    }
    began = f"1000 * ({run_list.runs(KEPT, only)})"
    passed = run_list.by_run(run_list.passed(KEPT, only))
    verdict = [style.words(*PASSED), style.COLOURED_TEXT, style.width(100)]
    judgement = [
        Column("Requests", run_list.requests(KEPT, only), style.COUNT),
        Column("Client p95", run_list.client_quantile(0.95, KEPT, only), style.SECONDS),
        Column("Failed", run_list.failed_share(KEPT, only), style.SHARE),
        Column("Thresholds", passed, style.TEXT, verdict),
    ]
    return joined(
        title,
        marks,
        Column("Began", began, style.TIME, [style.width(155)]),
        Column("Lasted", run_list.by_run(run_list.seconds(KEPT, only)), style.SECONDS),
        Column("Short by", run_list.by_run(run_list.broken_off(KEPT, only)), style.SECONDS),
        *(judgement if judged else []),
        Column(
            "from", run_list.by_run(run_list.page_from(KEPT, only)), style.NUMBER, [style.HIDDEN]
        ),
        Column("to", run_list.by_run(run_list.page_to(KEPT, only)), style.NUMBER, [style.HIDDEN]),
    ).sort_by([SortBy().display_name("Began").desc(True)])
