"""Print two runs side by side, and describe the changes between them, for HTML as well."""

import math
from collections import Counter
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.console import duration, milliseconds, percent, plain, wrap_path
from lab.findings import noise
from lab.findings.comparison import (
    FAILED,
    PERCENTILES,
    Change,
    Comparison,
    Direction,
    JudgedChange,
    Metric,
    OperationComparison,
)
from lab.findings.names import verdict_text
from lab.reports.sentences import MAX_SENTENCE, part_text
from lab.runs.record import Record

WIDE_TERMINAL = 110
WIDE_OPERATION, NARROW_OPERATION = 36, 20
RUN_TO_RUN = math.expm1(noise.RUN_TO_RUN)
# From ten times as high on, a factor reads better than a percentage.
LARGE_CHANGE = 9.0
HOUR, LONGEST_RUN = 3600, 86400
STYLES: dict[Direction, str] = {
    "worse": "red",
    "better": "green",
    "equal": "dim",
    "inconclusive": "yellow",
    "unknown": "",
}
ARROWS: dict[Direction, str] = {
    "worse": "▲",
    "better": "▼",
    "equal": "≈",
    "inconclusive": "?",
    "unknown": " ",
}
LEGEND = (
    "Times are A → B in ms, with the difference and its noise. 'All' is the mean of the operations'"
    " differences. The result uses client p50, p95 and failed share; p95 changes under 1 ms are"
    " ignored. Other columns only show where a change comes from."
)


def show(console: Console, comparison: Comparison) -> None:
    """Print the numbers of both runs and what differs."""
    console.print()
    for name, run in (("A", comparison.before), ("B", comparison.after)):
        console.print(Text.assemble((f"{name}  {_title(run)}", "bold"), f"  {_description(run)}"))
    console.print()
    console.print(_table(comparison, wide=console.width >= WIDE_TERMINAL))
    console.print(Text(f"\n{conclusion(comparison)}", style="bold"))
    console.print(Text(LEGEND))
    for sentence in (*comparison.problems, *comparison.remarks):
        console.print(Text(plain(sentence, MAX_SENTENCE), style="yellow"))
    for name, before, after in comparison.changes:
        console.print(Text(f"Changed: {name}, {plain(before)} → {plain(after)}"))


def conclusion(comparison: Comparison) -> str:
    """Say which operations differ significantly, and whether the noise hides others."""
    total = comparison.total.direction
    directions = Counter(row.direction for row in comparison.operations)
    significant = [
        f"{direction} in {directions[direction]} of {len(comparison.operations)} operations"
        for direction in ("worse", "better")
        if directions[direction]
    ]
    if not significant and total in {"worse", "better"}:
        significant = [f"{total} over all operations together"]
    if significant:
        text = f"B is {' and '.join(significant)}."
    elif total == "unknown":
        text = "The noise could not be estimated, so there is no result."
    else:
        text = "No significant difference."
    if inconclusive := comparison.judged("inconclusive"):
        worst = max(inconclusive, key=lambda judged: judged.change.noise or 0.0)
        text += (
            f" Inconclusive: a change of {percent(comparison.allowed)} is smaller than the noise "
            f"({noise_text(worst.change)} in {worst.metric.name} of {plain(worst.operation)}). "
            f"{_length_text(comparison)}"
        )
    return text


def _length_text(comparison: Comparison) -> str:
    """Say how long runs must be to tell more."""
    seconds = comparison.seconds_to_show
    if seconds == math.inf and comparison.allowed > RUN_TO_RUN:
        return "No length would show it while other programs use the CPU: use a quieter machine."
    if seconds == math.inf:
        differ = f"runs of one build differ by up to {percent(RUN_TO_RUN)}"
        return f"No length would show it: {differ}. Allow more."
    if seconds > LONGEST_RUN:
        return "Runs of a day would not show it: use a quieter machine."
    return f"Runs of about {_rounded(seconds)} would show it."


def _rounded(seconds: float) -> str:
    """Round a duration up to minutes, from an hour on to ten of them."""
    step = 60 if seconds < HOUR else 600
    return duration(math.ceil(seconds / step) * step)


def _title(run: Record) -> str:
    return plain(f"{run.name} ({run.run_id})" if run.name else run.run_id)


def _description(run: Record) -> str:
    began = datetime.fromtimestamp(run.period.started, UTC)
    verdict = verdict_text(run.verdict, run.verdict_reason)
    if run.part:
        verdict = part_text(run.part)
    texts = (run.profile, run.journey, duration(run.period.seconds), verdict)
    return f"{began:%Y-%m-%d %H:%M:%S} UTC, {plain(', '.join(filter(None, texts)))}"


def _table(comparison: Comparison, *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Operation", overflow="fold")
    columns = [metric.name.replace(" ", "\n").capitalize() for metric in _columns(wide=wide)]
    for heading in ("Requests", *columns, "Failed\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in comparison.operations:
        table.add_row(*_cells(row, wide=wide))
    table.add_section()
    table.add_row(*_cells(comparison.total, wide=wide), style="bold")
    return table


def _columns(*, wide: bool) -> list[Metric]:
    return [metric for metric in PERCENTILES if wide or metric.judged]


def _cells(row: OperationComparison, *, wide: bool) -> list[Text]:
    before, after = row.requests
    style = STYLES[row.direction]
    return [
        Text(wrap_path(plain(row.operation), WIDE_OPERATION if wide else NARROW_OPERATION)),
        Text(f"{before:,}\n{after:,}" if before != after else f"{after:,}"),
        *(_percentile(metric, row.percentiles[metric.name]) for metric in _columns(wide=wide)),
        _failed(row.failed),
        Text("" if row.direction == "unknown" else row.direction, style=style),
    ]


def _percentile(metric: Metric, change: Change) -> Text:
    if change.before is None and change.after is None:
        return Text("-")
    cell = Text(f"{milliseconds(change.before)} → {milliseconds(change.after)}\n")
    noise = f" {noise_text(change)}" if metric.judged else ""
    return cell.append(difference_text(change) + noise, STYLES[change.direction])


def difference_text(change: Change) -> str:
    """Word the difference of a percentile, such as `▲ +21 %`."""
    if change.difference is None:
        return ""
    if change.difference >= LARGE_CHANGE:
        text = f"{change.difference + 1:,.0f}×"  # noqa: RUF001 - a factor
    else:
        text = f"{change.difference * 100:+.0f} %"
    return f"{ARROWS[change.direction]} {text}".strip()


def noise_text(change: Change) -> str:
    """Word how large a change noise alone can cause: `±8 %`.

    What can make a number twice as high can make it half as high, so a decrease has less noise.
    """
    if change.noise is None or change.difference is None:
        return ""
    noise = change.noise if change.difference >= 0 else change.noise / (1 + change.noise)
    return f"±{noise * 100:.0f} %" if noise < LARGE_CHANGE else f"±{noise + 1:,.0f}×"  # noqa: RUF001 - a factor


def _failed(change: Change) -> Text:
    before, after = (f"{(value or 0) * 100:.2f}" for value in (change.before, change.after))
    if before == after:
        return Text(before)
    text = f"{ARROWS[change.direction]} {change.direction}"
    return Text(f"{before} → {after}\n").append(text, STYLES[change.direction])


def judged_text(judged: JudgedChange) -> str:
    """Word a judged change: `POST /owners, client p95: 20.0 → 25.0 ms, ▲ +25 % ±10 %`."""
    change = judged.change
    if judged.metric is FAILED:
        text = f"{percent(change.before or 0.0, 2)} → {percent(change.after or 0.0, 2)}"
    else:
        text = (
            f"{milliseconds(change.before)} → {milliseconds(change.after)} ms, "
            f"{difference_text(change)} {noise_text(change)}"
        )
    return f"{plain(judged.operation)}, {judged.metric.name}: {text}"
