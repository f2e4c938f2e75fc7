"""Charts over a run's time, as SVG by Vega-Lite; their colours follow the page's."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 150
LOW = 96
# The distances between marks of time that a reader counts by, in seconds.
COUNTED_BY = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
MOST_MARKS = 6
# Few points are shown as such: a line through two of them says too much.
FEW = 12
# An objective far above what was measured would press the lines to the ground.
NEAR = 2.5

# A tenth of a pixel is enough for a place.
PATHS = re.compile(r' d="[^"]+"')
LONG = re.compile(r"(\.\d)\d+")

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
    """One line of a chart: its name, its colour and a value for each moment."""

    name: str
    colour: str
    values: Sequence[float | None]


def lines(  # noqa: PLR0913 - by name alone, as a chart has that many sides
    what: str,
    *,
    at: Sequence[float],
    drawn: Sequence[Line],
    limit: float | None = None,
    right: Line | None = None,
    height: int = HEIGHT,
) -> Markup:
    """Draw lines over time, one of them on an axis of its own at the right."""
    shown = [line for line in drawn if any(value is not None for value in line.values)]
    if not shown:
        return Markup()
    highest = max(value for line in shown for value in line.values if value is not None)
    layers = [_layer(line, at) for line in shown]
    if limit is not None and limit <= NEAR * highest:
        layers.append(_limit(limit))
        highest = max(highest, limit)
    left = {"layer": layers, "encoding": {"y": _y(highest)}}
    chart: dict[str, Any] = left
    if right and any(right.values):
        most = max(value or 0 for value in right.values)
        on_right = {
            "layer": [_layer(right, at)],
            "encoding": {"y": _y(most, orient="right", grid=False)},
        }
        chart = {"layer": [on_right, left], "resolve": {"scale": {"y": "independent"}}}
    last = at[-1]
    chart |= {"width": WIDTH, "height": height, "padding": 4, "config": CONFIG}
    chart = _with_time(chart, last)
    svg = vl_convert.vegalite_to_svg(json.dumps(chart), allowed_base_urls=[])
    svg = PATHS.sub(lambda path: LONG.sub(r"\1", path[0]), svg)
    names = [line.name for line in (*shown, right) if line]
    label = escape(f"{what}: {', '.join(names)}")
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))  # noqa: S704 - Vega escapes


def _layer(line: Line, at: Sequence[float]) -> dict[str, Any]:
    points = [{"at": moment, "value": value} for moment, value in zip(at, line.values, strict=True)]
    return {
        "data": {"values": points},
        "mark": {
            "type": "line",
            "color": f"var(--{line.colour})",
            "strokeWidth": 2,
            "strokeJoin": "round",
            "point": {"color": f"var(--{line.colour})", "size": 22} if len(at) <= FEW else False,
        },
        "encoding": {
            "x": {"field": "at", "type": "quantitative"},
            "y": {"field": "value", "type": "quantitative"},
        },
    }


def _limit(limit: float) -> dict[str, Any]:
    return {
        "data": {"values": [{"value": limit}]},
        "mark": {"type": "rule", "color": "var(--bad)", "strokeDash": [5, 4]},
        "encoding": {"y": {"field": "value", "type": "quantitative"}},
    }


def _y(highest: float, *, orient: str = "left", grid: bool = True) -> dict[str, Any]:
    axis = {"orient": orient, "grid": grid, "tickCount": 4, "domain": False, "minExtent": 34}
    return {
        "type": "quantitative",
        "scale": {"domain": [0, highest * 1.08 or 1], "nice": False},
        "axis": axis,
    }


def _with_time(chart: dict[str, Any], last: float) -> dict[str, Any]:
    each = next((each for each in COUNTED_BY if last / each <= MOST_MARKS), COUNTED_BY[-1])
    marks = [each * number for number in range(int(last / each) + 1)]
    x = {
        "type": "quantitative",
        "scale": {"domain": [0, last], "nice": False},
        "axis": {"values": marks, "labelExpr": CLOCK, "grid": False, "labelFlush": True},
    }
    return chart | {"encoding": {**chart.get("encoding", {}), "x": x}}
