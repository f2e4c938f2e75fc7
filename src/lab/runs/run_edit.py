"""Rename, delete and pin runs: in their records and, for dashboards, in Prometheus."""

import time
from collections.abc import Mapping

from msgspec.structs import replace

from lab.clients import publisher
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.console import plain
from lab.errors import UserError
from lab.promql import published
from lab.promql.selectors import RETENTION, RunSelector
from lab.runs import reader, record, run_info, start
from lab.runs.record import UNFINISHED, load_saved, result_file
from lab.runs.run_list import Runs, RunSummary
from lab.stack.config import StackConfig


def rename(config: StackConfig, runs: Runs, run: RunSummary, name: str) -> bool:
    """Give a run a name beside its id, which takes the name away.

    Return whether Prometheus has the name.
    """
    start.check_run_id(name, "The name")
    if others := [other for other in runs.runs if other != run and name in other.names]:
        raise UserError(f"{name!r} is already a name of run {plain(others[0].run_id)}.")
    new = "" if name == run.run_id else name
    saved = load_saved(run.run_id)
    if saved:
        saved = replace(saved, name=new)
        saved.save()
    labels = _published(config, run) or (run_info.labels(saved) if saved else {})
    info = {**labels, "testid": run.run_id, "name": new}
    accepted = _publish(config, published.INFO, info)
    if not accepted and not saved:
        raise PrometheusError("Prometheus did not accept the name: see `just status`.")
    return accepted


def _published(config: StackConfig, run: RunSummary) -> dict[str, str]:
    """Return the labels that were published of a run, without those of Prometheus itself."""
    try:
        with Prometheus(config.prometheus) as prometheus:
            selector = RunSelector(run.run_id, RETENTION)
            labels = run_info.read_published(prometheus, selector, time.time()).get(run.run_id, {})
    except PrometheusError:
        return {}
    return {name: value for name, value in labels.items() if name in run_info.LABELS}


def delete(config: StackConfig, runs: Runs, run: RunSummary) -> bool:
    """Remove a run's files and mark it as deleted; return whether Prometheus has the mark."""
    if run.verdict == "running":
        raise UserError(f"{plain(run.run_id)} is still running: end it with Ctrl-C first.")
    marked = _publish(config, published.DELETED, {"testid": run.run_id})
    if not marked and not runs.prometheus_error:
        raise PrometheusError("Prometheus did not accept the deletion: nothing was removed.")
    if run.baseline:
        _publish(config, published.BASELINE, _kind(run))
    for path in record.result_files(run.run_id):
        path.unlink(missing_ok=True)
    return marked


def pin(config: StackConfig, runs: Runs, run: RunSummary) -> bool:
    """Make a run the baseline of its profile and journey; return whether Prometheus has it.

    Its record, without which it could not be compared for long, is saved if it was not.
    """
    if run.verdict in UNFINISHED:
        raise UserError(
            f"{plain(run.run_id)} is {run.verdict}, so nothing can be compared with it."
        )
    for other in runs.runs:
        if other.baseline and other.kind == run.kind:
            _save_baseline(other, baseline=False)
    if not result_file(run.run_id, ".json").exists():
        reader.read(config, run.run_id, lambda _: None).save()
    _save_baseline(run, baseline=True)
    return _publish(config, published.BASELINE, {"testid": run.run_id, **_kind(run)})


def unpin(config: StackConfig, run: RunSummary) -> bool:
    """Take the baseline of a profile and journey away; return whether Prometheus knows."""
    _save_baseline(run, baseline=False)
    return _publish(config, published.BASELINE, _kind(run))


def _save_baseline(run: RunSummary, *, baseline: bool) -> None:
    if saved := load_saved(run.run_id):
        replace(saved, baseline=baseline).save()


def _kind(run: RunSummary) -> dict[str, str]:
    return {"profile": run.profile or "", "journey": run.journey or ""}


def _publish(config: StackConfig, metric: str, labels: Mapping[str, str]) -> bool:
    return publisher.publish(config.published_endpoint, {metric: [labels]})
