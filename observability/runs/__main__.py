"""Run a load and read a run back: `python -m observability.runs`."""

import os
import sys
from contextlib import suppress

import click
from rich.console import Console
from rich.text import Text

from observability.bundle import Bundle, BundleError
from observability.native.tools import ToolError
from observability.queries import totals
from observability.queries.names import Of, Side
from observability.runs import generator, listing, load, numbers, table, terminal, traces, waterfall
from observability.runs.numbers import Ledger, Numbers, Period, UnknownRunError
from observability.runs.prometheus import Prometheus
from observability.runs.traces import RunTraces, Store, TraceStoreError

TRACES_SHOWN = 5
# A first guess at the threshold that finds the slowest: some four times as many are slower.
FIRST_GUESS = 20


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
    """Run one profile, then print its table; exit with k6's status.

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

    click.echo(f"Run {run_id} against {target}")
    status = load.run_k6(k6, environment)
    click.echo(load.say_status(status))
    if not kept and not without_prometheus:
        click.echo(
            f"Its numbers went to {load.place(environment)}, not to the bundle's Prometheus: so "
            "there is no table of it here."
        )
    if kept:
        try:
            print_report(bundle, run_id)
        except UnknownRunError:
            click.echo("No number of this run reached Prometheus, so there is no table of it.")
        except click.ClickException as error:
            error.show()
    sys.exit(status if status >= 0 else 128 - status)


@main.command()
@click.argument("run", required=False)
def report(run: str | None) -> None:
    """Print the table of a run: the newest, or the one of that id."""
    print_report(the_bundle(), run)


@main.command()
@click.argument("trace_id", metavar="ID")
def trace(trace_id: str) -> None:
    """Print a trace as a waterfall; the first digits of its id are enough."""
    with traces.store_at(the_bundle().traces_url) as store:
        full = traces.full_id(store, trace_id)
        spans = store.trace(full)
    if not spans:
        raise TraceStoreError(f"{store.name} holds no trace {full}: traces are kept for a day.")
    waterfall.show(terminal.console(), full, spans)


@main.command()
@click.option("--last", type=click.IntRange(1), help="List no more than so many.")
def runs(last: int | None) -> None:
    """List the runs, newest first: those in Prometheus, and those a saved file has kept."""
    listing.show(terminal.console(), listing.read(the_bundle().prometheus_url), last)


def the_bundle() -> Bundle:
    try:
        return Bundle.from_env()
    except BundleError as error:
        raise click.ClickException(str(error)) from error


def print_report(bundle: Bundle, run: str | None) -> None:
    """Print all that the bundle knows of a run, once the last of it has arrived."""
    console = terminal.console()
    with Prometheus(bundle.prometheus_url) as prometheus:
        run = run or numbers.newest_run(prometheus)
        period = numbers.period_of(prometheus, run)
        wait(console, prometheus, run, period)
        of_run = numbers.read_numbers(prometheus, run, period)
        table.show(console, of_run)
        if not of_run.rows:
            return
        guess = slow_guess(prometheus, of_run)
    try:
        with traces.store_at(bundle.traces_url) as store:
            print_traces(console, store, of_run, guess)
    except TraceStoreError as error:
        error.show()


def wait(console: Console, prometheus: Prometheus, run: str, period: Period) -> None:
    """Wait for the last spans; Ctrl-C asks for the table as it is."""
    with suppress(KeyboardInterrupt), console.status("Waiting for the run's last spans") as status:

        def tell(ledger: Ledger) -> None:
            status.update(
                f"Waiting for the run's last spans: {ledger.traced:,} of "
                f"{ledger.sent - ledger.unanswered:,}"
            )

        numbers.wait_for_spans(prometheus, run, period, tell)


def slow_guess(prometheus: Prometheus, of_run: Numbers) -> float:
    """Guess, in seconds, what few of a run's requests took longer than."""
    quantile = max(0.0, 1 - FIRST_GUESS / max(1, of_run.ledger.traced))
    of = Of(of_run.run, of_run.period.window)
    query = totals.all_span_quantile(quantile, Side.SERVER, of)
    return prometheus.number(query, of_run.period.read_at) or 0.0


def print_traces(console: Console, store: Store, of_run: Numbers, guess: float) -> None:
    of = RunTraces(of_run.run, of_run.period)
    began = of_run.period.started
    slowest = traces.slowest(store, of, TRACES_SHOWN, guess)
    if not slowest:
        console.print(Text(f"\n{store.name} holds no trace of this run: it keeps them for a day."))
        return
    table.show_traces(console, "Slowest traces", slowest, began)
    failed = store.failed(of, of_run.failed_statuses, TRACES_SHOWN)
    table.show_traces(console, "Failed traces", failed, began)
    console.print(Text("`just trace ID` shows one as a waterfall."))


if __name__ == "__main__":
    main(prog_name="python -m observability.runs")
