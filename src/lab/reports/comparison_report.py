"""Choose two runs, compare them, and say by the exit status what came of it."""

import difflib
import re
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.text import Text

from lab.clients.prometheus import Prometheus
from lab.console import make_console, plain, short_path
from lab.errors import UserError
from lab.findings.comparison import FAILED, Comparison, Regression, compare
from lab.reports import comparison_html, comparison_terminal, run_list
from lab.reports.comparison_terminal import difference, within
from lab.reports.run_list import Listed
from lab.runs import reader, record
from lab.runs.record import Record
from lab.stack.config import StackConfig

WORSE = 1
NOT_COMPARED = 2
NEAREST = 3


class NotComparedError(UserError):
    """There are no two runs to compare; the message says which there are."""

    exit_code = NOT_COMPARED


def percentage(_: click.Context, __: click.Parameter, given: str | None) -> float | None:
    """Read a share such as `10%`."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%?", given)
    if not found:
        raise click.BadParameter(f"{given!r} is not a percentage such as 10%.")
    return float(found[1]) / 100


def choose(known: Sequence[Listed], before: str | None, after: str | None) -> tuple[str, str]:
    """Name the two runs: those asked for by id or its beginning, else the last two of a kind."""
    if before and after:
        named = (find(known, before).run_id, find(known, after).run_id)
        if named[0] == named[1]:
            raise NotComparedError(f"{named[0]} is one run: name two to compare.")
        return named
    whole = [run for run in known if run.verdict not in record.UNFINISHED]
    if before:
        first = find(known, before)
        later = [run for run in whole if _kind(run) == _kind(first) and _later(run, first)]
        if not later:
            raise NotComparedError(
                f"No run of the profile {first.profile} and the journey {first.journey} came after "
                f"{first.run_id}: `just runs` lists what there is."
            )
        return first.run_id, later[0].run_id
    for place, second in enumerate(whole):
        for first in whole[place + 1 :]:
            if _kind(first) == _kind(second):
                return first.run_id, second.run_id
    raise NotComparedError(
        "There are no two whole runs of one profile and journey: `just runs` lists what there is."
    )


def find(known: Sequence[Listed], wanted: str) -> Listed:
    """Find a run by its id or what it begins with."""
    exact = [run for run in known if run.run_id == wanted]
    found = exact or [run for run in known if run.run_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(run.run_id for run in found[:NEAREST])
        raise NotComparedError(
            f"{len(found)} runs begin with {wanted!r}, such as {some}: give more of the id."
        )
    ids = [run.run_id for run in known]
    near = difflib.get_close_matches(wanted, ids, NEAREST, cutoff=0.5) or ids[:NEAREST]
    if not near:
        raise NotComparedError("There is no run yet: `just smoke` makes one in 20 s.")
    raise NotComparedError(f"There is no run called {wanted!r}. The nearest: {', '.join(near)}")


def _kind(run: Listed) -> tuple[str | None, str | None]:
    return (run.profile, run.journey)


def _later(run: Listed, than: Listed) -> bool:
    return (run.started or 0.0) > (than.started or 0.0)


def read(config: StackConfig, run: str) -> Record:
    """Take a run's saved record if it is whole, else read it from Prometheus."""
    kept = record.saved(run)
    if kept and kept.verdict != "running":
        return kept
    with Prometheus(config.prometheus_url) as prometheus:
        period = reader.period_of(prometheus, run)
        of_run = reader.read_record(prometheus, run, period)
    return msgspec.structs.replace(of_run, environment=kept and kept.environment)


def run(
    config: StackConfig, before: str | None, after: str | None, over: float | None, *, anyway: bool
) -> int:
    """Compare two runs, print and write what differs, and give the exit status."""
    console = make_console()
    listed = run_list.read(config.prometheus_url)
    for remark in listed.remarks:
        click.echo(remark, err=True)
    names = choose(listed.runs, before, after)
    comparison = compare(*(read(config, name) for name in names))
    if comparison.problems and not anyway:
        told = "\n".join(f"  {obstacle}" for obstacle in comparison.problems)
        raise NotComparedError(
            f"{names[0]} and {names[1]} cannot be compared:\n{told}\n`--anyway` compares them."
        )
    comparison_terminal.show(console, comparison)
    for sentence in (*comparison.problems, *comparison.remarks):
        console.print(Text(sentence, style="yellow"))
    for name, was, now in comparison.changed:
        console.print(Text(f"Not the same: {name}, {plain(was)}, then {plain(now)}."))
    console.print(Text(str(short_path(comparison_html.write(comparison)))), soft_wrap=True)
    return 0 if over is None else judge(console, comparison, over)


def judge(console: Console, comparison: Comparison, over: float) -> int:
    """Say what got worse by more than a share, and give the exit status of that."""
    worse, allowed = comparison.worse(over), f"{over * 100:g}%"
    if worse:
        console.print(Text(f"\nWorse by more than {allowed}, beyond the noise:", style="bold red"))
        for one in worse:
            console.print(Text(f"  {plain(one.operation)}, {one.name}: {said(one)}"))
        return WORSE
    console.print(Text(f"\nNothing got worse by more than {allowed} beyond the noise."))
    p50 = comparison.total.seconds["client p50"].noise
    if p50 is None or p50 > over:
        console.print(Text("The noise could hide that much: longer runs tell more.", "yellow"))
    return 0


def said(worse: Regression) -> str:
    if worse.name == FAILED:
        before, after = worse.change.before or 0.0, worse.change.after or 0.0
        return f"{before:.2%} → {after:.2%}"
    return f"{difference(worse.change)} {within(worse.change)}"
