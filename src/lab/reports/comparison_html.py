"""Two runs beside each other as one HTML file that needs nothing else."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lab.console import milliseconds
from lab.findings.comparison import COLUMNS, Change, Comparison, Direction, Line
from lab.reports import charts
from lab.reports.charts import Line as Drawn
from lab.reports.comparison_terminal import ARROWS, difference, within
from lab.reports.run_html import template
from lab.runs.record import Record, place, put

TONES: dict[Direction, str] = {"worse": "bad", "better": "good", "equal": "same", "unknown": "same"}
Values = list[float | None]
# The edges of the drawn differences, as ratios: wide enough for what was found, and no wider.
LEAST_EDGE, MOST_EDGE = 1.25, 4.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of both runs in words."""

    before: str
    after: str
    words: str
    noise: str
    tone: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A difference as a place between 0 and 100, and half the width of its noise."""

    at: float
    band: float
    words: str
    noise: str
    tone: str


@dataclass(frozen=True, slots=True)
class Row:
    """An operation's line of the table, and its drawn differences."""

    operation: str
    requests: tuple[int, int]
    cells: list[tuple[str, Cell]]
    marks: list[tuple[str, Mark]]
    verdict: str
    tone: str


def write(comparison: Comparison) -> Path:
    """Write the page of a comparison, and say where."""
    name = f"{comparison.before.run_id}..{comparison.after.run_id}"
    return put(place(name, ".html"), render(comparison).encode())


def render(comparison: Comparison) -> str:
    """Give the page of a comparison."""
    before, after = comparison.before, comparison.after
    edge = _edge((comparison.total, *comparison.lines))
    page: str = template("comparison.html").render(
        before=before,
        after=after,
        sentence=comparison.sentence,
        problems=comparison.problems,
        remarks=comparison.remarks,
        columns=[_heading(column.name) for column in COLUMNS] + ["Failed"],
        rows=[_row(line, edge) for line in comparison.lines],
        total=_row(comparison.total, edge),
        scale=f"{1 / edge - 1:.0%} to {edge - 1:+.0%}",
        charts=_charts(before, after),
        changed=comparison.changed,
        names=[place(run.run_id, ".json").name for run in (before, after)],
    )
    return page


def _row(line: Line, edge: float) -> Row:
    seconds = [(_heading(column.name), line.seconds[column.name]) for column in COLUMNS]
    return Row(
        operation=line.operation,
        requests=line.requests,
        cells=[
            *((name, _cell(change)) for name, change in seconds),
            ("Failed", _failed(line.failed)),
        ],
        marks=[
            (_heading(name), mark)
            for name, change in line.judged_seconds.items()
            if (mark := _mark(change, edge))
        ],
        verdict=_words(line.direction),
        tone=TONES[line.direction],
    )


def _heading(name: str) -> str:
    return name[0].upper() + name[1:]


def _words(direction: Direction) -> str:
    return "not told" if direction == "unknown" else f"{ARROWS[direction]} {direction}"


def _cell(change: Change) -> Cell:
    return Cell(
        milliseconds(change.before),
        milliseconds(change.after),
        difference(change),
        within(change),
        TONES[change.direction],
    )


def _failed(change: Change) -> Cell:
    before, after = (
        "-" if value is None else f"{value:.2%}" for value in (change.before, change.after)
    )
    words = _words(change.direction) if change.direction in {"worse", "better"} else ""
    return Cell(before, after, words, "", TONES[change.direction])


def _mark(change: Change, edge: float) -> Mark | None:
    if change.difference is None or change.noise is None:
        return None

    def place_of(share: float) -> float:
        return 50 * max(-1.0, min(1.0, math.log1p(share) / math.log(edge)))

    return Mark(
        at=50 + place_of(change.difference),
        band=place_of(change.noise),
        words=difference(change),
        noise=within(change),
        tone=TONES[change.direction],
    )


def _edge(lines: Iterable[Line]) -> float:
    """Choose how far the drawn differences reach: to the largest of them, and their noise."""
    changes = [change for line in lines for change in line.judged_seconds.values()]
    reach = [abs(math.log1p(change.difference)) for change in changes if change.difference]
    reach += [math.log1p(change.noise) for change in changes if change.noise]
    return min(max(math.exp(1.1 * max(reach, default=0.0)), LEAST_EDGE), MOST_EDGE)


def _charts(before: Record, after: Record) -> list[tuple[str, Markup]]:
    a, b = before.timeline, after.timeline
    at = max(a.at, b.at, key=len)

    def drawn(title: str, was: Values, now: Values) -> tuple[str, Markup]:
        """Draw both as long as the longer."""
        lines = [
            Drawn(name, colour, [*values, *[None] * (len(at) - len(values))])
            for name, colour, values in (("A", "neutral", was), ("B", "client", now))
        ]
        return title, charts.lines(title, at=at, drawn=lines)

    return [
        drawn("Client p95, ms", _ms(a.client_p95), _ms(b.client_p95)),
        drawn("Server p95, ms", _ms(a.server_p95), _ms(b.server_p95)),
        drawn("Requests a second", a.rate, b.rate),
    ]


def _ms(values: Values) -> Values:
    return [None if value is None else value * 1000 for value in values]
