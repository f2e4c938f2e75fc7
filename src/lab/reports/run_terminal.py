"""The table of a run, and its slowest and failed traces."""

from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lab.console import milliseconds, plain
from lab.findings import summary
from lab.runs.record import UNFINISHED, Completeness, OperationStats, Record, Trace

SHARE_OF_A_BAD_RUN = 0.01
WIDE = 96
MOST_ROWS = 40
TRACES_SHOWN = 5


def show(console: Console, of_run: Record) -> None:
    """Print a run's numbers: a row for each operation, all of them, and what is missing."""
    began = datetime.fromtimestamp(of_run.period.started, UTC)
    console.print()
    console.print(
        Text.assemble(
            (f"Run {plain(of_run.run_id)}", "bold"),
            f"  {began:%Y-%m-%d %H:%M:%S} UTC, {of_run.period.seconds:,.1f} s",
            (f"  {of_run.verdict}" if of_run.verdict in UNFINISHED else "", "yellow"),
        )
    )
    if not of_run.operations:
        console.print(Text("No request of this run's load was made."))
        return
    console.print(_operations(of_run, _padding(console)))
    console.print()
    console.print(Group(*map(Text, _remarks(of_run))))


def _padding(console: Console) -> tuple[int, int]:
    return (0, 1) if console.width >= WIDE else (0, 0)


def _operations(of_run: Record, padding: tuple[int, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, header_style="bold")
    table.add_column("Operation", overflow="fold")
    for heading in (
        "Requests",
        "Rate\n/s",
        "Client\np95 ms",
        "Server\np95 ms",
        "Database\np95 ms",
        "Failed\n%",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in of_run.operations[:MOST_ROWS]:
        table.add_row(*_cells(row))
    if (more := len(of_run.operations) - MOST_ROWS) > 0:
        table.add_row(f"… and {more:,} more")
    table.add_section()
    table.add_row(*_cells(of_run.total), style="bold")
    return table


def _cells(row: OperationStats) -> list[Text]:
    failed = f"{row.failed_share * 100:.2f}"
    return [
        Text(plain(row.operation)),
        Text(f"{row.requests:,}"),
        Text(f"{row.rate:,.1f}"),
        Text(milliseconds(row.client_p95)),
        Text(milliseconds(row.server_p95)),
        Text(milliseconds(row.database_p95)),
        Text(failed, style="red" if row.failed_share >= SHARE_OF_A_BAD_RUN else ""),
    ]


def _remarks(of_run: Record) -> list[str]:
    completeness = of_run.completeness
    sent = _count(completeness.sent, "request")
    remarks = [f"Completeness: {sent} sent, {completeness.traced:,} traced."]
    if completeness.unanswered:
        remarks.append(f"{_count(completeness.unanswered, 'request')} got no answer at all.")
    remarks += of_run.missing
    if of_run.dropped_iterations:
        remarks.append(
            f"k6 could not start {_count(of_run.dropped_iterations, 'visit')} in time: "
            "every virtual user was busy."
        )
    if slow := summary.slowest_operation(of_run):
        remarks.append(summary.say_slowest(slow))
    if summary.varies(of_run):
        remarks.append(summary.say_knee(of_run))
    return [plain(remark, limit=400) for remark in remarks]


def say_missing(completeness: Completeness) -> list[str]:
    """Say what was lost on the way."""
    lost = []
    if completeness.missing:
        have = "has" if completeness.missing == 1 else "have"
        lost.append(
            f"{completeness.missing:,} of {_count(completeness.sent, 'request')} {have} no stored "
            "span."
        )
    if completeness.missing_rows:
        lost.append(
            f"{_count(completeness.created, 'answer')} promised a row (201), but the database's "
            f"spans show {completeness.rows_written:,} written."
        )
    return lost


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def show_traces(console: Console, title: str, found: list[Trace], began: float) -> None:
    """Print some of a run's traces by id, or that there are none."""
    console.print()
    if not found:
        console.print(Text.assemble((title, "bold"), "  none"))
        return
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=_padding(console), header_style="bold"
    )
    table.add_column(title, no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("Status", justify="right", no_wrap=True)
    table.add_column("At s", justify="right", no_wrap=True)
    table.add_column("Operation", overflow="fold")
    for request in found[:TRACES_SHOWN]:
        table.add_row(
            Text(plain(request.trace_id)),
            Text(milliseconds(request.duration)),
            Text("-" if request.status is None else str(request.status)),
            Text(f"{request.start - began:,.1f}"),
            Text(plain(request.operation)),
        )
    console.print(table)
