"""Read a run back, print its table, and write its record and its page."""

from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from lab.clients import trace_store
from lab.clients.grafana import find_run_dashboard
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.clients.spans import Period
from lab.clients.trace_store import Found, RunTraces, Store, TraceStoreError
from lab.console import clock, make_console, short_path
from lab.findings import summary
from lab.findings.summary import Findings
from lab.promql import load_run
from lab.promql.selectors import RunSelector, Side
from lab.reports import run_html, run_terminal, sentences
from lab.runs import reader, record
from lab.runs.reader import UnknownRunError
from lab.runs.record import Completeness, Environment, Record, Trace
from lab.stack.config import StackConfig

TRACES_KEPT = 10
# A first guess at the threshold that finds the slowest: some four times as many are slower.
FIRST_GUESS = 40


def report(config: StackConfig, run: str | None, environment: Environment | None = None) -> None:
    """Print all that the stack knows of a run, once the last of it has arrived, and write it."""
    console = make_console()
    try:
        with Prometheus(config.prometheus_url) as prometheus:
            if not run:
                run = reader.newest_run(prometheus)
            elif environment is None:  # what a person asks for; a run just made has its whole id
                run = reader.whole_id(prometheus, run)
            of_run, guess = read(console, prometheus, run, over=environment is not None)
    except (UnknownRunError, PrometheusError) as error:
        kept = record.saved(run) if run else newest_saved()
        if kept is None:
            raise
        error.show()
        console.print(Text("This is what was saved of the run:"))
        findings = summary.find(kept)
        run_terminal.show(console, kept, findings)
        run_terminal.show_traces(console, kept)
        say_written(console, [run_html.write(kept, findings)])
        return
    findings = summary.find(of_run)
    run_terminal.show(console, of_run, findings)
    if not of_run.operations:
        return
    try:
        with trace_store.store_at(config.traces_url) as store:
            of_run = with_traces(of_run, store, guess, findings)
    except TraceStoreError as error:
        error.show()
        of_run = remark(of_run, error.message)
    of_run = with_what_was_known(of_run, environment)
    run_terminal.show_traces(console, of_run)
    say_written(console, [run_html.write(of_run, findings), of_run.save()])
    if there := find_run_dashboard(
        config.grafana_url, of_run.run_id, of_run.period.started, of_run.period.ended
    ):
        console.print(Text(f"In Grafana: {there}"), soft_wrap=True)


def newest_saved() -> Record | None:
    """Read the newest of the saved records, if there is one."""
    runs = reader.newest_first(path.stem for path in record.all_saved())
    return record.saved(runs[0]) if runs else None


def read(console: Console, prometheus: Prometheus, run: str, *, over: bool) -> tuple[Record, float]:
    """Read a run's numbers, and guess in seconds what few of its requests took longer than."""
    period = reader.period_of(prometheus, run)
    still_on = not over and reader.is_on(prometheus, run, period)
    waited = still_on or wait(console, prometheus, run, period)
    of_run = reader.read_record(prometheus, run, period, still_on=still_on)
    if not waited:
        of_run = remark(of_run, "The last spans were not waited for: more may still come.")
    quantile = max(0.0, 1 - FIRST_GUESS / max(1, of_run.completeness.traced))
    query = load_run.span_quantile(quantile, Side.SERVER, RunSelector(run, period.window))
    guess = prometheus.number(query, period.read_at) or 0.0
    return with_remarks(of_run), guess


def wait(console: Console, prometheus: Prometheus, run: str, period: Period) -> bool:
    """Wait for the last spans, and say whether that was done; Ctrl-C asks for what there is."""

    def tell(completeness: Completeness) -> None:
        status.update(
            f"Waiting for the run's last spans: {completeness.traced:,} of "
            f"{completeness.sent - completeness.unanswered:,}"
        )

    with console.status("Waiting for the run's last spans") as status:
        try:
            reader.wait_for_spans(prometheus, run, period, tell)
        except KeyboardInterrupt:
            return False
    return True


def with_remarks(of_run: Record) -> Record:
    """Say of a run that is still on, or whose spans did not come, that it is not all of it."""
    if of_run.verdict == "running":
        now = clock(of_run.period.seconds)
        return remark(of_run, f"The run is still on: this is what there is of it after {now}.")
    for sentence in sentences.loss_texts(of_run.completeness):
        of_run = remark(of_run, sentence)
    return of_run


def remark(of_run: Record, sentence: str) -> Record:
    return msgspec.structs.replace(of_run, missing=[*of_run.missing, sentence])


def with_traces(of_run: Record, store: Store, guess: float, findings: Findings) -> Record:
    """Add the slowest and failed traces, the slowest of the slowest operation among them."""
    of = RunTraces(of_run.run_id, of_run.period)
    slowest = trace_store.slowest(store, of, TRACES_KEPT, guess)
    if not slowest:
        return remark(of_run, f"{store.name} holds no trace of this run: it keeps them for a day.")
    slow = findings.slowest and findings.slowest.stats
    if slow and all(found.operation != slow.operation for found in slowest):
        of = RunTraces(of_run.run_id, of_run.period, slow.operation)
        slowest += trace_store.slowest(store, of, 1, slow.server_p95 or 0.0)
    failed = store.failed(
        RunTraces(of_run.run_id, of_run.period), of_run.failed_statuses, TRACES_KEPT
    )
    return msgspec.structs.replace(
        of_run,
        slowest_traces=[whole(store, found) for found in slowest],
        failed_traces=[whole(store, found) for found in failed],
    )


def whole(store: Store, found: Found) -> Trace:
    """Fetch the spans of a request that a search found."""
    return Trace(
        found.trace_id,
        found.operation,
        found.start,
        found.duration,
        found.status,
        store.trace(found.trace_id),
    )


def with_what_was_known(of_run: Record, environment: Environment | None) -> Record:
    """Keep of an earlier record what can be read no more: the environment, expired traces."""
    with suppress(record.RecordError):
        if kept := record.saved(of_run.run_id):
            environment = environment or kept.environment
            if not of_run.slowest_traces and kept.slowest_traces:
                of_run = msgspec.structs.replace(
                    of_run, slowest_traces=kept.slowest_traces, failed_traces=kept.failed_traces
                )
    return msgspec.structs.replace(of_run, environment=environment)


def say_written(console: Console, paths: list[Path]) -> None:
    console.print()
    for path in paths:
        console.print(Text(str(short_path(path))), soft_wrap=True)
