"""Print the trend of runs as a table and sparklines."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import milliseconds, plain
from lab.findings.names import VERDICTS, verdict_text
from lab.findings.trend import Trend
from lab.reports.run_terminal import TONES
from lab.runs.run_info import tags_text
from lab.runs.run_list import RunSummary

BARS = "▁▂▃▄▅▆▇█"
SIGNIFICANCE = "`just compare` tests whether a difference is significant."
HEADINGS = ("Client\np95 ms", "Rate\nreq/s", "Failed\n%")


def show(console: Console, trend: Trend) -> None:
    """Print runs, oldest first, with the difference of each to the baseline."""
    console.print(Text(title(trend), style="bold"))
    console.print(_table(trend))
    console.print()
    for name, values in (
        ("p95", trend.p95),
        ("req/s", trend.rate),
        ("failed", trend.failed_share),
    ):
        console.print(Text(f"{name:7}{sparkline(values)}"))
    for sentence in (*remarks(trend), SIGNIFICANCE):
        console.print(Text(sentence))


def title(trend: Trend) -> str:
    """Name what a trend is of: `Trend of load, book, env=qa: 12 runs`."""
    kind = (trend.profile or "no profile", trend.journey or "no journey", tags_text(trend.tags))
    runs = "1 run" if len(trend.runs) == 1 else f"{len(trend.runs)} runs"
    return f"Trend of {plain(', '.join(filter(None, kind)))}: {runs}"


def remarks(trend: Trend) -> list[str]:
    """Say what the runs are compared with, and which are left out."""
    sentences = []
    if trend.baseline:
        name = plain(trend.baseline.info.name or trend.baseline.run_id)
        p95 = milliseconds(trend.baseline.client_p95)
        sentences.append(f"Baseline: {name}, p95 {p95} ms.")
    else:
        sentences.append("There is no baseline; `just baseline RUN` pins one.")
    if trend.left_out:
        were = "run was" if trend.left_out == 1 else "runs were"
        sentences.append(f"{trend.left_out} {were} aborted or still running and left out.")
    return sentences


def sparkline(values: Iterable[float | None]) -> str:
    """Draw values as bars between zero and the highest."""
    numbers = list(values)
    highest = max((value for value in numbers if value), default=0.0)
    return "".join(" " if value is None else _bar(value, highest) for value in numbers)


def _bar(value: float, highest: float) -> str:
    return BARS[round(value / highest * (len(BARS) - 1))] if highest else BARS[0]


def difference_text(difference: float | None) -> str:
    return "" if difference is None else f"{difference * 100:+,.0f} %"


def _table(trend: Trend) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="bold")
    table.add_column("UTC", no_wrap=True)
    table.add_column("Run", overflow="fold")
    headings: Sequence[str] = (*HEADINGS, *(["p95 to\nbaseline"] if trend.baseline else []))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for run in trend.runs:
        table.add_row(*_cells(trend, run))
    return table


def _cells(trend: Trend, run: RunSummary) -> list[Text]:
    started = datetime.fromtimestamp(run.started or 0.0, UTC)
    is_baseline = bool(trend.baseline and run.run_id == trend.baseline.run_id)
    difference = "baseline" if is_baseline else difference_text(trend.difference(run))
    return [
        Text(f"{started:%m-%d %H:%M}"),
        Text(plain(run.info.name or run.run_id), style="bold" if is_baseline else ""),
        Text(milliseconds(run.client_p95)),
        Text("-" if run.rate is None else f"{run.rate:,.1f}"),
        Text("-" if run.failed_share is None else f"{run.failed_share * 100:.2f}"),
        *([Text(difference)] if trend.baseline else []),
        Text(verdict_text(run.verdict), style=TONES[VERDICTS[run.verdict].tone]),
    ]
