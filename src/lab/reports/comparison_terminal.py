"""The table of two runs beside each other."""

from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import milliseconds, plain
from lab.findings.comparison import COLUMNS, Change, Column, Comparison, Direction, Line
from lab.runs.record import Record

WIDE = 110
BOUNDLESS = 10.0
STYLES: dict[Direction, str] = {"worse": "red", "better": "green", "equal": "dim", "unknown": ""}
ARROWS: dict[Direction, str] = {"worse": "▲", "better": "▼", "equal": "≈", "unknown": " "}


def show(console: Console, comparison: Comparison) -> None:
    """Print both runs' numbers, an operation after the other, and which got worse."""
    console.print()
    for name, run in (("A", comparison.before), ("B", comparison.after)):
        console.print(Text.assemble((f"{name}  {plain(run.run_id)}", "bold"), f"  {_what(run)}"))
    console.print()
    console.print(_table(comparison, wide=console.width >= WIDE))
    console.print(Text(f"\n{comparison.sentence}", style="bold"))
    console.print(
        Text(
            "A → B in ms, the difference, and how much of it noise could make. All: the mean of\n"
            "the operations' differences. Worse, better or equal is what the clients' p50, p95\n"
            "and failed share say beyond the noise, a tail by a millisecond at the least. The\n"
            "rest says where it comes from."
        )
    )


def _what(run: Record) -> str:
    began = datetime.fromtimestamp(run.period.started, UTC)
    words = (run.profile, run.journey, f"{run.period.seconds:,.0f} s", run.verdict)
    return f"{began:%Y-%m-%d %H:%M:%S} UTC, {plain(', '.join(filter(None, words)))}"


def _table(comparison: Comparison, *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Operation", overflow="fold")
    table.add_column("Requests", justify="right", no_wrap=True)
    columns = [column for column in COLUMNS if wide or column.judged]
    for column in columns:
        table.add_column(column.name.replace(" ", "\n").capitalize(), justify="right", no_wrap=True)
    table.add_column("Failed\n%", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in comparison.lines:
        table.add_row(*_cells(line, columns))
    table.add_section()
    table.add_row(*_cells(comparison.total, columns), style="bold")
    return table


def _cells(line: Line, columns: list[Column]) -> list[Text]:
    before, after = line.requests
    return [
        Text(plain(line.operation)),
        Text(f"{before:,}\n{after:,}" if before != after else f"{after:,}"),
        *(_seconds(line.seconds[column.name], exact=column.judged) for column in columns),
        _failed(line.failed),
        Text("" if line.direction == "unknown" else line.direction, style=STYLES[line.direction]),
    ]


def _seconds(change: Change, *, exact: bool) -> Text:
    if change.before is None and change.after is None:
        return Text("-")
    cell = Text(f"{milliseconds(change.before)} → {milliseconds(change.after)}\n")
    noise = f" {within(change)}" if exact else ""
    return cell.append(difference(change) + noise, STYLES[change.direction])


def difference(change: Change) -> str:
    """Write the difference of a percentile, such as `▲ +21 %`."""
    if change.difference is None:
        return ""
    return f"{ARROWS[change.direction]} {change.difference:+.0%}".strip()


def within(change: Change) -> str:
    """Write how much of a difference noise could make, such as `±8`.

    What could make a number twice as high could make it half as high.
    """
    if change.noise is None or change.difference is None:
        return ""
    noise = change.noise if change.difference >= 0 else change.noise / (1 + change.noise)
    return f"±{noise * 100:.0f}" if noise < BOUNDLESS else "±∞"


def _failed(change: Change) -> Text:
    values = [f"{(value or 0) * 100:.2f}" for value in (change.before, change.after)]
    if values[0] == values[1]:
        return Text(values[0])
    cell = Text(f"{values[0]} → {values[1]}\n")
    return cell.append(f"{ARROWS[change.direction]} {change.direction}", STYLES[change.direction])
