"""Write two runs side by side as one HTML file that needs nothing else."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lab.console import milliseconds, percent
from lab.findings.comparison import (
    FAILED,
    PERCENTILES,
    Change,
    Comparison,
    Direction,
    Metric,
    OperationComparison,
)
from lab.reports import charts
from lab.reports.charts import Line
from lab.reports.comparison_terminal import ARROWS, conclusion, difference_text, noise_text
from lab.reports.run_html import template
from lab.runs.record import Record, result_file, write_file

TONES: dict[Direction, str] = {
    "worse": "bad",
    "better": "good",
    "equal": "neutral-text",
    "inconclusive": "warning",
    "unknown": "neutral-text",
}
# The scale of the drawn differences ends at such ratios: it fits the data within these bounds.
MIN_SCALE, MAX_SCALE = 1.25, 4.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A change as the table words it, under the heading of its column."""

    heading: str
    before: str
    after: str
    difference: str
    noise: str
    tone: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A difference drawn on a scale from 0 to 100; `band` is half the width of its noise."""

    cell: Cell
    at: float
    band: float


@dataclass(frozen=True, slots=True)
class Row:
    """An operation's row of the table, and its drawn differences."""

    comparison: OperationComparison
    cells: list[Cell]
    marks: list[Mark]
    verdict: str
    tone: str


def write(comparison: Comparison) -> Path:
    """Write the page of a comparison and return its path."""
    name = f"{comparison.before.run_id}..{comparison.after.run_id}"
    return write_file(result_file(name, ".html"), render(comparison).encode())


def render(comparison: Comparison) -> str:
    runs = (comparison.before, comparison.after)
    scale = _scale((comparison.total, *comparison.operations))
    return template("comparison.html").render(
        comparison=comparison,
        conclusion=conclusion(comparison),
        headings=[_heading(metric) for metric in (*PERCENTILES, FAILED)],
        rows=[_row(row, scale) for row in comparison.operations],
        total=_row(comparison.total, scale),
        scale=f"{percent(1 / scale - 1)} to +{percent(scale - 1)}",
        charts=_charts(*runs),
        json_names=[result_file(run.run_id, ".json").name for run in runs],
    )


def _row(row: OperationComparison, scale: float) -> Row:
    cells = {metric: _cell(metric, row.percentiles[metric.name]) for metric in PERCENTILES}
    marks = [
        _mark(cells[metric], change, scale) for metric, change in row.judged() if metric in cells
    ]
    verdict = _verdict(row.direction) or "no verdict"
    failed = _cell(FAILED, row.failed)
    return Row(
        row, [*cells.values(), failed], [*filter(None, marks)], verdict, TONES[row.direction]
    )


def _heading(metric: Metric) -> str:
    return metric.name[0].upper() + metric.name[1:]


def _verdict(direction: Direction) -> str:
    return "" if direction == "unknown" else f"{ARROWS[direction]} {direction}"


def _cell(metric: Metric, change: Change) -> Cell:
    if metric is FAILED:
        before, after = (
            "-" if value is None else percent(value, 2) for value in (change.before, change.after)
        )
        difference = _verdict(change.direction) if before != after else ""
        noise = ""
    else:
        before, after = milliseconds(change.before), milliseconds(change.after)
        difference, noise = difference_text(change), noise_text(change)
    return Cell(_heading(metric), before, after, difference, noise, TONES[change.direction])


def _mark(cell: Cell, change: Change, scale: float) -> Mark | None:
    if change.difference is None or change.noise is None:
        return None

    def position(share: float) -> float:
        return 50 * max(-1.0, min(1.0, math.log1p(share) / math.log(scale)))

    return Mark(cell, 50 + position(change.difference), position(change.noise))


def _scale(rows: Iterable[OperationComparison]) -> float:
    """Choose the ratio at the end of the scale: the largest difference or noise drawn."""
    changes = [change for row in rows for metric, change in row.judged() if metric is not FAILED]
    reach = [abs(math.log1p(change.difference)) for change in changes if change.difference]
    reach += [math.log1p(change.noise) for change in changes if change.noise]
    return min(max(math.exp(1.1 * max(reach, default=0.0)), MIN_SCALE), MAX_SCALE)


def _charts(before: Record, after: Record) -> list[tuple[str, Markup]]:
    a, b = before.timeline, after.timeline
    at = max(a.at, b.at, key=len)

    def chart(
        title: str, first: list[float | None], second: list[float | None], factor: float = 1.0
    ) -> tuple[str, Markup]:
        """Draw both on the time axis of the longer run."""

        def line(name: str, colour: str, values: list[float | None]) -> Line:
            scaled = [None if value is None else value * factor for value in values]
            return Line(name, colour, [*scaled, *[None] * (len(at) - len(values))])

        lines = [line("A", "neutral", first), line("B", "client", second)]
        return title, charts.lines(title, at=at, drawn=lines)

    return [
        chart("Client p95, ms", a.client_p95, b.client_p95, 1000),
        chart("Server p95, ms", a.server_p95, b.server_p95, 1000),
        chart("Requests per second", a.rate, b.rate),
    ]
