"""The commands that bring the bundle up and down, look at it and show its logs."""

import sys
import time
from contextlib import suppress

import click
from rich.console import Console
from rich.table import Table

from observability.bundle import Bundle, BundleError
from observability.native import parts as bundle_parts
from observability.native.lifecycle import Lifecycle, PartError, tail
from observability.native.parts import Part
from observability.native.programs import ToolError
from observability.native.supervise import Supervisor

FOLLOW_SECONDS = 0.3


@click.group()
def cli() -> None:
    """Run the whole bundle on this machine without Docker: database, telemetry, API.

    Ports are set by CLINIC_PORT, POSTGRES_PORT, PROMETHEUS_PORT, TRACES_PORT, OTLP_PORT and
    ALERTMANAGER_PORT, the folder of data, logs and the database's password by CLINIC_STATE_DIR.
    """


@cli.command()
def up() -> None:
    """Start every part that does not run yet, in order, and say where everything is."""
    Lifecycle(Bundle.from_env()).up()


@cli.command()
def down() -> None:
    """Stop every part; the data stays."""
    Lifecycle(Bundle.from_env()).down()


@cli.command()
def status() -> None:
    """Show each part's state; exit with 0 only if all of them serve."""
    bundle = Bundle.from_env()
    supervisor = Supervisor(bundle.state)
    if not supervisor.running():
        click.echo("Nothing runs; `just up` starts the bundle.")
        sys.exit(1)
    table = Table("part", "version", "state", "uptime", "address", box=None, pad_edge=False)
    all_up = True
    for part in bundle_parts.saved(bundle):
        state, uptime = state_of(part, supervisor)
        all_up = all_up and state == "up"
        table.add_row(part.name, part.version, state, uptime, part.address)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if not all_up:
        click.echo("`just up` starts what does not run; `just logs PART` shows why it stopped.")
        sys.exit(1)


def state_of(part: Part, supervisor: Supervisor) -> tuple[str, str]:
    process = supervisor.process(part.name)
    if not process.alive:
        return f"down ({process.words})", "-"
    return "up" if part.ready() else "not answering", span(process.seconds)


def span(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


@cli.command()
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep showing what is added, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the last lines.")
def logs(part: str | None, *, follow: bool, lines: int) -> None:
    """Show the log of PART, or the last lines of every part's."""
    supervisor = Supervisor(Bundle.from_env().state)
    kept = sorted(path.stem for path in supervisor.logs.glob("*.log"))
    if part and part not in kept:
        known = f"there are logs of {', '.join(kept)}" if kept else "nothing was started yet"
        raise BundleError(f"There is no log of {part!r}; {known}.")
    names = [part] if part else kept
    if not names:
        click.echo("Nothing was started yet; `just up` starts the bundle.")
    places = {}
    for name in names:
        log = supervisor.log(name)
        places[name] = log.stat().st_size
        for line in tail(log, lines if part else min(lines, 10)):
            click.echo(line if part else f"{name} | {line}")
    with suppress(KeyboardInterrupt):
        while follow:
            time.sleep(FOLLOW_SECONDS)
            for name in names:
                places[name] = show_more(supervisor, name, places[name], prefix=not part)


def show_more(supervisor: Supervisor, name: str, place: int, *, prefix: bool) -> int:
    """Print what a log gained since a place in it, and give the new place."""
    log = supervisor.log(name)
    if not log.exists():
        return 0
    if log.stat().st_size < place:
        place = 0
    with log.open("rb") as file:
        file.seek(place)
        more = file.read()
    complete = more[: more.rfind(b"\n") + 1]
    for line in complete.decode(errors="replace").splitlines():
        click.echo(f"{name} | {line}" if prefix else line)
    return place + len(complete)


def main() -> None:
    """Run the command line; every failure that can be foreseen is a sentence."""
    try:
        cli(standalone_mode=False, prog_name="python -m observability.native")
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
