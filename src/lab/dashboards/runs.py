"""The runs there are, and one beside another."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard

from lab.dashboards import pages, style
from lab.dashboards.panels import Column, Panel, Table, joined
from lab.promql import load_run, run_list
from lab.promql.selectors import OPERATION, RETENTION, RunList, RunSelector, Side

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
    failed = _both(partial(load_run.failed_share, by=OPERATION))
    more_failed = [style.limits((0, style.NEUTRAL), (0.0001, style.BAD)), style.COLOURED_TEXT]
    saw = joined(
        "What k6 saw",
        by,
        *_pair("Rate /s", style.NUMBER, _both(partial(load_run.request_rate, by=OPERATION))),
        *_compared("p95", _both(partial(load_run.client_quantile, 0.95, by=OPERATION))),
        *_pair("Failed", style.SHARE, failed),
        Column("Failed change", " - ".join(failed), style.SHARE, more_failed),
    ).description(
        "Each operation in both runs. A change is of the run against the other: ▲ in red is worse, "
        "▼ in green is better, and less than 5 % is no difference."
    )
    server, database = (partial(load_run.span_quantile, 0.95, side, by=OPERATION) for side in Side)
    took = joined(
        "Where it changed",
        by,
        *_compared("Server p95", _both(server)),
        *_compared("Database p95", _both(database)),
    ).description(
        "The same on the two other sides of the request, from their spans: an operation that is "
        "slower for k6 but not in the server waits in a queue before it."
    )
    for compared in (saw, took):
        compared.no_value("Choose two runs above: `just smoke` makes one in 20 s")
        compared.sort_by([SortBy().display_name("Operation").desc(False)])
    chosen = run_table("The two runs", 'testid=~"$testid|$against"').height(5)
    return [chosen.description("The run, and the one that it is held against."), saw, took]


def _both(total: Callable[[RunSelector], str]) -> tuple[str, str]:
    """Give a total by operation for the run, and for the one that it is held against."""
    ours, theirs = (total(RunSelector(run, RETENTION)) for run in ("$testid", "$against"))
    return ours, theirs


def _pair(title: str, unit: str, both: tuple[str, str]) -> list[Column]:
    ours, theirs = both
    return [Column(f"{title} run", ours, unit), Column(f"{title} against", theirs, unit)]


def _compared(title: str, both: tuple[str, str]) -> list[Column]:
    """Show a number of seconds for both runs, its change, and a word for the direction."""
    change = load_run.change(*both)
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
    runs = RunList(RETENTION, only)
    began = f"1000 * ({load_run.started(runs, run_list.RUN_LABELS)})"
    passed = load_run.passed(runs, "testid")
    verdict = [style.words(*PASSED), style.COLOURED_TEXT, style.width(100)]
    judgement = [
        Column("Requests", load_run.requests(runs, "testid"), style.COUNT),
        Column("Client p95", load_run.client_quantile(0.95, runs, "testid"), style.SECONDS),
        Column("Failed", load_run.failed_share(runs, "testid"), style.SHARE),
        Column("Thresholds", passed, style.TEXT, verdict),
    ]
    return joined(
        title,
        marks,
        Column("Began", began, style.TIME, [style.width(155)]),
        Column("Lasted", load_run.duration(runs, "testid"), style.SECONDS),
        Column("Short by", run_list.missing_seconds(runs), style.SECONDS),
        *(judgement if judged else []),
        Column("from", run_list.dashboard_from(runs), style.NUMBER, [style.HIDDEN]),
        Column("to", run_list.dashboard_to(runs), style.NUMBER, [style.HIDDEN]),
    ).sort_by([SortBy().display_name("Began").desc(True)])
