"""The charts of a run's report page."""

from dataclasses import dataclass

from markupsafe import Markup

from lab.console import milliseconds
from lab.findings.names import PARTS, RESOURCES
from lab.findings.nearest_limit import Interval, exceeded_intervals, operation_points
from lab.reports import charts, heatmap, sentences
from lab.reports.charts import Line, milliseconds_line
from lab.reports.resource_text import MEBI
from lab.runs.record import OperationStats, PartName, Record, ResourceName, Timeline

MAX_INTERVALS = 4
RESOURCE_COLOURS: dict[ResourceName, str] = {
    "api": "server",
    "postgresql": "database",
    "k6": "client",
    "machine": "neutral",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its title, and the names and colours of what it draws."""

    title: str
    legend: list[tuple[str, str]]
    svg: Markup
    note: str = ""


def draw_run(record: Record, parts: list[PartName]) -> list[Chart]:
    """Draw the charts of the whole run, without those of which nothing is known.

    `parts` are the parts of the requests' time to show.
    """
    timeline = record.timeline
    limit = record.total.limit_p95 and record.total.limit_p95 * 1000
    users = Line("virtual users", "load", timeline.virtual_users, digits=0)
    rate = Line("requests", "client", timeline.rate, "req/s")
    failed = timeline.failed_rate if any(timeline.failed_rate) else []
    drawn = [
        _lines(
            "Client latency, ms",
            timeline,
            milliseconds_line("p50", "p50", timeline.client_p50),
            milliseconds_line("p90", "p90", timeline.client_p90),
            milliseconds_line("p95", "p95", timeline.client_p95),
            milliseconds_line("p99", "p99", timeline.client_p99),
            limit=limit,
        ),
        _lines(
            "p95 by side, ms",
            timeline,
            milliseconds_line("client p95", "client", timeline.client_p95),
            milliseconds_line("server p95", "server", timeline.server_p95),
            milliseconds_line("database span p95", "database", timeline.database_p95),
            limit=limit,
        ),
        _parts(timeline, parts),
        _heatmap(record, limit),
        _lines("Load, req/s", timeline, rate, right=users),
        _latency_by_throughput(timeline, rate, limit),
        _lines("Failed, req/s", timeline, Line("failed", "bad", failed, "req/s", digits=2)),
        _lines("CPU, cores", timeline, *_resources(timeline.cpu, 1.0, unit="cores", digits=2)),
        _lines(
            "Memory, MiB",
            timeline,
            *_resources(_of_programs(timeline.memory), MEBI, unit="MiB", digits=0),
        ),
        _lines(
            "Database connections of the API",
            timeline,
            Line("in use, maximum", "server", timeline.connections_used, digits=0),
            Line("pool size", "neutral", timeline.connections_allowed, digits=0),
        ),
        _lines(
            "Event-loop delay, ms",
            timeline,
            milliseconds_line("p95 of the API", "server", timeline.event_loop_lag_p95),
        ),
    ]
    return [chart for chart in drawn if chart.svg]


def draw_operation(record: Record, stats: OperationStats) -> Chart | None:
    """Draw an operation's p95 on each side; None if nothing of it is known over time."""
    points = {point.at: point for point in operation_points(record, stats.operation)}
    if not points:
        return None
    fields = {"client": "p95", "server": "server_p95", "database": "database_p95"}
    values = [points.get(at) for at in record.timeline.at]
    lines = [
        milliseconds_line(side, side, (getattr(point, field, None) for point in values))
        for side, field in fields.items()
    ]
    limit = None if stats.limit_p95 is None else stats.limit_p95 * 1000
    svg = charts.lines(
        stats.operation, at=record.timeline.at, drawn=lines, limit=limit, height=charts.LOW
    )
    return Chart(stats.operation, [], svg, _limit_note(record, stats))


def intervals_text(intervals: list[Interval], most: int = MAX_INTERVALS) -> str:
    """List intervals: `0:10-0:20, 0:35-1:00`."""
    times = ", ".join(map(sentences.interval_text, intervals[:most]))
    more = len(intervals) - most
    return f"{times}{f' and {more} more' if more > 0 else ''}"


def _limit_note(record: Record, stats: OperationStats) -> str:
    if stats.limit_p95 is None:
        return ""
    limit = f"limit of {milliseconds(stats.limit_p95)} ms"
    times = intervals_text(exceeded_intervals(record, stats))
    return f"Exceeded its {limit}: {times}." if times else f"Met its {limit} all the time."


def _lines(
    title: str,
    timeline: Timeline,
    *drawn: Line,
    limit: float | None = None,
    right: Line | None = None,
) -> Chart:
    known = [line for line in (*drawn, right) if line and any(v is not None for v in line.values)]
    legend = [
        (f"{line.name} (right)" if line is right else line.name, line.colour) for line in known
    ]
    svg = charts.lines(title, at=timeline.at, drawn=drawn, limit=limit, right=right)
    return Chart(title, legend, svg)


def _parts(timeline: Timeline, parts: list[PartName]) -> Chart:
    title = "Mean request by where its time goes, ms"
    drawn = [
        milliseconds_line(PARTS[part][0], part, values)
        for part in parts
        if (values := timeline.parts.get(part))
    ]
    svg = charts.stack(title, at=timeline.at, drawn=drawn)
    return Chart(title, [(line.name, line.colour) for line in drawn], svg)


def _heatmap(record: Record, limit: float | None) -> Chart:
    title = "Requests by duration, ms"
    if record.heatmap is None:
        return Chart(title, [], Markup())
    svg = heatmap.draw(title, at=record.timeline.at, heatmap=record.heatmap, limit=limit)
    return Chart(title, [("the stronger the colour, the more requests", "client")], svg)


def _latency_by_throughput(timeline: Timeline, rate: Line, limit: float | None) -> Chart:
    title = "Client p95, ms, by throughput, req/s"
    p95 = milliseconds_line("p95", "client", timeline.client_p95)
    svg = charts.path(title, at=timeline.at, x=rate, y=p95, limit=limit)
    return Chart(title, [("one interval, connected in time", "client")], svg)


def _of_programs(
    values: dict[ResourceName, list[float | None]],
) -> dict[ResourceName, list[float | None]]:
    """Leave out the machine, which has so much that its programs would seem to use none."""
    return {name: one for name, one in values.items() if name != "machine"}


def _resources(
    values: dict[ResourceName, list[float | None]], divisor: float, *, unit: str, digits: int
) -> list[Line]:
    return [
        Line(
            RESOURCES[name],
            RESOURCE_COLOURS[name],
            [None if value is None else value / divisor for value in values[name]],
            unit,
            digits,
        )
        for name in RESOURCE_COLOURS
        if name in values
    ]
