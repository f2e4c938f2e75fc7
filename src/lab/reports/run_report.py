"""Print a run, and write its record and its report page."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lab.clients.grafana import find_run_dashboard
from lab.clients.prometheus import PrometheusError
from lab.console import echo, make_console, print_json, say, short_path
from lab.findings import summary
from lab.findings.summary import Findings
from lab.reports import junit, publication, run_html, run_markdown, run_terminal
from lab.runs import part
from lab.runs.part import Bounds
from lab.runs.reader import read
from lab.runs.record import Completeness, Environment, Record, load_saved
from lab.runs.run_list import UnknownRunError
from lab.stack.config import StackConfig


@dataclass(frozen=True)
class Form:
    """How a run is reported: for a terminal, as Markdown or JSON, and in a file of JUnit XML."""

    markdown: bool = False
    junit: Path | None = None
    json: bool = False

    @property
    def for_programs(self) -> bool:
        """Whether nothing else may be printed beside the report."""
        return self.markdown or self.json


TERMINAL = Form()


def report(
    config: StackConfig,
    run_id: str,
    environment: Environment | None = None,
    form: Form = TERMINAL,
) -> Record:
    """Report a run once all of it has arrived, or from its record if Prometheus does not have it.

    `environment` is that of a run that has just been made. Return the record that was reported.
    """
    console = make_console()
    try:
        record = _read(config, run_id, environment)
    except (UnknownRunError, PrometheusError) as error:
        saved = load_saved(run_id)
        if saved is None:
            raise
        error.show()
        _show_beside(console, "This is the saved record of the run:", form)
        _show(console, saved, summary.find(saved), form, save=False)
        return saved
    findings = summary.find(record)
    _show(console, record, findings, form, save=True)
    if not record.operations:
        return record
    if page := publication.publish(config, record, findings):
        _show_beside(console, f"In a browser: {page}", form)
    started, ended = record.period.started, record.period.ended
    if address := find_run_dashboard(config.grafana_url, run_id, started, ended):
        _show_beside(console, f"In Grafana: {address}", form)
    return record


def report_part(config: StackConfig, run_id: str, bounds: Bounds, form: Form = TERMINAL) -> None:
    """Report a part of a run, in files of its own."""
    console = make_console()
    with Console(stderr=True).status("Reading a part of the run"):
        record = part.read(config, run_id, bounds)
    _show(console, record, summary.find(record), form, save=True)


def _read(config: StackConfig, run_id: str, environment: Environment | None) -> Record:
    # Not on stdout, where FORCE_COLOR would put it into what a program reads.
    with Console(stderr=True).status("Reading the run") as status:

        def progress(completeness: Completeness) -> None:
            answered = completeness.sent - completeness.unanswered
            status.update(
                f"Waiting for the run's last spans: {completeness.traced:,} of {answered:,}"
            )

        return read(config, run_id, progress, environment)


def _show(console: Console, record: Record, findings: Findings, form: Form, *, save: bool) -> None:
    """Print a run and write its report page, and its record if it is new."""
    if form.junit:
        junit.write(form.junit, record)
    if form.json:
        print_json(record)
    elif form.markdown:
        echo(run_markdown.render(record, findings))
    else:
        run_terminal.show(console, record, findings)
    if not record.operations:
        return
    if not form.for_programs:
        run_terminal.show_errors(console, record)
        run_terminal.show_traces(console, record)
        console.print()
    paths = [run_html.write(record, findings), *([record.save()] if save else [])]
    for path in paths:
        _show_beside(console, str(short_path(path)), form)


def _show_beside(console: Console, text: str, form: Form) -> None:
    """Print what is not part of the report; as progress if that is for programs."""
    if form.for_programs:
        say(text)
    else:
        console.print(Text(text), soft_wrap=True)
