"""The runs there are, and one beside another."""

from grafana_foundation_sdk.builders.table import Panel as Table

from observability.dashboards.panels import Column, hidden, joined, link, width
from observability.dashboards.style import (
    BAD,
    COUNT,
    GOOD,
    SECONDS,
    SHARE,
    TEXT,
    TIME,
    Word,
    coloured_text,
    words,
)
from observability.queries import history
from observability.queries.names import KEPT

HELD: list[Word] = [(1, "✓ held", GOOD), (0, "✗ crossed", BAD)]
OWN_PAGE = (
    "/d/load-test?var-testid=${__data.fields.Run}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)


def run_table(number: int, title: str, description: str, only: str = "") -> Table:
    """List runs, newest first, each leading to its page at its own times."""
    of = history.by_run
    own_page = link("Open this run", OWN_PAGE)
    marks = {
        "testid": ("Run", [own_page, width(260)]),
        "profile": ("Profile", [width(90)]),
        "journey": ("Journey", [width(90)]),
    }
    columns = [
        Column("Began", f"1000 * ({history.runs(KEPT, only)})", TIME, [width(165)]),
        Column("Lasted", of(history.seconds(KEPT, only)), SECONDS),
        Column("Cut short by", of(history.broken_off(KEPT, only)), SECONDS),
        Column("Requests", history.requests(KEPT, only), COUNT),
        Column("Client p95", history.client_quantile(0.95, KEPT, only), SECONDS),
        Column("Failed", history.failed_share(KEPT, only), SHARE),
        Column(
            "Thresholds",
            of(history.held(KEPT, only)),
            TEXT,
            [words(*HELD), coloured_text(), width(110)],
        ),
        Column("from", of(history.page_from(KEPT, only)), TEXT, [hidden()]),
        Column("to", of(history.page_to(KEPT, only)), TEXT, [hidden()]),
    ]
    return joined(number, title, description, marks, columns)
