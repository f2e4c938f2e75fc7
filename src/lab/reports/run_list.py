"""The runs there are: those Prometheus holds, and those it has forgotten but a file has kept."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.clients.prometheus import Prometheus, PrometheusError
from lab.console import milliseconds, plain
from lab.promql import load_run, run_list
from lab.promql.selectors import RETENTION, RunList
from lab.runs import record
from lab.runs.reader import SILENT_WHEN_OVER
from lab.runs.record import Record, RecordError, Verdict
from lab.runs.timeline import QUANTILE

STYLES: dict[Verdict, str] = {
    "passed": "green",
    "failed": "red",
    "aborted": "yellow",
    "running": "cyan",
    "none": "",
}
BEGINS_WITH_A_TIME = re.compile(r"\d{8}-\d{6}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in a line. What was not known is None; `saved` is one that only a file has kept."""

    run_id: str
    started: float | None
    profile: str | None
    journey: str | None
    seconds: float | None
    requests: int
    client_p95: float | None
    failed_share: float | None
    verdict: Verdict
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs, newest first, and in sentences what stood in the way of listing others."""

    runs: list[Listed]
    remarks: list[str]


def read(prometheus_url: str) -> Listing:
    """List the runs of Prometheus and of the saved files; either may be missing."""
    remarks = []
    try:
        with Prometheus(prometheus_url) as prometheus:
            known = {listed.run_id: listed for listed in _of_prometheus(prometheus)}
    except PrometheusError as error:
        remarks.append(f"{error.message.removesuffix('.')}. Only saved runs are listed.")
        known = {}
    for path in record.all_saved():
        try:
            saved = record.load(path)
        except RecordError as error:
            remarks.append(error.message)
            continue
        if saved.run_id not in known:
            known[saved.run_id] = _of_file(saved)
    runs = sorted(known.values(), key=lambda of: (of.started or 0.0, of.run_id), reverse=True)
    return Listing(runs, remarks)


def _of_prometheus(prometheus: Prometheus) -> list[Listed]:
    now = time.time() + 10

    def by_run(query: str) -> dict[str, float]:
        return prometheus.by_label(query, "testid", now)

    all_runs = RunList(RETENTION)
    requests = by_run(load_run.requests(all_runs, "testid"))
    begun = prometheus.series(load_run.started(all_runs, run_list.RUN_LABELS), now)
    marks = {labels["testid"]: labels for labels, _ in begun}
    started = {labels["testid"]: at for labels, at in begun}
    seconds = by_run(load_run.duration(all_runs, "testid"))
    last_heard = by_run(run_list.last_push())
    broken_off = by_run(load_run.missing_seconds(all_runs, "testid"))
    passed = by_run(load_run.passed(all_runs, "testid"))
    p95 = by_run(load_run.client_quantile(QUANTILE, all_runs, "testid"))
    failed = by_run(load_run.failed_share(all_runs, "testid"))

    def verdict(run: str) -> Verdict:
        if run not in started:
            return "none"
        if run not in seconds:
            return "running" if now - last_heard.get(run, 0.0) < SILENT_WHEN_OVER else "aborted"
        if passed.get(run) == 0:
            return "failed"
        if run in broken_off:
            return "aborted"
        return "passed" if run in passed else "none"

    def lasted(run: str) -> float | None:
        if verdict(run) == "running":
            return now - started[run]
        return seconds.get(run)

    return [
        Listed(
            run_id=run,
            started=started.get(run) or _in_the_id(run),
            profile=marks.get(run, {}).get("profile"),
            journey=marks.get(run, {}).get("journey"),
            seconds=lasted(run),
            requests=round(requests.get(run, 0)),
            client_p95=p95.get(run),
            failed_share=failed.get(run),
            verdict=verdict(run),
        )
        for run in requests.keys() | started.keys()
    ]


def _in_the_id(run: str) -> float | None:
    """Give the time that a run's id begins with, if it does."""
    found = BEGINS_WITH_A_TIME.match(run)
    try:
        at = datetime.strptime(f"{found[0]}+0000", "%Y%m%d-%H%M%S%z") if found else None
    except ValueError:
        return None
    return at.timestamp() if at else None


def _of_file(saved: Record) -> Listed:
    return Listed(
        run_id=saved.run_id,
        started=saved.period.started,
        profile=saved.profile,
        journey=saved.journey,
        seconds=saved.period.seconds,
        requests=saved.total.requests,
        client_p95=saved.total.client_p95,
        failed_share=saved.total.failed_share,
        verdict=saved.verdict,
        saved=True,
    )


def show(console: Console, listing: Listing, last: int | None) -> None:
    """Print the runs as a table, newest first, and what stood in the way of listing others."""
    shown = listing.runs[:last]
    if shown:
        console.print(_table(shown))
    remarks = [*listing.remarks]
    if any(listed.saved for listed in shown):
        remarks.append("* Prometheus does not hold it: read from its saved file.")
    if len(shown) < len(listing.runs):
        remarks.append(f"{len(shown)} of {len(listing.runs):,} runs.")
    if not shown:
        none = "There is none." if remarks else "There is no run yet."
        remarks.append(f"{none} `just smoke` makes one in 20 s.")
    for remark in remarks:
        console.print(Text(remark))


def _table(runs: Sequence[Listed]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("When (UTC)", no_wrap=True)
    table.add_column("Run", overflow="fold")
    table.add_column("Profile", no_wrap=True)
    table.add_column("Journey", no_wrap=True)
    for heading in ("Duration", "Requests", "Client\np95 ms", "Failed\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for listed in runs:
        table.add_row(
            *map(Text, _cells(listed)), Text(listed.verdict, style=STYLES[listed.verdict])
        )
    return table


def _cells(listed: Listed) -> list[str]:
    began = listed.started and datetime.fromtimestamp(listed.started, UTC)
    failed = listed.failed_share
    return [
        f"{began:%Y-%m-%d %H:%M:%S}" if began else "-",
        plain(listed.run_id) + (" *" if listed.saved else ""),
        plain(listed.profile or "-"),
        plain(listed.journey or "-"),
        _duration(listed.seconds),
        f"{listed.requests:,}",
        milliseconds(listed.client_p95),
        "-" if failed is None else f"{failed * 100:.2f}",
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"
