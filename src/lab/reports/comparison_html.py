"""Write two runs side by side as one HTML file that needs nothing else."""

import math
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from lab.findings.comparison import (
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
from lab.reports.page import template
from lab.runs.record import Record, result_file, write_file

TONES: dict[Direction, str] = {
    "worse": "bad",
    "better": "good",
    "equal": "soft",
    "inconclusive": "warning",
    "unknown": "soft",
}
# The comparison as a whole has the first of these that one of its rows has.
OVERALL: tuple[Direction, ...] = ("worse", "better", "inconclusive")
# The scale of the drawn differences ends at such ratios: it fits the data within these bounds.
MIN_SCALE, MAX_SCALE = 1.25, 4.0


def write(comparison: Comparison) -> Path:
    """Write a comparison as HTML and return its path."""
    names = comparison.before.run_id, comparison.after.file("").name
    return write_file(result_file("..".join(names), ".html"), render(comparison).encode())


def render(comparison: Comparison) -> str:
    rows = [comparison.total, *comparison.operations]
    scale = _scale(change for row in rows for _, change in _drawn(row))

    def position(share: float) -> float:
        """Place a difference on the scale, between -50 and 50."""
        return 50 * max(-1.0, min(1.0, math.log1p(share) / math.log(scale)))

    return template("comparison.html").render(
        comparison=comparison,
        conclusion=conclusion(comparison),
        overall=_overall(comparison),
        percentiles=PERCENTILES,
        drawn=_drawn,
        position=position,
        scale=scale,
        tones=TONES,
        arrows=ARROWS,
        difference=difference_text,
        noise=noise_text,
        charts=_charts(comparison.before, comparison.after),
        json_names=[run.file(".json").name for run in (comparison.before, comparison.after)],
    )


def _overall(comparison: Comparison) -> Direction:
    """Return the direction of the comparison as a whole, as its conclusion words it."""
    found = {row.direction for row in (comparison.total, *comparison.operations)}
    if not found & {"worse", "better"} and comparison.total.direction == "unknown":
        return "unknown"
    return next((one for one in OVERALL if one in found), "equal")


def _drawn(row: OperationComparison) -> list[tuple[Metric, Change]]:
    """List the judged percentiles whose noise is known."""
    judged = row.judged()
    return [(metric, change) for metric, change in judged if metric in PERCENTILES and change.noise]


def _scale(changes: Iterable[Change]) -> float:
    """Choose the ratio at the end of the scale: the largest difference or noise drawn."""
    logs = [
        max(abs(math.log1p(change.difference or 0)), math.log1p(change.noise or 0))
        for change in changes
    ]
    return min(max(math.exp(1.1 * max(logs, default=0.0)), MIN_SCALE), MAX_SCALE)


def _charts(before: Record, after: Record) -> list[tuple[str, Markup]]:
    """Draw both runs on the time axis of the longer one."""
    a, b = before.timeline, after.timeline
    at = max(a.at, b.at, key=len)
    drawn = {
        "Client p95, ms": (
            charts.milliseconds_line("A", "neutral", a.client_p95),
            charts.milliseconds_line("B", "client", b.client_p95),
        ),
        "Server p95, ms": (
            charts.milliseconds_line("A", "neutral", a.server_p95),
            charts.milliseconds_line("B", "client", b.server_p95),
        ),
        "Load, req/s": (Line("A", "neutral", a.rate), Line("B", "client", b.rate)),
    }
    return [(title, charts.lines(title, at=at, drawn=lines)) for title, lines in drawn.items()]
