"""The verdict on a run, from what k6 recorded about it."""

from lab.promql.load_run import EARLY_SECONDS, SILENT_SECONDS
from lab.runs.record import Verdict


def verdict(
    *, passed: float | None, seconds: float | None, planned: float | None, silent_for: float
) -> Verdict:
    """Judge a run by its thresholds (`passed` is 1 or 0) and its length, as the dashboards do.

    `seconds` is None if k6 recorded no end, and `silent_for` the time since its last push.
    """
    if seconds is None and silent_for < SILENT_SECONDS:
        return "running"
    if passed == 0:
        return "failed"
    if ended_early(seconds, planned):
        return "aborted"
    return "none" if passed is None else "passed"


def ended_early(seconds: float | None, planned: float | None) -> bool:
    """Tell whether the load ended before its plan, as a failed run does that a threshold aborts."""
    return planned is not None and (seconds is None or seconds < planned - EARLY_SECONDS)
