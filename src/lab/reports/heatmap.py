"""Draw how many requests took how long over a run's time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lab.console import clock
from lab.reports import vega
from lab.runs.record import Heatmap

# Each column takes space in the file: more intervals are drawn with several in one column.
MAX_COLUMNS = 60
# A bucket with one request among thousands is still seen.
MIN_OPACITY = 0.15
# Shorter durations, such as those of requests that were never sent, count as 0.12 ms: this bucket.
LOWEST = -26
# Round durations in milliseconds, to mark the axis with.
TICKS = tuple(step * 10.0**power for power in range(-1, 6) for step in (1, 3))
MAX_TICKS = 6


@dataclass(frozen=True, slots=True)
class Column:
    """The requests of one or more intervals, by bucket."""

    start: float
    end: float
    counts: list[int]


def draw(
    title: str, *, at: Sequence[float], heatmap: Heatmap, limit: float | None = None
) -> Markup:
    """Draw a heatmap with a limit in milliseconds; empty without requests."""
    heatmap = _without_shortest(heatmap)
    columns = _columns(at, heatmap)
    most = max((count for column in columns for count in column.counts), default=0)
    if not most:
        return Markup()
    used = [
        i for i, counts in enumerate(zip(*(c.counts for c in columns), strict=True)) if any(counts)
    ]
    first, last = used[0], used[-1]
    edges = [1000 * 2 ** ((heatmap.first + i - 1) / 2) for i in range(last + 2)]
    cells = [
        {
            "start": column.start,
            "end": column.end,
            "low": edges[i],
            "high": edges[i + 1],
            "opacity": MIN_OPACITY + (1 - MIN_OPACITY) * math.sqrt(column.counts[i] / most),
        }
        for column in columns
        for i in range(first, last + 1)
        if column.counts[i]
    ]
    layers = [
        {
            "data": {"values": cells},
            "mark": {"type": "rect", "color": "var(--client)"},
            "encoding": {
                **vega.extent("x", "start", "end"),
                **vega.extent("y", "low", "high"),
                "opacity": vega.field("opacity") | {"scale": None},
            },
        }
    ]
    low, high = edges[first], edges[last + 1]
    if limit is not None and low <= limit <= high:
        layers.append(vega.rule(limit, "bad"))
    texts = [_text(column, edges) for column in columns]
    layers.append(vega.moments([0.0, *(column.end for column in columns)], texts))
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes = {
        "x": vega.time_axis(at[-1]),
        "y": {
            "type": "quantitative",
            "scale": {"type": "log", "domain": [low, high], "nice": False},
            "axis": {
                "values": ticks[:: math.ceil(len(ticks) / MAX_TICKS) or 1],
                "labelExpr": "format(datum.value, ',')",
                "grid": False,
                "domain": False,
                "minExtent": 34,
            },
        },
    }
    return vega.svg({"layer": layers, "encoding": axes}, title, colours=["client"])


def _without_shortest(heatmap: Heatmap) -> Heatmap:
    """Merge the buckets below the lowest that is drawn into it."""
    below = LOWEST - heatmap.first
    if below <= 0:
        return heatmap
    counts = [[sum(one[: below + 1]), *one[below + 1 :]] for one in heatmap.counts]
    return Heatmap(first=LOWEST, counts=counts)


def _columns(at: Sequence[float], heatmap: Heatmap) -> list[Column]:
    intervals = list(zip([0.0, *at], at, heatmap.counts, strict=False))
    size = max(1, math.ceil(len(intervals) / MAX_COLUMNS))
    buckets = max((len(counts) for counts in heatmap.counts), default=0)
    return [
        Column(
            start=group[0][0],
            end=group[-1][1],
            counts=[
                sum(counts[i] for _, _, counts in group if i < len(counts)) for i in range(buckets)
            ],
        )
        for i in range(0, len(intervals), size)
        if (group := intervals[i : i + size])
    ]


def _text(column: Column, edges: Sequence[float]) -> str:
    """List the requests of a column, the slowest first."""
    rows = [
        f"{_edge_text(edges[i])}-{_edge_text(edges[i + 1])} ms: {count:,}"
        for i, count in enumerate(column.counts)
        if count
    ]
    return "\n".join([f"{clock(column.start)}-{clock(column.end)}, requests", *reversed(rows)])


def _edge_text(value: float) -> str:
    return vega.number_text(value, digits=1 if value >= 1 else 2)
