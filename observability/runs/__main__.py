"""Run a load and read a run back: `python -m observability.runs`."""

import json
import os
import sys

import click
import msgspec

from observability.bundle import BundleError
from observability.cli import the_bundle
from observability.native.tools import ToolError
from observability.runs import (
    generator,
    listing,
    load,
    numbers,
    record,
    terminal,
    traces,
    waterfall,
)
from observability.runs.comparison import command as comparison
from observability.runs.environment import read_environment
from observability.runs.neighbours import Neighbours
from observability.runs.numbers import UnknownRunError
from observability.runs.prometheus import Prometheus
from observability.runs.record import Record
from observability.runs.report import report as write_report
from observability.runs.traces import TraceStoreError


@click.group()
def main() -> None:
    """Put a load on the clinic, and read a run back by its id."""


@main.command()
@click.argument("profile", type=click.Choice(load.PROFILES))
@click.option(
    "--journey",
    type=click.Choice(load.JOURNEYS),
    envvar="JOURNEY",
    default="book",
    help="What the clients come for; JOURNEY in the environment says it too.",
)
@click.option(
    "--without-prometheus", is_flag=True, help="Run with k6's own summary alone: nothing is kept."
)
def run(profile: str, journey: str, *, without_prometheus: bool) -> None:
    """Run one profile, then print its table and write its page; exit with k6's status.

    The clinic is the bundle's, or the one at BASE_URL. RUN names the run; DURATION, RATE and VUS
    change how much load for how long.
    """
    bundle = the_bundle()
    target = (os.environ.get("BASE_URL") or bundle.api_url).rstrip("/")
    load.check_environment(os.environ)
    wanted = os.environ.get("RUN")
    run_id = load.given_run_id(wanted) if wanted else load.new_run_id(profile)
    sent_to = None
    if not without_prometheus:
        sent_to = load.remote_write(os.environ, bundle.remote_write_url)
    environment = load.environment(run_id, profile, target, sent_to) | {"JOURNEY": journey}
    load.check_target(target, os.environ)
    try:
        k6 = generator.command(bundle, str(load.SCRIPT), environment)
    except (BundleError, ToolError) as error:
        raise click.ClickException(str(error)) from error
    kept = sent_to == bundle.remote_write_url
    if kept:
        with Prometheus(bundle.prometheus_url) as prometheus:
            prometheus.check()
            if wanted:
                load.check_unused(run_id, numbers.known_runs(prometheus))
        made_in = read_environment(bundle, str(load.SCRIPT), environment)

    click.echo(f"Run {run_id} against {target}")
    neighbours = Neighbours(bundle) if target == bundle.api_url else None
    status = load.run_k6(k6, environment)
    busy_with_others = neighbours.share() if neighbours else None
    click.echo(load.say_status(status))
    if not kept and not without_prometheus:
        click.echo(
            f"Its numbers went to {load.place(environment)}, not to the bundle's Prometheus: so "
            "there is no table of it here."
        )
    if kept:
        made_in = msgspec.structs.replace(made_in, neighbours=busy_with_others)
        try:
            write_report(bundle, run_id, made_in)
        except UnknownRunError:
            click.echo("No number of this run reached Prometheus, so there is no table of it.")
        except click.ClickException as error:
            error.show()
    sys.exit(status if status >= 0 else 128 - status)


@main.command()
@click.argument("run", required=False)
def report(run: str | None) -> None:
    """Print a run's table and write its page: of the newest, or the one of that id."""
    write_report(the_bundle(), run)


@main.command()
@click.argument("trace_id", metavar="ID")
def trace(trace_id: str) -> None:
    """Print a trace as a waterfall; the first digits of its id are enough."""
    with traces.store_at(the_bundle().traces_url) as store:
        full = traces.full_id(store, trace_id, record.trace_ids())
        spans = store.trace(full)
    if not spans:
        raise TraceStoreError(f"{store.name} holds no trace {full}: traces are kept for a day.")
    waterfall.show(terminal.console(), full, spans)


@main.command()
@click.option("--last", type=click.IntRange(1), help="List no more than so many.")
def runs(last: int | None) -> None:
    """List the runs, newest first: those in Prometheus, and those a saved file has kept."""
    listing.show(terminal.console(), listing.read(the_bundle().prometheus_url), last)


@main.command("compare")
@click.argument("before", metavar="[A]", required=False)
@click.argument("after", metavar="[B]", required=False)
@click.option(
    "--fail-over",
    "over",
    callback=comparison.percentage,
    metavar="PERCENT",
    help="Exit with 1 if something got worse by more than this, such as 10%, beyond the noise.",
)
@click.option("--anyway", is_flag=True, help="Compare also what cannot well be compared.")
def compare_runs(
    before: str | None, after: str | None, over: float | None, *, anyway: bool
) -> None:
    """Compare run A with the later run B: what each operation took, and what got worse.

    The beginning of an id is enough. Without B: the newest run of A's profile and journey; without
    either: the last two of one profile and journey.

    Exits with 0, with 1 as --fail-over says, and with 2 when there was nothing to compare: unknown
    runs, another profile, journey, plan or machine, a run broken off, still on or too short.
    """
    try:
        status = comparison.run(the_bundle(), before, after, over, anyway=anyway)
    except click.ClickException as error:
        raise comparison.NotComparedError(error.message) from error
    sys.exit(status)


@main.command()
def schema() -> None:
    """Print the JSON schema of RUN.json."""
    click.echo(json.dumps(msgspec.json.schema(Record), indent=2))


if __name__ == "__main__":
    main(prog_name="python -m observability.runs")
