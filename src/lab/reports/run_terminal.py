"""Print a run: its operations, what they show, and its slowest and failed traces."""

from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import milliseconds, plain, wrap_path
from lab.findings.summary import Findings
from lab.reports import sentences
from lab.runs.record import OperationStats, Record, Verdict

WIDE_TERMINAL = 96
# The columns of numbers together.
WIDE_NUMBERS, NARROW_NUMBERS = 59, 45
MAX_ROWS = 40
TRACES_IN_TERMINAL = 5
NUMBERS = (
    "Requests",
    "Rate\nreq/s",
    "Client\np95 ms",
    "Server\np95 ms",
    "Database\np95 ms",
    "Failed\n%",
)
VERDICT_STYLES: dict[Verdict, str] = {
    "passed": "green",
    "failed": "red",
    "aborted": "yellow",
    "running": "cyan",
    "none": "",
}


def show(console: Console, record: Record, findings: Findings) -> None:
    """Print a run's numbers and what they show, all but its traces."""
    began = datetime.fromtimestamp(record.period.started, UTC)
    console.print()
    console.print(
        Text.assemble(
            (f"Run {plain(record.run_id)}", "bold"),
            f"  {began:%Y-%m-%d %H:%M:%S} UTC, {record.period.seconds:,.1f} s  ",
            (sentences.verdict_text(record.verdict), VERDICT_STYLES[record.verdict]),
        )
    )
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
    console.print()
    texts = [
        sentences.completeness_text(record.completeness),
        *record.missing,
        *(sentence.text for sentence in sentences.sentences(record, findings)),
    ]
    for text in texts:
        console.print(Text(plain(text, limit=400)))


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
    """Make a table in which only the column of operations may wrap."""
    padding = (0, 1) if console.width >= WIDE_TERMINAL else (0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, header_style="bold")
    for heading in (first, *headings):
        if heading == "Operation":
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
