"""When runs took place, and the time ranges of their dashboards.

A dashboard may show a time that leaves a run out, so these expressions also look ahead of the time
of evaluation. A run of another script has no marks: the pushes of one such run tell when it was; of
many, that would take too long.
"""

from lab.promql.load_run import SILENT_SECONDS, VIRTUAL_USERS, end_of_all
from lab.promql.selectors import (
    AROUND,
    PLANNED,
    STARTED,
    RunList,
    RunSelector,
    last_around,
)

Runs = RunSelector | RunList

# A dashboard shows a run with the seconds before it, and those of every service's last flush.
SECONDS_BEFORE, SECONDS_AFTER = 10, 30
# Labels of `address`.
FROM, TO, REFRESH = "from", "to", "refresh"
# How often the dashboard of a running run is drawn anew.
LIVE = "5s"


def began(runs: Runs) -> str:
    """Start of each run in seconds since 1970."""
    started = f"min by (testid) ({_mark(STARTED, runs)})"
    if isinstance(runs, RunList):
        return started
    return f"({started} or min by (testid) (min_over_time({_pushes(runs)})))"


def over(runs: Runs) -> str:
    """End of each run in seconds since 1970; no value for one that is still on.

    A killed run ends where it was planned to, and one of another script with its last push.
    """
    ended = _ended(runs)
    guess = f"min by (testid) ({_mark(STARTED, runs)}) + max by (testid) ({_mark(PLANNED, runs)})"
    if isinstance(runs, RunSelector):
        guess = f"({guess} or max by (testid) (max_over_time({_pushes(runs)})))"
    return f"({ended} or {guess} unless on (testid) {_running(runs)})"


def band(runs: Runs, start: str, end: str) -> str:
    """The present, kept between the start and the end of each run that the time range touches.

    An annotation that takes its values for times draws them as one region.
    """
    begin = f"(min by (testid) ({_mark(STARTED, runs)}) < {end} / 1000)"
    ended = _ended(runs)
    moment = f"({begin} > time() or 0 * {begin} + time())"
    return f"1000 * (({ended} < {moment} or {moment}) unless {ended} < {start} / 1000)"


def covers(run: RunSelector, start: str, end: str) -> str:
    """1 if the time range has the whole run, or all of it until now, else 0."""
    from_start = f"({began(run)} >= bool {start} / 1000)"
    to_end = f"(({over(run)} or {began(run)}) <= bool {end} / 1000)"
    return f"max({from_start} * {to_end})"


def address(runs: Runs) -> str:
    """Zero for each run, with the time range that shows it, and its refresh, as labels."""
    off = f'"{REFRESH}", "off", "", ""'
    begin = _written(FROM, f"1000 * ({began(runs)} - {SECONDS_BEFORE})")
    end = f"label_replace({_written(TO, f'1000 * ({over(runs)} + {SECONDS_AFTER})')}, {off})"
    now = _running(runs)
    for label, value in ((TO, "now"), (REFRESH, LIVE)):
        now = f'label_replace({now}, "{label}", "{value}", "", "")'
    return f"0 * ({begin} * on (testid) group_left ({TO}, {REFRESH}) ({end} or {now}))"


def _written(label: str, value: str) -> str:
    """Write whole numbers in a label."""
    return f'count_values by (testid) ("{label}", round({value}))'


def _running(runs: Runs) -> str:
    """Runs that pushed a moment ago and have not ended."""
    last_push = f"max by (testid) (timestamp({runs.marks(VIRTUAL_USERS)}))"
    return f"(time() - {last_push} < {SILENT_SECONDS} unless on (testid) {_ended(runs)})"


def _ended(runs: Runs) -> str:
    return end_of_all(lambda metric: _mark(metric, runs), "testid")


def _mark(metric: str, runs: Runs) -> str:
    return last_around(runs.marks(metric))


def _pushes(run: RunSelector) -> str:
    return f"timestamp({run.marks(VIRTUAL_USERS)})[{AROUND.format(':15s]')}"
