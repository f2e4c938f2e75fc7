"""The commands on runs that have been made: list, name, delete, open, pin and compare them."""

import os
import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.text import Text

from lab.console import echo, make_console, plain, print_json, short_path
from lab.errors import UserError
from lab.findings import summary
from lab.findings import trend as find_trend
from lab.reports import (
    comparison_report,
    run_html,
    run_list,
    run_report,
    trend_html,
    trend_terminal,
)
from lab.runs import run_edit
from lab.runs.k6 import parse_tags
from lab.runs.part import Bounds, parse_moment
from lab.runs.record import load_saved, result_file
from lab.runs.run_list import Runs, RunSummary, list_runs
from lab.stack.config import StackConfig

NOT_IN_PROMETHEUS = "Prometheus did not accept this, so Grafana does not show it."


def _tags(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse tags such as `env=qa`."""
    try:
        return parse_tags(",".join(values))
    except UserError as error:
        raise click.BadParameter(f"{', '.join(values)} is not a tag such as env=qa.") from error


PROFILE = click.option("--profile", help="Only runs of this profile.")
JOURNEY = click.option("--journey", help="Only runs of this journey.")
TAG = click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=_tags,
    metavar="NAME=VALUE",
    help="Only runs with this tag of K6_TAGS; may be repeated.",
)


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Parse a time since the start of a run."""
    return None if value is None else parse_moment(value)


FROM = click.option(
    "--from",
    "begin",
    callback=_moment,
    metavar="TIME",
    help="Begin at this time since the start of the run, such as 1:00.",
)
JUNIT = click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the thresholds to FILE, as JUnit XML.",
)
TO = click.option("--to", "end", callback=_moment, metavar="TIME", help="End at this time.")


@click.command()
@click.argument("run", required=False)
@FROM
@TO
@click.option("--markdown", is_flag=True, help="Print Markdown, for the summary of a job.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@JUNIT
def report(  # noqa: PLR0913 - what the command line has
    run: str | None,
    begin: float | None,
    end: float | None,
    *,
    markdown: bool,
    as_json: bool,
    junit: Path | None,
) -> None:
    """Report RUN, by default the newest run.

    Prints the run, and writes its record and its report page. The first characters of an id or
    name are enough. With --from or --to it reports a part of the run, such as a steady one, in
    files of their own.
    """
    if markdown and as_json:
        raise click.UsageError("Choose one of --markdown and --json.")
    config = StackConfig.from_env()
    runs = list_runs(config.prometheus)
    found = runs.find(run) if run else runs.newest()
    form = run_report.Form(markdown, junit, as_json)
    if bounds := Bounds(begin, end):
        run_report.report_part(config, found.run_id, bounds, form)
    else:
        run_report.report(config, found.run_id, form=form)


def _find(run: str) -> tuple[StackConfig, Runs, RunSummary]:
    config = StackConfig.from_env()
    runs = list_runs(config.prometheus)
    return config, runs, runs.find(run)


@click.command()
@PROFILE
@JOURNEY
@TAG
@click.option("--last", type=click.IntRange(1), help="List at most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(
    profile: str | None,
    journey: str | None,
    tags: dict[str, str],
    last: int | None,
    *,
    as_json: bool,
) -> None:
    """List runs, newest first.

    The list has the runs in Prometheus, and saved ones that it no longer has.
    """
    every = list_runs(StackConfig.from_env().prometheus)
    selected = every.select(profile, journey, tags)
    if not as_json:
        run_list.show(make_console(), every, selected, last)
        return
    for remark in run_list.describe_unreadable(every):
        echo(remark, err=True)
    print_json(selected[:last])


@click.command()
@click.argument("before", metavar="[A]", required=False)
@click.argument("after", metavar="[B]", required=False)
@click.option(
    "--fail-over",
    "over",
    callback=comparison_report.percentage,
    metavar="PERCENT",
    help="Exit with 1 if B is worse than A by more than this (such as 20%) and by more than the "
    "noise, and with 3 if the noise is larger. Without it, the status is 0 and a percentile is "
    "inconclusive if its noise exceeds 20%.",
)
@FROM
@TO
@click.option("--anyway", is_flag=True, help="Compare runs even if they are not comparable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(  # noqa: PLR0913 - what the command line has
    before: str | None,
    after: str | None,
    over: float | None,
    begin: float | None,
    end: float | None,
    *,
    anyway: bool,
    as_json: bool,
) -> None:
    """Compare run A with the later run B.

    The first characters of an id or name are enough. Without B: the newest run of A's profile and
    journey; without either: the newest run with the baseline of its profile and journey, or where
    there is none with the run before it.

    Exits with 0, with --fail-over also with 1 (a regression) and 3 (inconclusive), and with 2 when
    the runs cannot be compared: unknown runs, another profile, journey, planned length, machine or
    target, a run that was aborted, is still running or is too short.
    """
    try:
        status = comparison_report.run(
            *(StackConfig.from_env(), (before, after), over, Bounds(begin, end)),
            anyway=anyway,
            as_json=as_json,
        )
    except UserError as error:
        raise comparison_report.NotComparedError(error.message) from error
    sys.exit(status)


@click.command()
@PROFILE
@JOURNEY
@TAG
@click.option(
    "--last",
    type=click.IntRange(1),
    default=find_trend.LAST,
    show_default=True,
    help="Show at most this many.",
)
def trend(profile: str | None, journey: str | None, tags: dict[str, str], last: int) -> None:
    """Show how p95, throughput and failed share change from run to run.

    The runs are those of one profile and journey, by default those of the newest run; each is
    related to the baseline that `just baseline RUN` pins. Writes a page with charts.
    """
    runs = list_runs(StackConfig.from_env().prometheus)
    for remark in run_list.describe_unreadable(runs):
        echo(remark, err=True)
    found = find_trend.find(runs, profile, journey, tags, last)
    console = make_console()
    trend_terminal.show(console, found)
    console.print(Text(str(short_path(trend_html.write(found)))), soft_wrap=True)


@click.command()
@click.argument("run")
@click.argument("name")
def rename(run: str, name: str) -> None:
    """Give RUN a NAME, which every command accepts in place of its id.

    The id itself as NAME takes the name away.
    """
    config, runs, found = _find(run)
    published = run_edit.rename(config, runs, found, name)
    saved = load_saved(found.run_id)
    if saved and result_file(found.run_id, ".html").exists():
        run_html.write(saved, summary.find(saved))
    run_id = plain(found.run_id)
    if name == found.run_id:
        echo(f"{run_id} has no name.")
    else:
        echo(f"{run_id} is now called {name}.")
    if not published:
        echo(NOT_IN_PROMETHEUS, err=True)


@click.command()
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(run: str, *, yes: bool) -> None:
    """Delete RUN: its record and page, and its place in lists and dashboards.

    Its samples stay in Prometheus, and its traces in the trace store, until they expire.
    """
    config, runs, found = _find(run)
    if not yes and not click.confirm(f"Delete {_describe(found)}?"):
        echo("Nothing was deleted.")
        return
    marked = run_edit.delete(config, runs, found)
    echo(f"Deleted {plain(found.run_id)}.")
    if marked:
        echo("Its samples stay in Prometheus until they expire, 15 days after the run.")
    else:
        echo("Prometheus does not answer: if it has the run, delete it again after `just up`.")


def _describe(run: RunSummary) -> str:
    started = run.started and datetime.fromtimestamp(run.started, UTC)
    facts = [f"{started:%Y-%m-%d %H:%M} UTC" if started else "", run.profile, run.journey]
    return plain(f"{' or '.join(run.names)} ({', '.join(filter(None, facts))})")


@click.command("open")
@click.argument("run", required=False)
def open_page(run: str | None) -> None:
    """Open the report page of RUN, by default of the newest run, in the browser.

    Prints its address; without a display it only does that.
    """
    runs = list_runs(StackConfig.from_env().prometheus)
    found = runs.find(run) if run else runs.newest()
    page = result_file(found.run_id, ".html")
    if not page.exists():
        saved = load_saved(found.run_id)
        if not saved:
            raise UserError(f"{plain(found.run_id)} has no report page: `just report` writes it.")
        run_html.write(saved, summary.find(saved))
    address = page.absolute().as_uri()
    echo(address)
    if _has_display():
        webbrowser.open(address)


def _has_display() -> bool:
    """Tell whether a browser would get a window, rather than this terminal."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in names)


@click.command()
@click.argument("run", required=False)
@click.option("--clear", is_flag=True, help="Unpin RUN, or the only baseline.")
def baseline(run: str | None, *, clear: bool) -> None:
    """Pin RUN as the baseline of its profile and journey; without RUN, list the baselines.

    `just compare` compares the newest run with it, and `just trend` all runs.
    """
    config = StackConfig.from_env()
    runs = list_runs(config.prometheus)
    pinned = [one for one in runs.runs if one.baseline]
    if clear:
        cleared = runs.find(run) if run else _only(pinned)
        if not cleared.baseline:
            raise UserError(f"{plain(cleared.run_id)} is not a baseline.")
        published = run_edit.unpin(config, cleared)
        echo(f"{plain(cleared.run_id)} is no longer the baseline of {_kind(cleared)}.")
    elif run:
        found = runs.find(run)
        published = run_edit.pin(config, runs, found)
        echo(f"{plain(found.run_id)} is now the baseline of {_kind(found)}.")
    else:
        for one in pinned:
            echo(f"{_kind(one)}: {plain(' or '.join(one.names))}")
        if not pinned:
            echo("There is no baseline; `just baseline RUN` pins one.")
        return
    if not published:
        echo(NOT_IN_PROMETHEUS, err=True)


def _only(pinned: list[RunSummary]) -> RunSummary:
    if len(pinned) == 1:
        return pinned[0]
    if not pinned:
        raise UserError("There is no baseline to clear.")
    some = plain(", ".join(one.run_id for one in pinned))
    raise UserError(f"There are {len(pinned)} baselines, {some}: name the one to clear.")


def _kind(run: RunSummary) -> str:
    return plain(f"{run.profile or 'no profile'}, {run.journey or 'no journey'}")


COMMANDS = (report, runs, trend, compare, rename, delete, open_page, baseline)
