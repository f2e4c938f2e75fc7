"""The list of runs: those in Prometheus, and saved ones that it no longer has."""

import difflib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from lab.clients.endpoint import Endpoint
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.console import plain
from lab.errors import UserError
from lab.promql import load_run, run_list
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import RETENTION, RunList, RunSelector
from lab.runs import record, run_info
from lab.runs.generators import profile_of
from lab.runs.record import Record, RecordError, Verdict, VerdictReason
from lab.runs.run_info import RunInfo
from lab.runs.timeline import QUANTILE
from lab.runs.verdict import Marks, judge

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
    verdict_reason: VerdictReason = ""
    info: RunInfo = field(default_factory=RunInfo)
    baseline: bool = False
    """Later runs of its profile and journey are compared with it."""
    only_saved: bool = False
    """Prometheus no longer has the run."""

    @property
    def rate(self) -> float | None:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else None

    @property
    def kind(self) -> tuple[str | None, str | None]:
        """What a run must share with another to be compared with it: profile and journey."""
        return (self.profile, self.journey)

    @property
    def names(self) -> list[str]:
        """Its id, and its name if it has one."""
        return [self.run_id, *filter(None, [self.info.name])]


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

    def select(
        self, profile: str | None, journey: str | None, tags: Mapping[str, str]
    ) -> list[RunSummary]:
        """Return the runs of a profile and a journey that have all of these tags."""
        return [
            run
            for run in self.runs
            if profile in {None, run.profile}
            and journey in {None, run.journey}
            and tags.items() <= dict(run.info.tags).items()
        ]

    def baseline(self, kind: tuple[str | None, str | None]) -> RunSummary | None:
        """Return the run that others of a profile and journey are compared with."""
        return next((run for run in self.runs if run.baseline and run.kind == kind), None)

    def find(self, prefix: str) -> RunSummary:
        """Return the run with this id or name, or the only one whose id or name starts with it."""
        matches = (
            [run for run in self.runs if run.run_id == prefix]
            or [run for run in self.runs if run.info.name == prefix]
            or [run for run in self.runs if any(name.startswith(prefix) for name in run.names)]
        )
        if len(matches) == 1:
            return matches[0]
        if matches:
            some = _listed([run.run_id for run in matches])
            raise UnknownRunError(
                f"{len(matches)} runs start with {prefix!r}, such as {some}: type more of the id."
            )
        self.newest()  # raises where there is no run at all
        ids = [name for run in self.runs for name in run.names]
        near = difflib.get_close_matches(prefix, ids, MAX_SUGGESTIONS, cutoff=0.5)
        raise UnknownRunError(
            f"There is no run {prefix!r}. Similar ids: {_listed(near)}"
            if near
            else f"There is no run {prefix!r}. The newest: {_listed(ids)}"
        )


def _listed(names: Sequence[str]) -> str:
    """List the first names; what k6 was called by hand may hold any characters."""
    return ", ".join(plain(name) for name in names[:MAX_SUGGESTIONS])


def list_runs(endpoint: Endpoint) -> Runs:
    """List the runs in Prometheus and in saved records; either may be unavailable."""
    runs: dict[str, RunSummary] = {}
    prometheus_error = None
    try:
        with Prometheus(endpoint) as prometheus:
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
            known = runs.get(saved.run_id)
            runs[saved.run_id] = _with_saved(known, saved) if known else _summary(saved)
    newest_first = sorted(
        runs.values(), key=lambda run: (run.started or 0.0, run.run_id), reverse=True
    )
    return Runs(newest_first, prometheus_error, tuple(unreadable))


def _runs_in_prometheus(prometheus: Prometheus) -> list[RunSummary]:
    now = time.time() + 10
    runs = RunList(RETENTION)

    def by_run(query: str) -> dict[str, float]:
        return prometheus.by_label(query, "testid", now)

    marks: dict[str, list[Mapping[str, str]]] = {}
    for generator, _ in prometheus.series(load_run.start_marks(runs), now):
        marks.setdefault(generator["testid"], []).append(generator)
    started = by_run(load_run.started(runs, "testid"))
    published = run_info.read_published(prometheus, runs, now)
    baselines = run_info.read_baselines(prometheus, now)
    requests = by_run(load_run.requests(runs, "testid"))
    seconds = by_run(load_run.duration(runs, "testid"))
    missing = by_run(load_run.missing_seconds(runs, "testid"))
    ended = by_run(load_run.ended(runs, "testid"))
    interrupted = by_run(load_run.interrupted(runs, "testid"))
    thresholds = by_run(load_run.threshold_count(runs, "testid"))
    passed = by_run(load_run.passed(runs, "testid"))
    last_push = by_run(run_list.last_push())
    p95 = by_run(load_run.client_quantile(QUANTILE, runs, "testid"))
    failed = by_run(load_run.failed_share(runs, "testid"))
    summaries = []
    deleted = run_info.read_deleted(prometheus, now)
    for run_id in (requests.keys() | started.keys()) - deleted:
        start = started.get(run_id) or _time_in_id(run_id) or _first_push(prometheus, run_id, now)
        verdict, reason = judge(
            Marks(
                started=started.get(run_id),
                ended=ended.get(run_id),
                missing=missing.get(run_id),
                interrupted=interrupted.get(run_id),
                thresholds=thresholds.get(run_id),
                passed=passed.get(run_id),
                silent_for=now - last_push.get(run_id, 0.0),
            )
        )
        so_far = now - start if verdict == "running" and start else None
        labels = marks.get(run_id, [{}])[0]
        profile = profile_of(marks.get(run_id, []))
        summaries.append(
            RunSummary(
                run_id=run_id,
                started=start,
                profile=profile,
                journey=labels.get("journey"),
                seconds=seconds.get(run_id, so_far),
                requests=round(requests.get(run_id, 0)),
                client_p95=p95.get(run_id),
                failed_share=failed.get(run_id),
                verdict=verdict,
                verdict_reason=reason,
                info=RunInfo.published(published.get(run_id, {}), marks.get(run_id, [])),
                baseline=run_id in baselines,
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


def _first_push(prometheus: Prometheus, run_id: str, now: float) -> float | None:
    """Return the start of a run by its samples."""
    run = RunSelector(run_id, RETENTION)
    series = prometheus.sample_times(load_run.activity_samples(run), now)
    return min(times[0] for times in series) - PUSH_SECONDS if series else None


def _with_saved(run: RunSummary, saved: Record) -> RunSummary:
    """Take from its record what users said of a run, and what it was made for."""
    info = RunInfo.of(saved)
    return replace(run, info=replace(info, tags=run.info.tags), baseline=saved.baseline)


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
        verdict_reason=saved.verdict_reason,
        info=RunInfo.of(saved),
        baseline=saved.baseline,
        only_saved=True,
    )
