"""Choose two runs, compare them, and set the exit status by the result."""

import dataclasses
import re
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from lab.clients.prometheus import Prometheus
from lab.console import echo, make_console, percent, plain, print_json, short_path
from lab.errors import UserError
from lab.findings.comparison import DEFAULT_ALLOWED, Comparison, compare
from lab.reports import comparison_html, comparison_terminal, run_list
from lab.reports.comparison_terminal import judged_text
from lab.reports.sentences import MAX_SENTENCE
from lab.runs import part, reader, record
from lab.runs.part import Bounds
from lab.runs.record import Record
from lab.runs.run_list import Runs, list_runs
from lab.stack.config import StackConfig

REGRESSION = 1
NOT_COMPARED = 2
INCONCLUSIVE = 3
# So many inconclusive numbers are listed.
MAX_LISTED = 6


class NotComparedError(UserError):
    """There are no two runs that can be compared."""

    exit_code = NOT_COMPARED


def percentage(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Parse a share such as `10%`."""
    if value is None:
        return None
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?%?", value)
    if not number:
        raise click.BadParameter(f"{value!r} is not a percentage such as 10%.")
    return float(number[1]) / 100


def choose(runs: Runs, before: str | None, after: str | None) -> tuple[str, str]:
    """Return the ids of the named runs.

    By default they are the newest run and the baseline of its profile and journey, without one the
    run of the same before it.
    """
    if before and after:
        first, second = runs.find(before), runs.find(after)
        if first == second:
            raise NotComparedError(f"A and B are both {first.run_id}: name two different runs.")
        return first.run_id, second.run_id
    finished = [run for run in runs.runs if run.verdict not in record.UNFINISHED]
    if before:
        first = runs.find(before)
        for second in finished:
            if second.kind == first.kind and (second.started or 0) > (first.started or 0):
                return first.run_id, second.run_id
        raise NotComparedError(
            f"No finished run with profile {first.profile} and journey {first.journey} follows "
            f"{first.run_id}. `just runs` lists all runs."
        )
    for i, second in enumerate(finished):
        pinned = runs.baseline(second.kind)
        if pinned and pinned != second:
            return pinned.run_id, second.run_id
        for first in finished[i + 1 :]:
            if first.kind == second.kind:
                return first.run_id, second.run_id
    raise NotComparedError(
        "There are no two finished runs with the same profile and journey. `just runs` lists all "
        "runs."
    )


def read(config: StackConfig, run_id: str, bounds: Bounds) -> Record:
    """Return a run's saved record if it is complete, else read it, or a part, from Prometheus."""
    if bounds:
        with Prometheus(config.prometheus) as prometheus:
            return part.with_environment(part.read_metrics(prometheus, run_id, bounds))
    saved = record.load_saved(run_id)
    if saved and saved.verdict != "running":
        return saved
    with Prometheus(config.prometheus) as prometheus:
        run = reader.read_metrics(prometheus, run_id)
    return msgspec.structs.replace(run, environment=saved and saved.environment)


def run(  # noqa: PLR0913 - what the command line has
    config: StackConfig,
    names: tuple[str | None, str | None],
    over: float | None,
    bounds: Bounds,
    *,
    anyway: bool,
    as_json: bool,
) -> int:
    """Compare two runs, or the same part of both; print and write what differs.

    Return the exit status.
    """
    console = make_console()
    runs = list_runs(config.prometheus)
    for remark in run_list.describe_unreadable(runs):
        echo(remark, err=True)
    ids = choose(runs, *names)
    first, second = (read(config, run_id, bounds) for run_id in ids)
    comparison = compare(first, second, DEFAULT_ALLOWED if over is None else over)
    if comparison.problems and not anyway:
        problems = "\n".join(f"  {plain(problem, MAX_SENTENCE)}" for problem in comparison.problems)
        raise NotComparedError(
            f"{plain(ids[0])} and {plain(ids[1])} cannot be compared:\n{problems}\n"
            "Use --anyway to compare them nevertheless."
        )
    if as_json:
        print_json(summarize(comparison))
        return 0 if over is None else status(comparison)
    comparison_terminal.show(console, comparison)
    console.print(Text(str(short_path(comparison_html.write(comparison)))), soft_wrap=True)
    if over is not None:
        judge(console, comparison)
        return status(comparison)
    return 0


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison without the records of its runs, which `just report --json` prints."""
    fields = {it.name: getattr(comparison, it.name) for it in dataclasses.fields(comparison)}
    runs = {side: fields.pop(side).run_id for side in ("before", "after")}
    return {**runs, "outcome": comparison.outcome, **fields}


def status(comparison: Comparison) -> int:
    """Return the exit status with --fail-over."""
    if comparison.regressions():
        return REGRESSION
    return INCONCLUSIVE if comparison.outcome == "inconclusive" else 0


def judge(console: Console, comparison: Comparison) -> None:
    """Print the regressions beyond what is allowed, or what could hide one."""
    allowed = percent(comparison.allowed)
    regressions = comparison.regressions()
    if regressions:
        console.print(Text(f"\nRegressions of more than {allowed}:", style="bold red"))
        for regression in regressions:
            console.print(Text(f"  {judged_text(regression)}"))
    elif comparison.outcome == "inconclusive":
        words = f"\nNo regression of more than {allowed} was found, but the noise could hide one:"
        console.print(Text(words, style="bold yellow"))
        hiding = comparison.judged("inconclusive")
        for judged in hiding[:MAX_LISTED]:
            console.print(Text(f"  {judged_text(judged)}"))
        if more := len(hiding[MAX_LISTED:]):
            console.print(Text(f"  and {more} more"))
    else:
        console.print(Text(f"\nNo regression of more than {allowed} was found."))
