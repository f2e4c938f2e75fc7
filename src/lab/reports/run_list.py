"""Print the list of runs."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from lab.console import duration, milliseconds, plain
from lab.findings.names import VERDICTS, verdict_text
from lab.reports.run_terminal import TONES
from lab.runs.run_info import tags_text
from lab.runs.run_list import Runs, RunSummary

Column = tuple[JustifyMethod, Callable[[RunSummary], Text]]

WIDE_TERMINAL, NOTES_TERMINAL = 110, 150
# In a narrow table, longer ids are broken at a dash.
LONG_ID = 24
FOLDED_COLUMNS = {"Run", "Note", "Tags"}
LONG_TIME, SHORT_TIME = "%Y-%m-%d %H:%M:%S", "%m-%d %H:%M"


def show(console: Console, runs: Runs, selected: Sequence[RunSummary], last: int | None) -> None:
    """Print selected runs as a table, newest first, and what could not be read."""
    listed = selected[:last]
    if listed:
        console.print(_table(listed, console.width))
    elif runs.runs:
        console.print("No run matches.")
    else:
        console.print("No runs yet: `just smoke` makes one in 20 s.")
    if any(run.only_saved for run in listed):
        console.print("* No longer in Prometheus: read from its saved record.")
    if listed and len(listed) < len(runs.runs):
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


def _table(runs: Sequence[RunSummary], width: int) -> Table:
    """Make a table; where it has to be narrow, without durations and counts."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="bold")
    columns = _columns(runs, width)
    for heading, (justify, _) in columns.items():
        table.add_column(
            heading, justify=justify, overflow="fold", no_wrap=heading not in FOLDED_COLUMNS
        )
    for run in runs:
        table.add_row(*(cell(run) for _, cell in columns.values()))
    return table


def _columns(runs: Sequence[RunSummary], width: int) -> dict[str, Column]:
    wide, notes = width >= WIDE_TERMINAL, width >= NOTES_TERMINAL
    columns: dict[str, Column] = {
        "Started (UTC)" if wide else "UTC": ("left", partial(_started, wide=wide)),
        "Run": ("left", partial(_run, wide=wide, notes=not notes)),
        "Profile": ("left", lambda run: Text(plain(run.profile or "-"))),
        "Journey": ("left", lambda run: Text(plain(run.journey or "-"))),
    }
    if wide:
        columns["Duration"] = ("right", lambda run: Text(duration(run.seconds)))
        columns["Requests"] = ("right", lambda run: Text(f"{run.requests:,}"))
    columns["Client\np95 ms"] = ("right", lambda run: Text(milliseconds(run.client_p95)))
    columns["Failed\n%"] = ("right", _failed)
    columns["Verdict"] = ("left", _verdict)
    if notes and any(run.info.note for run in runs):
        columns["Note"] = ("left", lambda run: Text(plain(run.info.note)))
    if notes and any(run.info.tags for run in runs):
        columns["Tags"] = ("left", lambda run: Text(plain(tags_text(run.info.tags))))
    return columns


def _started(run: RunSummary, *, wide: bool) -> Text:
    if not run.started:
        return Text("-")
    return Text(f"{datetime.fromtimestamp(run.started, UTC):{LONG_TIME if wide else SHORT_TIME}}")


def _run(run: RunSummary, *, wide: bool, notes: bool) -> Text:
    """Name a run, and below it, where they have no columns, its note and tags."""
    words = plain(run.info.name or run.run_id)
    if not wide and len(words) > LONG_ID:
        head, dash, tail = words.rpartition("-")
        words = f"{head}{dash}\n{tail}"
    name = Text(words + " *" * run.only_saved)
    if run.baseline:
        name.append("\nbaseline", "bold")
    if notes:
        for text in filter(None, (run.info.note, tags_text(run.info.tags))):
            name.append(f"\n{plain(text)}", "dim")
    return name


def _failed(run: RunSummary) -> Text:
    return Text("-" if run.failed_share is None else f"{run.failed_share * 100:.2f}")


def _verdict(run: RunSummary) -> Text:
    return Text(verdict_text(run.verdict), style=TONES[VERDICTS[run.verdict].tone])
