"""Turn Vega-Lite charts over a run's time into SVG, in the colours of style.css.

Areas with a description become elements of class `moment`, whose title browsers show under the
pointer.
"""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import vl_convert
from markupsafe import Markup, escape

from lab.console import clock

WIDTH, HEIGHT = 380, 150
MAX_TICKS = 6
# Round distances between the ticks of the time axis, in seconds.
TICK_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
HEADROOM = 1.08
# From here on a value needs no decimals.
WHOLE = 100

# A tenth of a pixel is precise enough; Vega writes 15 digits.
PATHS = re.compile(r' d="[^"]+"')
LONG_FRACTIONS = re.compile(r"(\.\d)\d+")
DESCRIBED = re.compile(
    r'<path aria-label="(?P<text>[^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"'
    r'(?P<place>(?: transform="[^"]*")? d="[^"]*")[^>]*/>'
)

CLOCK = (
    "(datum.value >= 3600 ? floor(datum.value / 3600) + ':' : '')"
    " + (datum.value >= 3600 ? format(floor(datum.value / 60) % 60, '02')"
    " : floor(datum.value / 60))"
    " + ':' + format(datum.value % 60, '02')"
)
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "aria": False,
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

Object = dict[str, Any]


def svg(chart: Object, label: str, *, colours: Sequence[str], height: int = HEIGHT) -> Markup:
    """Draw a chart; `label` says what it shows to those who do not see it.

    `colours` names those of the lines of a moment's text, after its first; the last one is also
    that of all that follow.
    """
    chart |= {"width": WIDTH, "height": height, "padding": 4, "config": CONFIG}
    text = vl_convert.vegalite_to_svg(json.dumps(chart), allowed_base_urls=[])
    text = PATHS.sub(lambda path: LONG_FRACTIONS.sub(r"\1", path[0]), text)
    text = DESCRIBED.sub(r'<path class="moment"\g<place>><title>\g<text></title></path>', text)
    about = f'aria-label="{escape(label)}" data-colours="{" ".join(colours)}"'
    return Markup(text.replace("<svg ", f'<svg role="img" {about} ', 1))  # noqa: S704 - Vega escapes


def moments(edges: Sequence[float], texts: Sequence[str]) -> Object:
    """Lay an invisible area with a text between each two edges, for the pointer."""
    areas = [
        {"start": start, "end": end, "text": text}
        for (start, end), text in zip(pairwise(edges), texts, strict=True)
    ]
    return {
        "data": {"values": areas},
        "mark": {"type": "rect", "fill": "transparent", "aria": True},
        "encoding": {**extent("x", "start", "end"), "description": {"field": "text"}},
    }


def rule(value: float, colour: str) -> Object:
    """Draw a dashed line at a value, such as a limit."""
    return {
        "data": {"values": [{"value": value}]},
        "mark": {"type": "rule", "color": f"var(--{colour})", "strokeDash": [5, 4]},
        "encoding": {"x": None, "y": field("value")},
    }


def time_axis(last: float) -> Object:
    step = next((step for step in TICK_STEPS if last / step <= MAX_TICKS), TICK_STEPS[-1])
    ticks = [step * number for number in range(int(last / step) + 1)]
    axis = {"values": ticks, "labelExpr": CLOCK, "grid": False, "labelFlush": True}
    return {"type": "quantitative", "scale": {"domain": [0, last], "nice": False}, "axis": axis}


def value_axis(highest: float, **properties: Any) -> Object:
    axis = {"grid": True, "tickCount": 4, "domain": False, "minExtent": 34} | properties
    scale = {"domain": [0, highest * HEADROOM or 1], "nice": False}
    return {"type": "quantitative", "scale": scale, "axis": axis}


def field(name: str) -> Object:
    return {"field": name, "type": "quantitative"}


def extent(channel: str, start: str, end: str) -> Object:
    return {channel: field(start), f"{channel}2": {"field": end}}


def interval_text(at: Sequence[float], number: int) -> str:
    return f"{clock(at[number - 1] if number else 0.0)}-{clock(at[number])}"


def number_text(value: float, digits: int = 1) -> str:
    return f"{value:,.{0 if abs(value) >= WHOLE else digits}f}"
