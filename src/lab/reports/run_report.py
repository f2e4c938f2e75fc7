"""Print a run, and write its record and its report page."""

from rich.console import Console
from rich.text import Text

from lab.clients.grafana import find_run_dashboard
from lab.clients.prometheus import PrometheusError
from lab.console import make_console, short_path
from lab.findings import summary
from lab.findings.summary import Findings
from lab.reports import publication, run_html, run_terminal
from lab.runs import part
from lab.runs.part import Bounds
from lab.runs.reader import read
from lab.runs.record import Completeness, Environment, Record, load_saved
from lab.runs.run_list import UnknownRunError
from lab.stack.config import StackConfig


def report(config: StackConfig, run_id: str, environment: Environment | None = None) -> None:
    """Report a run once all of it has arrived, or from its record if Prometheus does not have it.

    `environment` is that of a run that has just been made.
    """
    console = make_console()
    try:
        record = _read(console, config, run_id, environment)
    except (UnknownRunError, PrometheusError) as error:
        saved = load_saved(run_id)
        if saved is None:
            raise
        error.show()
        console.print("This is the saved record of the run:")
        _show(console, saved, summary.find(saved), save=False)
        return
    findings = summary.find(record)
    _show(console, record, findings, save=True)
    if not record.operations:
        return
    if page := publication.publish(config, record, findings):
        console.print(Text(f"In a browser: {page}"), soft_wrap=True)
    started, ended = record.period.started, record.period.ended
    if address := find_run_dashboard(config.grafana_url, run_id, started, ended):
        console.print(Text(f"In Grafana: {address}"), soft_wrap=True)


def report_part(config: StackConfig, run_id: str, bounds: Bounds) -> None:
    """Report a part of a run, in files of its own."""
    console = make_console()
    with console.status("Reading a part of the run"):
        record = part.read(config, run_id, bounds)
    _show(console, record, summary.find(record), save=True)


def _read(
    console: Console, config: StackConfig, run_id: str, environment: Environment | None
) -> Record:
    with console.status("Reading the run") as status:

        def progress(completeness: Completeness) -> None:
            answered = completeness.sent - completeness.unanswered
            status.update(
                f"Waiting for the run's last spans: {completeness.traced:,} of {answered:,}"
            )

        return read(config, run_id, progress, environment)


def _show(console: Console, record: Record, findings: Findings, *, save: bool) -> None:
    """Print a run and write its report page, and its record if it is new."""
    run_terminal.show(console, record, findings)
    if not record.operations:
        return
    run_terminal.show_errors(console, record)
    run_terminal.show_traces(console, record)
    console.print()
    paths = [run_html.write(record, findings), *([record.save()] if save else [])]
    for path in paths:
        console.print(Text(str(short_path(path))), soft_wrap=True)
