"""Print the list of runs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import duration, milliseconds, plain
from lab.reports.run_terminal import VERDICT_STYLES
from lab.reports.sentences import verdict_text
from lab.runs.run_list import Runs, RunSummary


def show(console: Console, runs: Runs, last: int | None) -> None:
    """Print runs as a table, newest first, and what could not be read."""
    listed = runs.runs[:last]
    if listed:
        console.print(_table(listed))
    else:
        console.print("No runs yet: `just smoke` makes one in 20 s.")
    if any(run.only_saved for run in listed):
        console.print("* No longer in Prometheus: read from its saved record.")
    if len(listed) < len(runs.runs):
        console.print(f"{len(listed)} of {len(runs.runs):,} runs.")
    for remark in describe_unreadable(runs):
        console.print(remark)


def describe_unreadable(runs: Runs) -> list[str]:
    """Say which runs are not in the list, and why."""
    remarks = [error.message for error in runs.unreadable]
    if runs.prometheus_error:
        reason = runs.prometheus_error.message.removesuffix(".")
        remarks.insert(0, f"{reason}. Only saved runs are listed.")
    return remarks


def _table(runs: Sequence[RunSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Started (UTC)", no_wrap=True)
    table.add_column("Run", overflow="fold")
    table.add_column("Profile", no_wrap=True)
    table.add_column("Journey", no_wrap=True)
    for heading in ("Duration", "Requests", "Client\np95 ms", "Failed\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for run in runs:
        verdict = Text(verdict_text(run.verdict), style=VERDICT_STYLES[run.verdict])
        table.add_row(*map(Text, _cells(run)), verdict)
    return table


def _cells(run: RunSummary) -> list[str]:
    started = run.started and datetime.fromtimestamp(run.started, UTC)
    return [
        f"{started:%Y-%m-%d %H:%M:%S}" if started else "-",
        plain(run.run_id) + (" *" if run.only_saved else ""),
        plain(run.profile or "-"),
        plain(run.journey or "-"),
        duration(run.seconds),
        f"{run.requests:,}",
        milliseconds(run.client_p95),
        "-" if run.failed_share is None else f"{run.failed_share * 100:.2f}",
    ]
