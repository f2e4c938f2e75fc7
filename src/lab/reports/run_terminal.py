"""Print a run: its operations, what they show, and its slowest and failed traces."""

from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import milliseconds, plain, wrap_path
from lab.findings.names import VERDICTS, Tone, verdict_text
from lab.findings.summary import Findings
from lab.reports import resource_text, sentences
from lab.reports.bottleneck_text import shown_parts
from lab.reports.failure_text import reason, sqlstate
from lab.runs.record import OperationStats, PartName, Record

WIDE_TERMINAL = 96
# The columns of numbers together.
WIDE_NUMBERS, NARROW_NUMBERS = 59, 45
WIDE_PARTS, NARROW_PARTS = 72, 56
MAX_ROWS = 40
TRACES_IN_TERMINAL = 5
# All but the columns of operations and reasons.
ERROR_COLUMNS = 30
MAX_ERRORS = 10
NUMBERS = (
    "Requests",
    "Rate\nreq/s",
    "Client\np95 ms",
    "Server\np95 ms",
    "Database\nspan p95",
    "Failed\n%",
)
# The parts of a request's time, and their headings in a terminal.
PARTS: dict[PartName, str] = {
    "generator": "\nk6",
    "network": "Net-\nwork",
    "api_working": "API\nCPU",
    "api_event_loop": "Event\nloop",
    "api_pool": "\nPool",
    "postgresql_executing": "Exe-\ncuting",
    "postgresql_locks": "\nLocks",
    "postgresql_commit": "Com-\nmit",
    "unknown": "Un-\nknown",
}
TONES: dict[Tone, str] = {"good": "green", "bad": "red", "warning": "yellow", "neutral": ""}


def show(console: Console, record: Record, findings: Findings) -> None:
    """Print a run's numbers and what they show, all but its traces."""
    began = datetime.fromtimestamp(record.period.started, UTC)
    console.print()
    console.print(
        Text.assemble(
            (f"Run {plain(record.name or record.run_id)}", "bold"),
            f" ({plain(record.run_id)})" if record.name else "",
            f"  {began:%Y-%m-%d %H:%M:%S} UTC, {record.period.seconds:,.1f} s  ",
            (
                sentences.part_text(record.part)
                if record.part
                else verdict_text(record.verdict, record.verdict_reason),
                TONES[VERDICTS[record.verdict].tone],
            ),
        )
    )
    if record.note:
        console.print(Text(f"Note: {plain(record.note)}"))
    if not record.operations:
        console.print(Text("The run sent no requests."))
        return
    table = _table(console, "Operation", *NUMBERS)
    width = console.width - (WIDE_NUMBERS if console.width >= WIDE_TERMINAL else NARROW_NUMBERS)
    for stats in record.operations[:MAX_ROWS]:
        table.add_row(*_cells(stats, width))
    if (more := len(record.operations) - MAX_ROWS) > 0:
        table.add_row(f"… and {more:,} more")
    table.add_section()
    table.add_row(*_cells(record.total, width), style="bold")
    console.print(table)
    if record.total.time_shares:
        console.print()
        _show_parts(console, record)
    console.print()
    for sentence in sentences.sentences(record, findings):
        style = TONES["bad"] if sentence.subject == "threshold" else ""
        console.print(Text(plain(sentence.text, limit=sentences.MAX_SENTENCE), style=style))
    completeness = sentences.completeness_text(record.completeness, part=bool(record.part))
    for text in (*resource_text.texts(record), completeness, *record.missing):
        console.print(Text(plain(text, limit=sentences.MAX_SENTENCE)))


def show_errors(console: Console, record: Record) -> None:
    """Print what failed and why, the most frequent first."""
    if not record.errors and not record.database_errors:
        return
    console.print()
    table = _table(console, "Errors", "Count", "Operation", "Reason")
    rows = [(error.kind, error.count, error.operation, reason(error)) for error in record.errors]
    rows += [
        ("database", error.count, error.operation, sqlstate(error.sqlstate))
        for error in record.database_errors
    ]
    width = console.width - ERROR_COLUMNS
    for kind, count, operation, text in rows[:MAX_ERRORS]:
        table.add_row(
            Text(plain(kind)),
            Text(f"{count:,}"),
            Text(wrap_path(plain(operation), width // 2)),
            Text(plain(text)),
        )
    if (more := len(rows) - MAX_ERRORS) > 0:
        table.add_row(f"… and {more:,} more")
    console.print(table)


def _show_parts(console: Console, record: Record) -> None:
    """Print where the time of each operation's mean request went."""
    rows = [*record.operations[:MAX_ROWS], record.total]
    parts = shown_parts(rows)
    width = console.width - (WIDE_PARTS if console.width >= WIDE_TERMINAL else NARROW_PARTS)
    headings = ("All\nms", *(PARTS[part] for part in parts))
    table = _table(console, "Where the time goes:\nms of the mean request", *headings)
    for stats in rows:
        if stats is record.total:
            table.add_section()
        table.add_row(
            Text(wrap_path(plain(stats.operation), width)),
            Text(milliseconds(stats.client_mean)),
            *(Text(milliseconds(_part_seconds(stats, part))) for part in parts),
            style="bold" if stats is record.total else "",
        )
    console.print(table)


def _part_seconds(stats: OperationStats, part: PartName) -> float | None:
    share = stats.time_shares.get(part)
    return None if share is None or stats.client_mean is None else share * stats.client_mean


def show_traces(console: Console, record: Record) -> None:
    """Print the ids of a run's slowest and failed traces, if there are any."""
    if not record.slowest_traces:
        return
    for title, traces in (
        ("Slowest traces", record.slowest_traces),
        ("Failed traces", record.failed_traces),
    ):
        console.print()
        if not traces:
            console.print(Text.assemble((title, "bold"), "  none"))
            continue
        table = _table(console, title, "ms", "Status", "At s", "Operation")
        for trace in traces[:TRACES_IN_TERMINAL]:
            table.add_row(
                Text(plain(trace.trace_id)),
                Text(milliseconds(trace.duration)),
                Text("-" if trace.status is None else str(trace.status)),
                Text(f"{trace.start - record.period.started:,.1f}"),
                Text(plain(trace.operation)),
            )
        console.print(table)
    console.print(Text("`just trace ID` prints one as a waterfall."))


def _table(console: Console, first: str, *headings: str) -> Table:
    """Make a table in which only the columns of words may wrap."""
    padding = (0, 1) if console.width >= WIDE_TERMINAL else (0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, header_style="bold")
    for heading in (first, *headings):
        if heading in {"Operation", "Reason"}:
            table.add_column(heading, overflow="fold")
        elif heading == first:
            table.add_column(heading, no_wrap=True)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(stats: OperationStats, width: int) -> list[Text]:
    failed = f"{stats.failed_share * 100:.2f}"
    limit = stats.limit_failed_share
    exceeded = limit is not None and stats.failed_share >= limit
    return [
        Text(wrap_path(plain(stats.operation), width)),
        Text(f"{stats.requests:,}"),
        Text(f"{stats.rate:,.1f}"),
        Text(milliseconds(stats.client_p95)),
        Text(milliseconds(stats.server_p95)),
        Text(milliseconds(stats.database_p95)),
        Text(failed, style="red" if exceeded else ""),
    ]
