"""Write a run as one HTML file that needs nothing else: no network, no script, no Grafana."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from lab.console import clock, duration, milliseconds, percent, plain
from lab.findings.nearest_limit import exceeded_intervals, operation_points
from lab.findings.summary import Findings
from lab.reports import charts, sentences
from lab.reports.charts import Line, milliseconds_line
from lab.reports.waterfall import all_attributes, in_tree_order, time_axis
from lab.runs.record import OperationStats, Record, result_file, write_file

# These keep the file readable and far below a megabyte.
MAX_ROWS = 40
MAX_CHARTS = 20
MAX_SPANS = 200
MIN_SPANS_PER_TRACE = 8
MAX_INTERVALS = 4
# Longer pieces of a path may break anywhere, else one of them could make the table too wide.
MAX_PIECE = 32

VERDICTS = {
    "passed": ("good", "✓ passed"),
    "failed": ("bad", "✗ failed"),
    "aborted": ("warning", "■ aborted"),
    "running": ("warning", "… running"),
    "none": ("warning", "no verdict"),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table, and its chart where there is one."""

    stats: OperationStats
    anchor: str
    chart: Markup
    caption: str


def write(record: Record, findings: Findings) -> Path:
    """Write the report page of a run and return its path."""
    return write_file(result_file(record.run_id, ".html"), render(record, findings).encode())


def render(record: Record, findings: Findings) -> str:
    busiest = sorted(record.operations, key=lambda stats: -stats.requests)
    rows = [stats for stats in record.operations if stats in busiest[:MAX_ROWS]]
    operations = [
        _operation(record, stats, f"operation-{number}", charted=stats in busiest[:MAX_CHARTS])
        for number, stats in enumerate(rows, 1)
    ]
    anchors = {operation.stats.operation: operation.anchor for operation in operations}
    traces = len(record.slowest_traces) + len(record.failed_traces)
    tone, verdict = VERDICTS[record.verdict]
    if failed := sum(not threshold.passed for threshold in record.thresholds):
        verdict += f": {failed} of {len(record.thresholds)} thresholds"
    return template("report.html").render(
        run=record,
        verdict={"tone": tone, "text": verdict},
        running=record.verdict == "running",
        sentences=[
            {"text": sentence.text, "links": _links(sentence, record, findings, anchors)}
            for sentence in sentences.sentences(record, findings)
        ],
        operations=operations,
        more_operations=len(record.operations) - len(rows),
        charts=_charts(record),
        spans_in_order=in_tree_order,
        time_axis=time_axis,
        all_attributes=all_attributes,
        max_spans=max(MIN_SPANS_PER_TRACE, MAX_SPANS // max(1, traces)),
        slowest_ids={trace.trace_id for trace in record.slowest_traces},
        json_name=result_file(record.run_id, ".json").name,
    )


def template(name: str) -> Template:
    """Load a template that escapes every value, with the formatters of the terminal reports."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "clock": clock,
        "count": "{:,}".format,
        "day": lambda at: f"{datetime.fromtimestamp(at, UTC):%A, %d %B %Y, %H:%M:%S} UTC",
        "duration": duration,
        "ms": milliseconds,
        "path": _path,
        "percent": percent,
        "plain": plain,
        "pretty": partial(json.dumps, indent=2),
        "rate": "{:,.1f}".format,
        "threshold_texts": sentences.threshold_texts,
        "verdict_text": sentences.verdict_text,
    }
    return environment.get_template(name)


def _path(operation: str) -> Markup:
    """Let an operation's name break before a slash only, not inside a word."""
    pieces = re.findall(r"[^/\s]+\s?|/[^/\s]*\s?", plain(operation))
    return Markup("<wbr>").join(
        Markup('<span class="nowrap">{}</span>').format(piece)
        if len(piece) <= MAX_PIECE
        else escape(piece)
        for piece in pieces
    )


def _links(
    sentence: sentences.Sentence, record: Record, findings: Findings, anchors: dict[str, str]
) -> list[tuple[str, str]]:
    """Point to where the report page shows what a sentence says: anchors and their texts."""
    if sentence.subject == "saturation":
        return [("time", "over time")]
    if sentence.subject == "failures" and record.failed_traces:
        return [("failed", "failed traces")]
    if sentence.subject != "nearest limit" or not findings.nearest_limit:
        return []
    name = findings.nearest_limit.stats.operation
    links = [(anchors[name], "over time")] if name in anchors else []
    traces = [trace for trace in record.slowest_traces if trace.operation == name]
    return links + [(f"trace-{plain(trace.trace_id)}", "slowest trace") for trace in traces[:1]]


def _operation(record: Record, stats: OperationStats, anchor: str, *, charted: bool) -> Operation:
    points = {point.at: point for point in operation_points(record, stats.operation)}
    if not charted or not points:
        return Operation(stats, anchor, Markup(), "")
    fields = {"client": "p95", "server": "server_p95", "database": "database_p95"}
    values = [points.get(at) for at in record.timeline.at]
    lines = [
        milliseconds_line(side, side, (getattr(point, field, None) for point in values))
        for side, field in fields.items()
    ]
    limit = None if stats.limit_p95 is None else stats.limit_p95 * 1000
    chart = charts.lines(
        stats.operation, at=record.timeline.at, drawn=lines, limit=limit, height=charts.LOW
    )
    return Operation(stats, anchor, chart, _caption(record, stats))


def _caption(record: Record, stats: OperationStats) -> str:
    if stats.limit_p95 is None:
        return ""
    limit = f"limit of {milliseconds(stats.limit_p95)} ms"
    exceeded = exceeded_intervals(record, stats)
    if not exceeded:
        return f"Met its {limit} all the time."
    times = ", ".join(map(sentences.interval_text, exceeded[:MAX_INTERVALS]))
    more = len(exceeded) - MAX_INTERVALS
    return f"Exceeded its {limit}: {times}{f' and {more} more' if more > 0 else ''}."


def _charts(record: Record) -> list[tuple[str, list[tuple[str, str]], Markup]]:
    """Draw the charts of the whole run: title, legend and picture, which is empty without data."""
    timeline = record.timeline
    limit = record.total.limit_p95 and record.total.limit_p95 * 1000

    def chart(
        title: str, *lines: Line, limit: float | None = None, right: Line | None = None
    ) -> tuple[str, list[tuple[str, str]], Markup]:
        svg = charts.lines(title, at=timeline.at, drawn=lines, limit=limit, right=right)
        return title, [(line.name, line.colour) for line in (*lines, right) if line], svg

    failed = timeline.failed_rate if any(timeline.failed_rate) else []
    return [
        chart(
            "Latency p95, ms",
            milliseconds_line("client p95", "client", timeline.client_p95),
            milliseconds_line("server p95", "server", timeline.server_p95),
            milliseconds_line("database p95", "database", timeline.database_p95),
            limit=limit,
        ),
        chart("Latency p50, ms", milliseconds_line("client p50", "client", timeline.client_p50)),
        chart(
            "Load",
            Line("req/s (left)", "client", timeline.rate),
            right=Line("virtual users (right)", "load", timeline.virtual_users),
        ),
        chart("Failed, req/s", Line("failed", "failure", failed)),
        chart(
            "Database connections of the API",
            Line("in use, maximum", "server", timeline.connections_used),
            Line("pool size", "neutral", timeline.connections_allowed),
        ),
        chart(
            "Event-loop delay, ms",
            milliseconds_line("p95 of the API", "server", timeline.event_loop_lag_p95),
        ),
    ]
