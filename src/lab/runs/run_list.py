"""The list of runs: those in Prometheus, and saved ones that it no longer has."""

import difflib
import re
import time
from dataclasses import dataclass
from datetime import datetime

from lab.clients.prometheus import Prometheus, PrometheusError
from lab.errors import UserError
from lab.promql import load_run, run_list
from lab.promql.selectors import RETENTION, RunList
from lab.runs import record
from lab.runs.record import Record, RecordError, Verdict
from lab.runs.timeline import QUANTILE
from lab.runs.verdict import verdict

TIME_IN_ID = re.compile(r"\d{8}-\d{6}")
MAX_SUGGESTIONS = 3


class UnknownRunError(UserError):
    """There is no such run; the message suggests others."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in short; unknown values are None."""

    run_id: str
    started: float | None
    profile: str | None
    journey: str | None
    seconds: float | None
    requests: int
    client_p95: float | None
    failed_share: float | None
    verdict: Verdict
    only_saved: bool = False
    """Prometheus no longer has the run."""


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs, newest first by their start, and what could not be read."""

    runs: list[RunSummary]
    prometheus_error: PrometheusError | None = None
    unreadable: tuple[RecordError, ...] = ()

    def newest(self) -> RunSummary:
        if not self.runs:
            raise self.prometheus_error or UnknownRunError(
                "No runs yet: `just smoke` makes one in 20 s."
            )
        return self.runs[0]

    def find(self, prefix: str) -> RunSummary:
        """Return the run with this id, or the only one whose id starts with it."""
        exact = [run for run in self.runs if run.run_id == prefix]
        matches = exact or [run for run in self.runs if run.run_id.startswith(prefix)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            some = ", ".join(run.run_id for run in matches[:MAX_SUGGESTIONS])
            raise UnknownRunError(
                f"{len(matches)} runs start with {prefix!r}, such as {some}: type more of the id."
            )
        self.newest()  # raises where there is no run at all
        ids = [run.run_id for run in self.runs]
        near = difflib.get_close_matches(prefix, ids, MAX_SUGGESTIONS, cutoff=0.5)
        raise UnknownRunError(
            f"There is no run {prefix!r}. Similar ids: {', '.join(near)}"
            if near
            else f"There is no run {prefix!r}. The newest: {', '.join(ids[:MAX_SUGGESTIONS])}"
        )


def list_runs(prometheus_url: str) -> Runs:
    """List the runs in Prometheus and in saved records; either may be unavailable."""
    runs: dict[str, RunSummary] = {}
    prometheus_error = None
    try:
        with Prometheus(prometheus_url) as prometheus:
            runs = {run.run_id: run for run in _runs_in_prometheus(prometheus)}
    except PrometheusError as error:
        prometheus_error = error
    unreadable = []
    for path in record.saved_files():
        try:
            saved = record.load(path)
        except RecordError as error:
            unreadable.append(error)
        else:
            runs.setdefault(saved.run_id, _summary(saved))
    newest_first = sorted(
        runs.values(), key=lambda run: (run.started or 0.0, run.run_id), reverse=True
    )
    return Runs(newest_first, prometheus_error, tuple(unreadable))


def _runs_in_prometheus(prometheus: Prometheus) -> list[RunSummary]:
    now = time.time() + 10
    runs = RunList(RETENTION)

    def by_run(query: str) -> dict[str, float]:
        return prometheus.by_label(query, "testid", now)

    starts = prometheus.series(load_run.started(runs, run_list.RUN_LABELS), now)
    labels = {labels["testid"]: labels for labels, _ in starts}
    started = {labels["testid"]: start for labels, start in starts}
    requests = by_run(load_run.requests(runs, "testid"))
    seconds = by_run(load_run.duration(runs, "testid"))
    planned = by_run(load_run.planned_seconds(runs, "testid"))
    passed = by_run(load_run.passed(runs, "testid"))
    last_push = by_run(run_list.last_push())
    p95 = by_run(load_run.client_quantile(QUANTILE, runs, "testid"))
    failed = by_run(load_run.failed_share(runs, "testid"))
    summaries = []
    for run_id in requests.keys() | started.keys():
        start = started.get(run_id) or _time_in_id(run_id)
        judged = verdict(
            passed=passed.get(run_id),
            seconds=seconds.get(run_id),
            planned=planned.get(run_id),
            silent_for=now - last_push.get(run_id, 0.0),
        )
        so_far = now - start if judged == "running" and start else None
        summaries.append(
            RunSummary(
                run_id=run_id,
                started=start,
                profile=labels.get(run_id, {}).get("profile"),
                journey=labels.get(run_id, {}).get("journey"),
                seconds=seconds.get(run_id, so_far),
                requests=round(requests.get(run_id, 0)),
                client_p95=p95.get(run_id),
                failed_share=failed.get(run_id),
                verdict=judged,
            )
        )
    return summaries


def _time_in_id(run_id: str) -> float | None:
    """Return the start of a run by its id, for those that k6 recorded none of."""
    match = TIME_IN_ID.match(run_id)
    try:
        start = datetime.strptime(f"{match[0]}+0000", "%Y%m%d-%H%M%S%z") if match else None
    except ValueError:
        return None
    return start.timestamp() if start else None


def _summary(saved: Record) -> RunSummary:
    return RunSummary(
        run_id=saved.run_id,
        started=saved.period.started,
        profile=saved.profile,
        journey=saved.journey,
        seconds=saved.period.seconds,
        requests=saved.total.requests,
        client_p95=saved.total.client_p95,
        failed_share=saved.total.failed_share,
        verdict=saved.verdict,
        only_saved=True,
    )
