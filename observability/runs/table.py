"""The table of a run, and its slowest and failed traces."""

from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from observability.runs.numbers import Numbers
from observability.runs.record import Row
from observability.runs.terminal import milliseconds, plain
from observability.runs.traces import Found

SHARE_OF_A_BAD_RUN = 0.01
WIDE = 96


def show(console: Console, numbers: Numbers) -> None:
    """Print a run's numbers: a row for each operation, all of them, and what is missing."""
    began = datetime.fromtimestamp(numbers.period.started, UTC)
    console.print()
    console.print(
        Text.assemble(
            (f"Run {plain(numbers.run)}", "bold"),
            f"  {began:%Y-%m-%d %H:%M:%S} UTC, {numbers.period.seconds:,.1f} s",
        )
    )
    if not numbers.rows:
        console.print(Text("No request of this run's load was made."))
        return
    console.print(_operations(numbers, _padding(console)))
    console.print()
    console.print(Group(*map(Text, _remarks(numbers))))


def _padding(console: Console) -> tuple[int, int]:
    return (0, 1) if console.width >= WIDE else (0, 0)


def _operations(numbers: Numbers, padding: tuple[int, int]) -> Table:
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
    for row in numbers.rows:
        table.add_row(*_cells(row))
    table.add_section()
    table.add_row(*_cells(numbers.total), style="bold")
    return table


def _cells(row: Row) -> list[Text]:
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


def _remarks(numbers: Numbers) -> list[str]:
    ledger = numbers.ledger
    remarks = [f"Ledger: {_count(ledger.sent, 'request')} sent, {ledger.traced:,} traced."]
    if ledger.unanswered:
        remarks.append(f"{_count(ledger.unanswered, 'request')} got no answer at all.")
    if ledger.missing:
        have = "has" if ledger.missing == 1 else "have"
        remarks.append(
            f"{ledger.missing:,} of {_count(ledger.sent, 'request')} {have} no stored span."
        )
    if numbers.dropped_iterations:
        remarks.append(
            f"k6 could not start {_count(numbers.dropped_iterations, 'visit')} in time: "
            "every virtual user was busy."
        )
    return remarks


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def show_traces(console: Console, title: str, found: list[Found], began: float) -> None:
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
    for request in found:
        table.add_row(
            Text(plain(request.trace_id)),
            Text(milliseconds(request.duration)),
            Text("-" if request.status is None else str(request.status)),
            Text(f"{request.start - began:,.1f}"),
            Text(plain(request.operation)),
        )
    console.print(table)
