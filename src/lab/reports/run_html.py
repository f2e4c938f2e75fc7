"""A run as one HTML file that needs nothing else: no network, no script, no Grafana."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lab.clients.spans import Span
from lab.console import plain
from lab.findings import summary
from lab.reports import charts
from lab.reports.charts import Line
from lab.reports.waterfall import all_attributes, in_tree_order
from lab.runs.record import OperationStats, Record, TimelinePoint, Trace, place, put

# What keeps the page readable, and far below a megabyte.
MOST_ROWS = 40
MOST_CHARTS = 20
MOST_SPANS = 200
LEAST_SPANS = 8
MOST_ATTRIBUTES = 40
LEAST_WIDTH = 0.4
# From here on other programs on the machine are worth a word.
BUSY = 0.2

# What a verdict is called, with a mark beside the colour.
VERDICTS = {
    "passed": ("good", "✓ every threshold held"),
    "failed": ("bad", "✗ thresholds crossed"),
    "aborted": ("warning", "■ broken off"),
    "running": ("warning", "… still on"),
    "none": ("warning", "none"),
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the summary, and where on the page to see it."""

    words: str
    link: str = ""
    of_link: str = "see it over time"
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table, and its chart where there is one."""

    row: OperationStats
    anchor: str
    chart: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the whole run, its legend, and what is said where there is nothing to draw."""

    title: str
    legend: list[tuple[str, str]]
    svg: Markup
    otherwise: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as a bar of a waterfall: places are percent of the trace's time."""

    name: str
    depth: int
    offset: float
    duration: float
    left: float
    width: float
    side: str
    error: bool
    attributes: list[tuple[str, object]]


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The spans of a trace on one axis of time; `more` were left out."""

    spans: list[Bar]
    whole: float
    more: int


def write(run: Record) -> Path:
    """Write the page of a run, and say where."""
    return put(place(run.run_id, ".html"), render(run).encode())


def render(run: Record) -> str:
    """Give the page of a run."""
    shown = sorted(run.operations, key=lambda row: -row.requests)[:MOST_ROWS]
    rows = [row for row in run.operations if row in shown]
    charted = sorted(rows, key=lambda row: -row.requests)[:MOST_CHARTS]
    operations = [
        _operation(run, row, number, drawn=row in charted) for number, row in enumerate(rows)
    ]
    traces = [*run.slowest_traces, *run.failed_traces]
    each = max(LEAST_SPANS, MOST_SPANS // max(1, len(traces)))
    tone, words = VERDICTS[run.verdict]
    if crossed := sum(not threshold.passed for threshold in run.thresholds):
        words += f": {crossed} of {len(run.thresholds)}"
    return template("report.html").render(
        run=run,
        verdict={"tone": tone, "words": words},
        running=run.verdict == "running",
        sentences=_sentences(run, operations),
        operations=operations,
        drawn=[operation for operation in operations if operation.chart],
        more_operations=len(run.operations) - len(rows),
        charts=_charts(run),
        waterfalls={trace.trace_id: _waterfall(trace, each) for trace in traces},
        shown_already={trace.trace_id for trace in run.slowest_traces},
        json_name=place(run.run_id, ".json").name,
    )


def template(name: str) -> Template:
    """Give a template whose every value is escaped, with the project's ways to write numbers."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "clock": _clock,
        "count": "{:,}".format,
        "day": _day,
        "lasting": _lasting,
        "ms": summary.ms,
        "percent": _percent,
        "plain": plain,
        "pretty": partial(json.dumps, indent=2),
        "rate": "{:,.1f}".format,
        "said": summary.say_threshold,
    }
    return environment.get_template(name)


def _percent(share: float, digits: int = 0) -> str:
    return f"{share * 100:.{digits}f} %"


def _clock(seconds: float, digits: int = 0) -> str:
    whole, part = divmod(max(0.0, seconds), 1)
    return summary.clock(whole) + (f"{part:.{digits}f}"[1:] if digits else "")


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%A, %d %B %Y, %H:%M:%S} UTC"


def _lasting(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or f"{seconds:.1f} s"


def _sentences(run: Record, operations: Iterable[Operation]) -> list[Sentence]:
    sentences = []
    anchors = {operation.row.operation: operation.anchor for operation in operations}
    if slow := summary.slowest_operation(run):
        operation = slow.row.operation
        shows = next((t.trace_id for t in run.slowest_traces if t.operation == operation), "")
        sentences.append(
            Sentence(summary.say_slowest(slow), anchors.get(operation, ""), trace=plain(shows))
        )
    if summary.varies(run):
        sentences.append(Sentence(summary.say_knee(run), "time"))
    sentences.append(
        Sentence(
            summary.say_failed(run), "failed" if run.failed_traces else "", "see the failed traces"
        )
    )
    if run.dropped_iterations:
        sentences.append(
            Sentence(
                f"k6 could not start {run.dropped_iterations:,} iterations in time: every virtual "
                "user was busy."
            )
        )
    if run.environment and (run.environment.other_cpu_share or 0) >= BUSY:
        share = _percent(run.environment.other_cpu_share or 0)
        sentences.append(
            Sentence(
                f"Other programs took {share} of the machine meanwhile: it may be slower by them."
            )
        )
    return sentences


def _operation(run: Record, row: OperationStats, number: int, *, drawn: bool) -> Operation:
    points = summary.points_of(run, row.operation) if drawn else []
    by_time = {part.at: part for part in points}
    parts = [by_time.get(at) for at in run.timeline.at]
    sides = [
        Line("client", "client", _ms_of(part.p95 if part else None for part in parts)),
        Line("server", "server", _ms_of(part.server_p95 if part else None for part in parts)),
        Line("database", "database", _ms_of(part.database_p95 if part else None for part in parts)),
    ]
    limit = row.limit_p95 * 1000 if row.limit_p95 else None
    chart = (
        charts.lines(row.operation, at=run.timeline.at, drawn=sides, limit=limit, height=charts.LOW)
        if points
        else Markup()
    )
    return Operation(row, f"operation-{number + 1}", chart, _words(run, row, points))


def _words(run: Record, row: OperationStats, points: Sequence[TimelinePoint]) -> str:
    if row.limit_p95 is None or not points:
        return ""
    allowed = f"{summary.ms(row.limit_p95)} ms"
    outside = summary.stretches(run, row)
    if not outside:
        return f"Never outside its {allowed}."
    times = ", ".join(f"{_clock(start)} to {_clock(end)}" for start, end in outside[:4])
    more = f" and {len(outside) - 4} times more" if len(outside) > 4 else ""  # noqa: PLR2004
    return f"Outside its {allowed} from {times}{more}."


def _charts(run: Record) -> list[Chart]:
    timeline = run.timeline
    p95 = [
        Line("client p95", "client", _ms_of(timeline.client_p95)),
        Line("server p95", "server", _ms_of(timeline.server_p95)),
        Line("database p95", "database", _ms_of(timeline.database_p95)),
    ]
    median = Line("client p50", "client", _ms_of(timeline.client_p50))
    limit = run.total.limit_p95 * 1000 if run.total.limit_p95 else None
    rate = Line("requests a second", "client", timeline.rate)
    users = Line("virtual users", "load", timeline.virtual_users)
    failed = Line("failed a second", "bad", timeline.failed_rate)
    used = Line("in use", "server", timeline.connections_used)
    allowed = Line("allowed", "neutral", timeline.connections_allowed)
    lag = Line("lag p95", "server", _ms_of(timeline.event_loop_lag_p95))
    draw = partial(charts.lines, at=timeline.at)
    nothing = "Nothing was recorded."
    return [
        Chart(
            "Latency, ms",
            [("client p95", "client"), ("server p95", "server"), ("database p95", "database")],
            draw("Latency in ms", drawn=p95, limit=limit),
            nothing,
        ),
        Chart(
            "Median latency, ms",
            [("client p50", "client")],
            draw("Median latency in ms", drawn=[median]),
            nothing,
        ),
        Chart(
            "Load",
            [("requests a second, left", "client"), ("virtual users, right", "load")],
            draw("Load", drawn=[rate], right=users),
            nothing,
        ),
        Chart(
            "Failed requests a second",
            [("failed", "failure")] if any(timeline.failed_rate) else [],
            draw("Failed requests", drawn=[failed]) if any(timeline.failed_rate) else Markup(),
            "No request failed.",
        ),
        Chart(
            "Connections of the pool",
            [("in use, at the most", "server"), ("allowed", "neutral")],
            draw("Connections", drawn=[used, allowed]),
            nothing,
        ),
        Chart(
            "Event-loop lag, ms",
            [("p95 of the API's wake-ups that came too late", "server")],
            draw("Event-loop lag in ms", drawn=[lag]),
            nothing,
        ),
    ]


def _ms_of(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else value * 1000 for value in values]


def _waterfall(trace: Trace, most: int) -> Waterfall:
    if not trace.spans:
        return Waterfall([], 0, 0)
    began = min(span.start for span in trace.spans)
    whole = max(span.start + span.duration for span in trace.spans) - began
    order = list(in_tree_order(trace.spans))
    bars = [_bar(span, depth, began, whole) for depth, span in order[:most]]
    return Waterfall(bars, whole, len(order) - len(bars))


def _bar(span: Span, depth: int, began: float, whole: float) -> Bar:
    left = 100 * (span.start - began) / whole if whole > 0 else 0.0
    width = 100 * span.duration / whole if whole > 0 else 100.0
    side = "database" if span.kind == "client" else "server"
    return Bar(
        span.name,
        min(depth, 10),
        span.start - began,
        span.duration,
        min(left, 100 - LEAST_WIDTH),
        max(width, LEAST_WIDTH),
        "failure" if span.error else side,
        span.error,
        list(all_attributes(span))[:MOST_ATTRIBUTES],
    )
