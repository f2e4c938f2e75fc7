"""Draw charts over a run's time, as SVG by Vega-Lite, in the colours of style.css."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 150
LOW = 96
MAX_TICKS = 6
# Round distances between the ticks of the time axis, in seconds.
TICK_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
# Lines with at most this many points have each point marked, to show what was measured.
MAX_MARKED_POINTS = 12
# A limit further above the data is not drawn, as it would flatten the lines.
LIMIT_IN_VIEW = 2.5
HEADROOM = 1.08

# A tenth of a pixel is precise enough; Vega writes 15 digits.
PATHS = re.compile(r' d="[^"]+"')
LONG_FRACTIONS = re.compile(r"(\.\d)\d+")

CLOCK = (
    "(datum.value >= 3600 ? floor(datum.value / 3600) + ':' : '')"
    " + (datum.value >= 3600 ? format(floor(datum.value / 60) % 60, '02')"
    " : floor(datum.value / 60))"
    " + ':' + format(datum.value % 60, '02')"
)
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "labelFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "ticks": False,
        "labelPadding": 6,
        "title": None,
    },
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: `colour` names a CSS variable, `values` has one for each moment."""

    name: str
    colour: str
    values: Sequence[float | None]


def milliseconds_line(name: str, colour: str, values: Iterable[float | None]) -> Line:
    """Make a line in milliseconds from seconds."""
    return Line(name, colour, [None if value is None else value * 1000 for value in values])


def lines(  # noqa: PLR0913 - all but the title by name
    title: str,
    *,
    at: Sequence[float],
    drawn: Sequence[Line],
    limit: float | None = None,
    right: Line | None = None,
    height: int = HEIGHT,
) -> Markup:
    """Draw lines over time, one of them on an axis of its own on the right.

    Empty where no line has a value. A line with fewer values than moments ends early.
    """
    known = [line for line in drawn if any(value is not None for value in line.values)]
    if not known:
        return Markup()
    highest = max(value for line in known for value in line.values if value is not None)
    layers = [_layer(line, at) for line in known]
    if limit is not None and limit <= LIMIT_IN_VIEW * highest:
        layers.append(_limit(limit))
        highest = max(highest, limit)
    chart: dict[str, Any] = {"layer": layers, "encoding": {"y": _y(highest)}}
    if right and any(right.values):
        right_axis = _y(max(value or 0 for value in right.values), orient="right", grid=False)
        right_layer = {"layer": [_layer(right, at)], "encoding": {"y": right_axis}}
        chart = {"layer": [right_layer, chart], "resolve": {"scale": {"y": "independent"}}}
    chart.setdefault("encoding", {})["x"] = _x(at[-1])
    chart |= {"width": WIDTH, "height": height, "padding": 4, "config": CONFIG}
    svg = vl_convert.vegalite_to_svg(json.dumps(chart), allowed_base_urls=[])
    svg = PATHS.sub(lambda path: LONG_FRACTIONS.sub(r"\1", path[0]), svg)
    label = escape(f"{title}: {', '.join(line.name for line in (*known, right) if line)}")
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))  # noqa: S704 - Vega escapes


def _layer(line: Line, at: Sequence[float]) -> dict[str, Any]:
    colour = f"var(--{line.colour})"
    point = {"color": colour, "size": 22} if len(at) <= MAX_MARKED_POINTS else False
    style = {"strokeWidth": 2, "strokeJoin": "round", "point": point}
    values = zip(at, line.values, strict=False)
    return {
        "data": {"values": [{"at": moment, "value": value} for moment, value in values]},
        "mark": {"type": "line", "color": colour} | style,
        "encoding": {name: _field(field) for name, field in (("x", "at"), ("y", "value"))},
    }


def _limit(limit: float) -> dict[str, Any]:
    return {
        "data": {"values": [{"value": limit}]},
        "mark": {"type": "rule", "color": "var(--bad)", "strokeDash": [5, 4]},
        "encoding": {"y": _field("value")},
    }


def _field(name: str) -> dict[str, Any]:
    return {"field": name, "type": "quantitative"}


def _y(highest: float, *, orient: str = "left", grid: bool = True) -> dict[str, Any]:
    axis = {"orient": orient, "grid": grid, "tickCount": 4, "domain": False, "minExtent": 34}
    scale = {"domain": [0, highest * HEADROOM or 1], "nice": False}
    return {"type": "quantitative", "scale": scale, "axis": axis}


def _x(last: float) -> dict[str, Any]:
    step = next((step for step in TICK_STEPS if last / step <= MAX_TICKS), TICK_STEPS[-1])
    ticks = [step * number for number in range(int(last / step) + 1)]
    axis = {"values": ticks, "labelExpr": CLOCK, "grid": False, "labelFlush": True}
    return {"type": "quantitative", "scale": {"domain": [0, last], "nice": False}, "axis": axis}
