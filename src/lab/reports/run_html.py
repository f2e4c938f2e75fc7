"""Write a run as one HTML file that needs nothing else: no network, no Grafana."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from lab.clients.spans import Trace
from lab.findings.limits import ALL_REQUESTS, Limit, find_limits
from lab.findings.names import (
    ERROR_KINDS,
    K6_ERRORS,
    PARTS,
    RESOURCES,
    SQLSTATES,
    VERDICTS,
)
from lab.findings.nearest_limit import (
    all_exceeded_intervals,
    exceeded_intervals,
    failed_intervals,
)
from lab.findings.summary import Findings
from lab.reports import resource_text, run_charts, sentences
from lab.reports.bottleneck_text import DATABASE_PARTS, shown_parts
from lab.reports.page import template
from lab.reports.run_charts import Chart
from lab.reports.waterfall import all_attributes, in_tree_order, side, time_axis, title
from lab.runs.record import (
    CauseName,
    DatabaseError,
    ErrorCount,
    OperationStats,
    Record,
    write_file,
)

# These keep the file readable and far below a megabyte.
MAX_ROWS = 40
MAX_CHARTS = 12
MAX_SPANS = 200
MIN_SPANS_PER_TRACE = 8
MAX_EXCEEDED = 8
# How many of the slowest and of the failed traces are printed.
PRINTED_SLOWEST, PRINTED_FAILED = 4, 2
# The columns of the table of durations; those of which nothing is known are left out.
DURATIONS = {
    "Min": "client_min",
    "Mean": "client_mean",
    "p50": "client_p50",
    "p90": "client_p90",
    "p95": "client_p95",
    "p99": "client_p99",
    "Max": "client_max",
    "Server p95": "server_p95",
    "Database span p95": "database_p95",
}
# The span whose duration shows a cause; the others show in the whole trace.
WAIT_FOR_CONNECTION = "connection wait"
# The metric of the script that counts failed checks.
ERRORS = "errors"
# Where the page shows what sentences about these subjects say.
SECTIONS = {
    "other bottleneck": ("parts", "where the time goes"),
    "saturation": ("time", "over time"),
}

Links = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the tables, and its chart where there is one."""

    stats: OperationStats
    anchor: str
    chart: Chart | None


def write(record: Record, findings: Findings) -> Path:
    """Write the report page of a run and return its path."""
    return write_file(record.file(".html"), render(record, findings).encode())


def render(record: Record, findings: Findings) -> str:
    busiest = sorted(record.operations, key=lambda stats: -stats.requests)
    rows = sorted(busiest[:MAX_ROWS], key=lambda stats: -_worst_ratio(stats))
    operations = [
        Operation(
            stats,
            f"operation-{number}",
            run_charts.draw_operation(record, stats) if stats in busiest[:MAX_CHARTS] else None,
        )
        for number, stats in enumerate(rows, 1)
    ]
    anchors = {
        operation.stats.operation: operation.anchor for operation in operations if operation.chart
    }
    limits = find_limits(record)
    exceeded = [limit for limit in limits if not limit.met]
    all_rows = [*rows, record.total]
    parts = shown_parts(all_rows)
    traces = len(record.slowest_traces) + len(record.failed_traces)
    return template("report.html").render(
        run=record,
        verdict={
            "tone": VERDICTS[record.verdict].tone,
            "text": sentences.verdict_sentence(record).removesuffix("."),
        },
        running=record.verdict == "running",
        exceeded=[
            (limit, _when(record, limit), _limit_anchor(record, limit, anchors))
            for limit in exceeded[:MAX_EXCEEDED]
        ],
        more_exceeded=len(exceeded) - MAX_EXCEEDED,
        sentences=[
            {
                "text": sentence.text,
                "subject": sentence.subject,
                "links": _links(sentence, record, findings, anchors),
            }
            for sentence in sentences.sentences(record, findings)
        ],
        limits=limits if record.thresholds else [],
        operations=operations,
        more_operations=len(record.operations) - len(rows),
        durations={
            heading: field
            for heading, field in DURATIONS.items()
            if any(getattr(stats, field) is not None for stats in all_rows)
        },
        charts=run_charts.draw_run(record, parts),
        parts=[(part, PARTS[part][0]) for part in parts],
        parts_legend=[(PARTS[part][0], part) for part in parts],
        errors=[(error, _failed_trace(record, error)) for error in record.errors[:MAX_ROWS]],
        database_errors=[
            (error, _refused_trace(record, error)) for error in record.database_errors[:MAX_ROWS]
        ],
        error_kinds=ERROR_KINDS,
        k6_errors=K6_ERRORS,
        sqlstates=SQLSTATES,
        resources=RESOURCES,
        resources_missing=resource_text.missing_texts(record),
        spans_in_order=in_tree_order,
        time_axis=time_axis,
        span_side=side,
        wait_for_connection=WAIT_FOR_CONNECTION,
        span_title=title,
        all_attributes=all_attributes,
        max_spans=max(MIN_SPANS_PER_TRACE, MAX_SPANS // max(1, traces)),
        max_rows=MAX_ROWS,
        slowest_keys={trace.key for trace in record.slowest_traces},
        printed=_printed(record),
        json_name=record.file(".json").name,
        json_link=f"./{quote(record.file('.json').name)}",
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _when(record: Record, limit: Limit) -> str:
    """Tell when a limit was exceeded, or when requests failed; empty if that is not known.

    The timeline counts the failed requests of all operations together.
    """
    if limit.quantity == "failed" or limit.subject == ERRORS:
        failing = [row.operation for row in record.operations if row.failed_share]
        others = limit.subject not in {ERRORS, ALL_REQUESTS} and failing != [limit.subject]
        times = run_charts.intervals_text(failed_intervals(record), most=2)
        return f"{times} (failures of all operations)" if times and others else times
    if limit.quantity != "p95":
        return ""
    if limit.subject == ALL_REQUESTS:
        return run_charts.intervals_text(all_exceeded_intervals(record), most=2)
    stats = next((row for row in record.operations if row.operation == limit.subject), None)
    return run_charts.intervals_text(exceeded_intervals(record, stats), most=2) if stats else ""


def _limit_anchor(record: Record, limit: Limit, anchors: dict[str, str]) -> str | None:
    """Find what shows how a limit was exceeded: the errors, or the chart of the operation."""
    if limit.quantity == "failed" or limit.subject == ERRORS:
        return next((anchor for anchor, _ in _failure_links(record)), None)
    return anchors.get(limit.subject)


def _worst_ratio(stats: OperationStats) -> float:
    """Return how near an operation came to one of its limits: 1 is at the limit."""
    p95 = (stats.client_p95 or 0.0) / stats.limit_p95 if stats.limit_p95 else 0.0
    failed = stats.failed_share / stats.limit_failed_share if stats.limit_failed_share else 0.0
    return max(p95, failed)


def _printed(record: Record) -> set[str]:
    """Choose the traces to print: that which shows the bottleneck, then the first ones."""
    slowest = [trace.key for trace in record.slowest_traces]
    failed = [trace.key for trace in record.failed_traces if trace.key not in slowest]
    best = _bottleneck_trace(record)
    first = [best.key] if best else []
    chosen = [*first, *(key for key in slowest if key not in first)][:PRINTED_SLOWEST]
    return {*chosen, *failed[:PRINTED_FAILED]}


def _links(
    sentence: sentences.Sentence, record: Record, findings: Findings, anchors: dict[str, str]
) -> Links:
    """Point to where the report page shows what a sentence says: anchors and their texts."""
    if sentence.subject == "bottleneck":
        return _bottleneck_links(record)
    if sentence.subject == "failures":
        return _failure_links(record)
    if sentence.subject in SECTIONS:
        return [SECTIONS[sentence.subject]]
    if sentence.subject != "nearest limit" or not findings.nearest_limit:
        return []
    name = findings.nearest_limit.stats.operation
    links = [(anchors[name], "over time")] if name in anchors else []
    traces = [trace for trace in record.slowest_traces if trace.operation == name]
    return links + [(trace_anchor(trace), "slowest trace") for trace in traces[:1]]


def _bottleneck_links(record: Record) -> Links:
    """Point to the shares, and to the trace that shows the bottleneck best."""
    best = _bottleneck_trace(record)
    shown = [(trace_anchor(best), "a trace that shows it")] if best else []
    return [("parts", "where the time goes"), *shown]


def _bottleneck_trace(record: Record) -> Trace | None:
    """Find the trace of the bottleneck's operations in which its cause took longest."""
    names = record.bottleneck.operations
    traces = [trace for trace in record.slowest_traces if trace.operation in names]
    return max(traces, key=lambda trace: _seconds_of(record.bottleneck.cause, trace), default=None)


def _failure_links(record: Record) -> Links:
    if record.errors or record.database_errors:
        return [("errors", "errors")]
    return [("failed", "failed traces")] if record.failed_traces else []


def _seconds_of(cause: CauseName, trace: Trace) -> float:
    """Measure how long a cause took in a trace, or the whole trace if no span tells."""
    if cause == "pool":
        return sum(span.duration for span in trace.spans if span.name == WAIT_FOR_CONNECTION)
    if cause in DATABASE_PARTS:
        return sum(span.duration for span in trace.spans if side(span) == "database")
    return trace.duration


def trace_anchor(trace: Trace) -> str:
    return f"trace-{trace.key}"


def _failed_trace(record: Record, error: ErrorCount) -> str | None:
    """Find a failed trace with this error's operation and status."""
    return next(
        (
            trace_anchor(trace)
            for trace in record.failed_traces
            if trace.operation == error.operation and trace.status == error.status
        ),
        None,
    )


def _refused_trace(record: Record, error: DatabaseError) -> str | None:
    """Find a failed trace in which PostgreSQL refused a statement for this reason."""
    return next(
        (
            trace_anchor(trace)
            for trace in record.failed_traces
            if trace.operation == error.operation
            and any(
                span.attributes.get("db.response.status_code") == error.sqlstate
                for span in trace.spans
            )
        ),
        None,
    )
