"""The commands that bring the bundle up and down, look at it and show its logs."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

import click
from rich.console import Console
from rich.table import Table

from observability.bundle import Bundle, BundleError
from observability.native.programs import ToolError
from observability.way import UP, PartError, Way

INTERRUPTED = 130


@click.group()
def cli() -> None:
    """Run the whole bundle: database, telemetry, API.

    In containers where a Docker engine answers, else as processes of this machine;
    CLINIC_BUNDLE=docker or native forces one. Ports are set by CLINIC_PORT, POSTGRES_PORT,
    PROMETHEUS_PORT, TRACES_PORT, OTLP_PORT, ALERTMANAGER_PORT and GRAFANA_PORT, the folder of
    data, logs and the database's password by CLINIC_STATE_DIR.
    """


@cli.command()
@click.pass_obj
def up(way: Way) -> None:
    """Start every part that does not run yet, in order, and say where everything is."""
    way.up()


@cli.command()
@click.pass_obj
def down(way: Way) -> None:
    """Stop every part; the data stays."""
    way.down()


@cli.command()
@click.pass_obj
def status(way: Way) -> None:
    """Show each part's state; exit with 0 only if all of them serve."""
    states = way.states()
    if not states:
        click.echo("Nothing runs; `just up` starts the bundle.")
        sys.exit(1)
    table = Table("part", "version", "state", "uptime", "address", box=None, pad_edge=False)
    for part in states:
        table.add_row(part.name, part.version, part.state, part.uptime, part.address)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if any(part.state != UP for part in states):
        click.echo("`just up` starts what does not run; `just logs PART` shows why it stopped.")
        sys.exit(1)


@cli.command()
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep showing what is added, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the last lines.")
@click.pass_obj
def logs(way: Way, part: str | None, *, follow: bool, lines: int) -> None:
    """Show the log of PART, or the last lines of every part's."""
    way.logs(part, lines, follow=follow)


@cli.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def destroy(way: Way, *, yes: bool) -> None:
    """Stop every part and remove the data: rows, metrics, traces, logs and password."""
    data = way.data()
    if not data:
        click.echo("There is no data, so there is nothing to remove.")
        return
    if not yes and not click.confirm(f"Remove all data of the bundle in {data}, for good?"):
        click.echo("Nothing was removed.")
        return
    way.destroy()
    click.echo(f"The data in {data} is removed.")


def main(choose: Callable[[Bundle], Way]) -> None:
    """Run the command line; every failure that can be foreseen is a sentence."""
    signal.signal(signal.SIGTERM, interrupt)
    try:
        run(choose)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


def run(choose: Callable[[Bundle], Way]) -> None:
    try:
        with cli.make_context("just", sys.argv[1:]) as context:
            context.obj = choose(Bundle.from_env())
            cli.invoke(context)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except (BundleError, ToolError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        if isinstance(error, PartError) and error.lines:
            click.echo(f"The last lines of {error.log}:", err=True)
            for line in error.lines:
                click.echo(f"  {line}", err=True)
        sys.exit(1)


def the_bundle() -> Bundle:
    """Give the bundle of this environment, or end with what is wrong in it."""
    try:
        return Bundle.from_env()
    except BundleError as error:
        raise click.ClickException(str(error)) from error


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
