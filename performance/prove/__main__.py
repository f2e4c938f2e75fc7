"""Prove that runs name their bottleneck: plant each cause on a real stack and load-test it.

The stack is native and of its own: its ports are free ones, its data is removed at the end. The
runs' records and report pages stay.
"""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click
import psutil

from lab.console import duration as in_words
from lab.console import echo, make_console, percent, say
from lab.paths import PROJECT
from lab.promql.bottleneck import Cause
from performance import command_line
from performance.prove import results as tables
from performance.prove.causes import CAUSES, NOTHING
from performance.prove.planters import CannotPlantError
from performance.prove.trial import Result, Trial, run
from performance.stack import Stack, temporary_stack

# Longer than its load a run takes: to plant, to check, to read back.
SECONDS_BESIDE_LOAD = 15
NOTICEABLE_CPU = 0.1
LOOK_SECONDS = 3
RESULTS = PROJECT / "performance" / "results" / "prove"


def numbers(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter("expected numbers such as 20,100") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--users", callback=numbers, default="20", show_default=True, metavar="N[,N...]")
@click.option("--duration", default="30s", show_default=True, help="Length of each load.")
@click.option("--repeat", default=1, show_default=True, help="Repetitions of each cause.")
@click.option("--strength", default=1.0, show_default=True, help="Factor of each cause's strength.")
@click.option("--nothing", default=1, show_default=True, help="Runs with nothing planted.")
@click.option(
    "--wrong-allowed",
    default=1,
    show_default=True,
    help="Wrong causes that one repetition may have; nothing must never be wrong.",
)
@click.option("--only", multiple=True, type=click.Choice(list(CAUSES)), help="Plant these alone.")
@click.option(
    "--results",
    "folder",
    default=RESULTS,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the runs' records and pages [default: performance/results/prove].",
)
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the table of the documentation to.",
)
def main(  # noqa: PLR0913 - one for each option
    *,
    users: list[int],
    duration: str,
    repeat: int,
    strength: float,
    nothing: int,
    wrong_allowed: int,
    only: tuple[str, ...],
    folder: Path,
    markdown: Path | None,
) -> None:
    """Plant causes of a bottleneck, run the load, and check what each run names.

    Exits with 1 if a repetition has more wrong answers than allowed.
    """
    trials = [
        Trial(CAUSES[name], count, repetition, duration, strength)
        for count in users
        for repetition in range(1, max(repeat, nothing) + 1)
        for name in only or CAUSES
        if repetition <= (nothing if name == NOTHING else repeat)
    ]
    warn_of_other_programs()
    say("Starting a stack of its own.")
    with temporary_stack(folder) as stack:
        results = run_all(stack, trials)
    make_console().print(tables.table(results))
    echo(f"Records and report pages are in {folder}.")
    if markdown:
        markdown.write_text(tables.markdown(results))
    sys.exit(status(results, wrong_allowed))


def run_all(stack: Stack, trials: Sequence[Trial]) -> list[Result]:
    results: list[Result] = []
    began = time.monotonic()
    for index, trial in enumerate(trials):
        elapsed = time.monotonic() - began
        each = elapsed / index if index else seconds(trial.duration) + SECONDS_BESIDE_LOAD
        say(
            f"[{index + 1}/{len(trials)}] {trial.cause.description}; expected "
            f"{trial.cause.expected}; {trial.users} users, repetition {trial.repetition}; "
            f"{in_words(elapsed)} passed, about {in_words(each * (len(trials) - index))} left"
        )
        try:
            result = run(stack, trial)
        except CannotPlantError as error:
            say(f"    skipped: {error.message}")
            continue
        others = f", then {', '.join(result.others)}" if result.others else ""
        mark = "right" if result.right else "WRONG"
        say(f"    {mark}: {result.named} {percent(result.share)}{others} ({result.run_id})")
        if trial.cause.expected != Cause.MACHINE and (result.other_cpu_share or 0) > NOTICEABLE_CPU:
            say(f"    Other programs used {percent(result.other_cpu_share or 0)} of the CPU time.")
        results.append(result)
    return results


def seconds(text: str) -> float:
    """Return the seconds of a duration such as 30s, 2m or 1m30s."""
    units = {"h": "hours", "m": "minutes", "s": "seconds"}
    total, number = timedelta(), ""
    for character in text:
        if character in units and number:
            total, number = total + timedelta(**{units[character]: float(number)}), ""
        else:
            number += character
    return total.total_seconds()


def warn_of_other_programs() -> None:
    """Warn if the machine is busy before anything is started on it."""
    share = psutil.cpu_percent(LOOK_SECONDS) / 100
    if share > NOTICEABLE_CPU:
        say(
            f"Warning: other programs use {percent(share)} of the CPU time. They are a cause of "
            "their own; stop them for results that count."
        )


def status(results: Sequence[Result], wrong_allowed: int) -> int:
    """Return the exit status, and say what was wrong."""
    failed = not results
    for (users, repetition), wrong in tables.wrong_by_repetition(results).items():
        names = [result.trial.cause.name for result in wrong]
        failed |= len(wrong) > wrong_allowed or NOTHING in names
        if names:
            say(f"{users} users, repetition {repetition}: wrong for {', '.join(names)}.")
    right = sum(result.right for result in results)
    say(f"{right} of {len(results)} right.")
    return int(failed)


if __name__ == "__main__":
    command_line.run(main, "prove")
