"""Draw lines and areas over a run's time, and one value against another."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lab.console import clock
from lab.reports import vega
from lab.reports.vega import HEIGHT, Object, field

LOW = 96
# Lines with at most this many points have each point marked, to show what was measured.
MAX_MARKED_POINTS = 12
# A limit further above the data is not drawn, as it would flatten the lines.
LIMIT_IN_VIEW = 2.5
# That of a value that is not drawn.
NO_COLOUR = "none"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: `colour` names a CSS variable, `values` has one for each moment."""

    name: str
    colour: str
    values: Sequence[float | None]
    unit: str = ""
    digits: int = 1

    def text(self, number: int) -> str:
        """Word the value of a moment: `client p95 8.4 ms`."""
        value = self.values[number] if number < len(self.values) else None
        if value is None:
            return f"{self.name} -"
        return f"{self.name} {vega.number_text(value, self.digits)} {self.unit}".rstrip()


def milliseconds_line(name: str, colour: str, values: Iterable[float | None]) -> Line:
    """Make a line in milliseconds from seconds."""
    return Line(name, colour, [None if value is None else value * 1000 for value in values], "ms")


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
        layers.append(vega.rule(limit, "bad"))
        highest = max(highest, limit)
    right = right if right and any(right.values) else None
    named = [*known, right] if right else known
    layers.append(_moments(at, named))
    chart: Object = {"layer": layers, "encoding": {"y": vega.value_axis(highest)}}
    if right:
        most = max(value or 0 for value in right.values)
        axis = vega.value_axis(most, orient="right", grid=False)
        right_layer = {"layer": [_layer(right, at)], "encoding": {"y": axis}}
        chart = {"layer": [right_layer, chart], "resolve": {"scale": {"y": "independent"}}}
    chart.setdefault("encoding", {})["x"] = vega.time_axis(at[-1])
    colours = [line.colour for line in named]
    return vega.svg(chart, _label(title, named), colours=colours, height=height)


def stack(title: str, *, at: Sequence[float], drawn: Sequence[Line]) -> Markup:
    """Draw values over time as areas on top of each other; empty where none is known."""
    if not any(value for line in drawn for value in line.values):
        return Markup()
    points = [
        {"at": moment, "order": order, "name": line.name, "value": value or 0.0}
        for order, line in enumerate(drawn)
        for moment, value in zip(at, line.values, strict=False)
    ]
    colours = [line.colour for line in drawn]
    scale = {
        "domain": [line.name for line in drawn],
        "range": [f"var(--{colour})" for colour in colours],
    }
    highest = max(
        sum(values)
        for values in zip(*([v or 0.0 for v in line.values] for line in drawn), strict=False)
    )
    areas = {
        "data": {"values": points},
        "mark": {"type": "area", "opacity": 0.85},
        "encoding": {
            "x": field("at"),
            "y": field("value") | {"stack": "zero"},
            "color": {"field": "name", "scale": scale, "legend": None},
            "order": {"field": "order"},
        },
    }
    axes = {"x": vega.time_axis(at[-1]), "y": vega.value_axis(highest)}
    chart = {"layer": [areas, _moments(at, [*drawn, _total(drawn)])], "encoding": axes}
    return vega.svg(chart, _label(title, drawn), colours=[*colours, NO_COLOUR])


def by_run(
    title: str, *, names: Sequence[str], line: Line, baseline: float | None = None
) -> Markup:
    """Draw a value of each run, named below the axis, and a baseline; empty if all are zero."""
    highest = max([baseline or 0.0, *(value or 0.0 for value in line.values)])
    if not highest:
        return Markup()
    layers = [_layer(line, range(len(names)), marked=True)]
    if baseline is not None:
        layers.append(vega.rule(baseline, "neutral"))
    texts = [f"{name}\n{line.text(number)}" for number, name in enumerate(names)]
    layers.append(vega.moments([number - 0.5 for number in range(len(names) + 1)], texts))
    step = math.ceil(len(names) / vega.MAX_TICKS)
    axis = {"values": list(range(0, len(names), step)), "grid": False, "labelFlush": True}
    axis["labelExpr"] = f"{json.dumps(list(names))}[datum.value]"
    scale = {"domain": [-0.5, len(names) - 0.5], "nice": False}
    x = {"type": "quantitative", "scale": scale, "axis": axis}
    chart: Object = {"layer": layers, "encoding": {"x": x, "y": vega.value_axis(highest)}}
    return vega.svg(chart, f"{title} by run", colours=[line.colour])


def path(
    title: str, *, at: Sequence[float], x: Line, y: Line, limit: float | None = None
) -> Markup:
    """Draw a value against another one, connected in time; empty with less than two points."""
    points = [
        (number, one, other)
        for number, (one, other) in enumerate(zip(x.values, y.values, strict=False))
        if one is not None and other is not None
    ]
    if len(points) <= 1:
        return Markup()
    furthest, highest = (max(point[i] for point in points) for i in (1, 2))
    colour, place = f"var(--{y.colour})", {"x": field("x"), "y": field("y")}
    data = [
        {
            "order": number,
            "x": one,
            "y": other,
            "time": clock(at[number]),
            "text": "\n".join([vega.interval_text(at, number), x.text(number), y.text(number)]),
        }
        for number, one, other in points
    ]
    layers: list[Object] = [
        {
            "mark": {"type": "line", "color": colour, "opacity": 0.35},
            "encoding": {**place, "order": field("order")},
        },
        {"mark": {"type": "circle", "color": colour, "size": 30, "opacity": 1}, "encoding": place},
    ]
    if limit is not None and limit <= LIMIT_IN_VIEW * highest:
        layers.append(vega.rule(limit, "bad"))
        highest = max(highest, limit)
    layers.append(
        {
            "mark": {"type": "circle", "fill": "transparent", "size": 260, "aria": True},
            "encoding": {**place, "description": {"field": "text"}},
        }
    )
    layers.append(
        {
            "data": {"values": [data[0], data[-1]]},
            "mark": {"type": "text", "dy": -10, "fill": "var(--soft)"},
            "encoding": {**place, "text": {"field": "time"}},
        }
    )
    across = vega.value_axis(furthest, grid=False, labelFlush=True, minExtent=0)
    chart: Object = {
        "data": {"values": data},
        "layer": layers,
        "encoding": {"x": across, "y": vega.value_axis(highest)},
    }
    return vega.svg(chart, _label(title, [y, x]), colours=[y.colour])


def _total(drawn: Sequence[Line]) -> Line:
    """Add up lines; the total of a moment of which nothing is known is unknown."""
    moments = zip(*(line.values for line in drawn), strict=False)
    known = ([value for value in values if value is not None] for values in moments)
    totals = [sum(values) if values else None for values in known]
    return Line("total", NO_COLOUR, totals, drawn[0].unit, drawn[0].digits)


def _label(title: str, drawn: Iterable[Line]) -> str:
    return f"{title}: {', '.join(line.name for line in drawn)}"


def _moments(at: Sequence[float], drawn: Sequence[Line]) -> Object:
    texts = [
        "\n".join([vega.interval_text(at, number), *(line.text(number) for line in drawn)])
        for number in range(len(at))
    ]
    return vega.moments([0.0, *at], texts)


def _layer(line: Line, at: Sequence[float], *, marked: bool = False) -> Object:
    colour = f"var(--{line.colour})"
    marked = marked or len(at) <= MAX_MARKED_POINTS
    point = {"color": colour, "size": 22} if marked else False
    style = {"strokeWidth": 2, "strokeJoin": "round", "point": point}
    values = zip(at, line.values, strict=False)
    return {
        "data": {"values": [{"at": moment, "value": value} for moment, value in values]},
        "mark": {"type": "line", "color": colour} | style,
        "encoding": {"x": field("at"), "y": field("value")},
    }
