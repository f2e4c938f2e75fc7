"""The runs there are, and one beside another."""

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders.common import TableSortByFieldState as SortBy
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.table import Panel as Table

from observability.dashboards import pages
from observability.dashboards.panels import Column, Panel, hidden, joined, link, width
from observability.dashboards.style import (
    BAD,
    COUNT,
    GOOD,
    NEUTRAL,
    NUMBER,
    SECONDS,
    SHARE,
    TEXT,
    TIME,
    Property,
    Word,
    coloured_text,
    limits,
    words,
)
from observability.queries import history, totals
from observability.queries.names import CLIENT_LABEL, KEPT, SPAN_LABEL, Of, Side, by_operation

HELD: list[Word] = [(1, "✓ held", GOOD), (0, "✗ crossed", BAD)]
OWN_PAGE = (
    "/d/load-test?var-testid=${__data.fields.Run}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)

RUN = Of("$testid", KEPT)
AGAINST = Of("$against", KEPT)
# A bucket of a native histogram is 10 % wide: less than half of one is no difference.
ALIKE = 0.05


def page() -> Dashboard:
    """Make the page of all runs."""
    return pages.page(
        "runs",
        "The runs that there are, and one of them against another, operation by operation.",
        {
            "": [
                run_table(
                    101,
                    "Runs",
                    "The runs that began in the 15 days before the end of the time range, newest "
                    "first. A run's id leads to its page at its own times.",
                ).height(10),
            ],
            "Run against run": _against(),
        },
        variables=[
            pages.run_variable("against", "Against", 'testid!="$testid"'),
        ],
        time="now-15d",
    )


def _against() -> list[Panel]:
    chosen = run_table(
        201,
        "The two runs",
        "The run, and the one that it is held against.",
        'testid=~"$testid|$against"',
    )
    alone = "Choose two runs above: `just smoke` makes one in 20 s"
    saw = joined(
        202,
        "What k6 saw",
        "Each operation in both runs. A change is of the run against the other: ▲ in red is worse, "
        "▼ in green is better, and less than 5 % is no difference.",
        _BY_OPERATION,
        [
            *_pair("Rate /s", NUMBER, *_client(totals.rate)),
            *_compared("p95", "slower", "faster", *_client(partial(totals.client_quantile, 0.95))),
            *_pair("Failed", SHARE, *_client(totals.failed_share)),
            _difference("Failed change", *_client(totals.failed_share)),
        ],
    )
    took = joined(
        203,
        "Where it changed",
        "The same on the two other sides of the request, from their spans: an operation that is "
        "slower for k6 but not in the server waits in a queue before it.",
        _BY_OPERATION,
        [
            *_compared("Server p95", "slower", "faster", *_spans(Side.SERVER)),
            *_compared("Database p95", "slower", "faster", *_spans(Side.DATABASE)),
        ],
    )
    for compared in (saw, took):
        compared.no_value(alone).sort_by([SortBy().display_name("Operation").desc(False)])
    return [chosen.height(4), saw, took]


_BY_OPERATION = {"operation": ("Operation", [width(250)])}


def _client(total: Callable[[Of], str]) -> tuple[str, str]:
    """Give a total of k6's for both runs, by operation."""
    ours, theirs = (named(total(of), CLIENT_LABEL) for of in (RUN, AGAINST))
    return ours, theirs


def _spans(side: Side) -> tuple[str, str]:
    ours, theirs = (
        named(totals.span_quantile(0.95, side, of), SPAN_LABEL) for of in (RUN, AGAINST)
    )
    return ours, theirs


def named(expression: str, label: str) -> str:
    """Name operations as every other column does, and keep no other label."""
    return f"sum by (operation) ({by_operation(expression, label)})"


def _pair(title: str, unit: str, ours: str, theirs: str) -> list[Column]:
    return [Column(f"{title} run", ours, unit), Column(f"{title} against", theirs, unit)]


def _compared(title: str, more: str, less: str, ours: str, theirs: str) -> list[Column]:
    """Show a number of seconds for both runs, its change, and a word for the direction."""
    change = totals.change(ours, theirs)
    direction: list[Word] = [
        ((ALIKE, None), f"▲ {more}", BAD),
        ((None, -ALIKE), f"▼ {less}", GOOD),
        ((-ALIKE, ALIKE), "≈ alike", NEUTRAL),
    ]
    return [
        *_pair(title, SECONDS, ours, theirs),
        Column(f"{title} change", change, SHARE, [*_SIGN, coloured_text()]),
        Column(f"{title} is", change, TEXT, [words(*direction), coloured_text(), width(90)]),
    ]


_SIGN = [limits((-ALIKE, NEUTRAL), (ALIKE, BAD)), Property(id_val="decimals", value=0)]


def _difference(title: str, ours: str, theirs: str) -> Column:
    return Column(
        title, f"{ours} - {theirs}", SHARE, [limits((0, NEUTRAL), (0.0001, BAD)), coloured_text()]
    )


def run_table(
    number: int, title: str, description: str, only: str = "", *, judged: bool = True
) -> Table:
    """List runs, newest first, each leading to its page at its own times."""
    of = history.by_run
    own_page = link("Open this run", OWN_PAGE)
    marks = {
        "testid": ("Run", [own_page, width(190)]),
        "profile": ("Profile", [width(80)]),
        "journey": ("Journey", [width(80)]),
    }
    columns = [
        Column("Began", f"1000 * ({history.runs(KEPT, only)})", TIME, [width(160)]),
        Column("Lasted", of(history.seconds(KEPT, only)), SECONDS),
        Column("Short by", of(history.broken_off(KEPT, only)), SECONDS),
        *(_judgement(only) if judged else []),
        Column("from", of(history.page_from(KEPT, only)), NUMBER, [hidden()]),
        Column("to", of(history.page_to(KEPT, only)), NUMBER, [hidden()]),
    ]
    table = joined(number, title, description, marks, columns)
    return table.sort_by([SortBy().display_name("Began").desc(True)])


def _judgement(only: str) -> list[Column]:
    verdict = [words(*HELD), coloured_text(), width(100)]
    return [
        Column("Requests", history.requests(KEPT, only), COUNT),
        Column("Client p95", history.client_quantile(0.95, KEPT, only), SECONDS),
        Column("Failed", history.failed_share(KEPT, only), SHARE),
        Column("Thresholds", history.by_run(history.held(KEPT, only)), TEXT, verdict),
    ]
