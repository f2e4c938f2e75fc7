"""Break a running stack on purpose and check that it keeps its promises (docs/reliability.md).

Each part has a native stack of its own: its ports are free ones, its data is removed at the end.
"""

import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.table import Table

from lab.console import duration as in_words
from lab.console import echo, make_console, say
from lab.paths import PROJECT
from performance import command_line
from performance.torture.part import Context, Figures, Part, Result

QUICK = 0.1
RESULTS = PROJECT / "performance" / "results" / "torture"


@dataclass(frozen=True)
class Outcome:
    """A part's result as it is printed and written."""

    part: str
    promise: str
    passed: bool
    seconds: float
    figures: Figures


@dataclass(frozen=True)
class Report:
    ended: datetime
    scale: float
    outcomes: list[Outcome]


def all_parts() -> dict[str, Part]:
    """Collect `PARTS` of the modules in this folder."""
    modules = (
        importlib.import_module(f"performance.torture.{module.name}")
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if module.name != "__main__"
    )
    parts = [part for module in modules for part in getattr(module, "PARTS", ())]
    return {part.name: part for part in sorted(parts, key=lambda part: part.name)}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[PART]...", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="List the parts, and run none.")
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the results to.",
)
@click.option("--quick", is_flag=True, help=f"The same as --scale {QUICK}.")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Factor of all lengths and repetitions.",
)
@click.option(
    "--results",
    "folder",
    default=RESULTS,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for what the parts leave behind [default: performance/results/torture].",
)
def main(  # noqa: PLR0913 - one for each option
    *,
    names: tuple[str, ...],
    listed: bool,
    file: Path | None,
    quick: bool,
    scale: float,
    folder: Path,
) -> None:
    """Break the stack on purpose: all parts, or those that are named.

    Exits with 1 if a part fails.
    """
    known = all_parts()
    if unknown := set(names) - known.keys():
        raise click.BadParameter(f"no part {', '.join(sorted(unknown))}; --list shows them")
    chosen = [known[name] for name in names or known]
    if listed:
        make_console().print(list_of(chosen))
        return
    outcomes: list[Outcome] = []
    try:
        for index, part in enumerate(chosen, 1):
            say(f"[{index}/{len(chosen)}] {part.name}: {part.promise}")
            outcomes.append(run(part, Context(folder / part.name, QUICK if quick else scale)))
    finally:
        make_console().print(table(outcomes))
        if file:
            report = Report(datetime.now(UTC), QUICK if quick else scale, outcomes)
            file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    failed = [outcome.part for outcome in outcomes if not outcome.passed]
    echo(f"Failed: {', '.join(failed)}." if failed else f"{len(outcomes)} passed.")
    sys.exit(bool(failed))


def run(part: Part, context: Context) -> Outcome:
    """Run a part; an exception fails it, and the next part still runs."""
    context.results.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        with ExitStack() as context.resources:
            result = part.run(context)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in it, the part has failed
        echo(traceback.format_exc(), err=True)
        result = Result(passed=False, figures={"error": f"{type(error).__name__}: {error}"})
    seconds = time.monotonic() - began
    say(
        f"    {mark(passed=result.passed)} after {in_words(seconds)}: {in_one_line(result.figures)}"
    )
    return Outcome(part.name, part.promise, result.passed, round(seconds, 1), result.figures)


def mark(*, passed: bool) -> str:
    return "passed" if passed else "FAILED"


def in_one_line(figures: Figures) -> str:
    return ", ".join(
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:,.10g}"
        for name, value in figures.items()
    )


def list_of(parts: Sequence[Part]) -> Table:
    output = Table("part", "minutes", "promise", box=None, pad_edge=False)
    for part in parts:
        output.add_row(part.name, f"{part.minutes:g}", part.promise)
    return output


def table(outcomes: Sequence[Outcome]) -> Table:
    output = Table("part", "promise", "result", "time", "figures", box=None, pad_edge=False)
    for outcome in outcomes:
        output.add_row(
            outcome.part,
            outcome.promise,
            mark(passed=outcome.passed),
            in_words(outcome.seconds),
            in_one_line(outcome.figures),
        )
    return output


if __name__ == "__main__":
    command_line.run(main, "torture")
