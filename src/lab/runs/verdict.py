"""The verdict on a run, from what k6 recorded about it."""

from dataclasses import dataclass

from lab.promql.load_run import EARLY_SECONDS, SILENT_SECONDS
from lab.runs.record import Verdict, VerdictReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What k6 recorded about a run itself; None where it recorded nothing.

    `started` and `ended` are times, `thresholds` is a number of them, and `passed` is 1 or 0.
    `missing` are the planned seconds of a generator that ended early; `silent_for` is the time
    since the last push.
    """

    silent_for: float
    started: float | None = None
    ended: float | None = None
    missing: float | None = None
    interrupted: float | None = None
    thresholds: float | None = None
    passed: float | None = None

    @property
    def ended_early(self) -> bool:
        return bool(self.interrupted or self.missing)

    @property
    def is_running(self) -> bool:
        return self.ended is None and self.silent_for < SILENT_SECONDS


def judge(marks: Marks) -> tuple[Verdict, VerdictReason]:
    """Judge a run by its thresholds and its length, as lab.promql.load_run.verdict does."""
    found: dict[tuple[Verdict, VerdictReason], bool] = {
        ("running", ""): marks.is_running,
        ("failed", ""): marks.passed == 0,
        ("none", "other_generator"): marks.started is None,
        ("aborted", "killed"): marks.ended is None,
        ("aborted", "interrupted"): marks.ended_early,
        ("passed", ""): marks.passed is not None,
        ("none", "no_thresholds"): marks.thresholds == 0,
        ("none", "not_reported"): True,
    }
    return next(outcome for outcome, applies in found.items() if applies)


def ended_early(seconds: float, planned: float | None) -> bool:
    """Tell whether the load ended before its plan, as a failed run does that a threshold aborts."""
    return planned is not None and seconds < planned - EARLY_SECONDS
