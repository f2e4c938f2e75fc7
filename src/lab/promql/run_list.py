"""The list of runs in Prometheus, and how dashboards let one choose among them."""

from lab.promql.load_run import (
    REQUESTS,
    VIRTUAL_USERS,
    duration,
    ended,
    planned_seconds,
    started,
)
from lab.promql.selectors import RunList

# The series whose label `testid` lists the runs.
RUNS = f'{REQUESTS}{{scenario!=""}}'

RUN_LABELS = "testid, profile, journey"
# A run that ends earlier than planned by more than this many seconds was aborted: the plan and the
# marks are stamped with fractions of a second between them.
EARLY_SECONDS = 1


def last_push() -> str:
    """Time of each run's last push, for runs that pushed within the last five minutes."""
    return f"max by (testid) (timestamp({VIRTUAL_USERS}))"


def missing_seconds(runs: RunList, by: str = "testid") -> str:
    """Planned seconds that are missing from each run that ended early."""
    missing = f"{planned_seconds(runs, by)} - ({duration(runs, by)})"
    return f"({missing}) > {EARLY_SECONDS}"


def choices(runs: RunList) -> str:
    """List the runs, newest first, with a label `run` to choose one by: when, profile, journey."""
    start = started(runs, RUN_LABELS)
    name = f'label_join({start}, "run", " · ", "testid", "profile", "journey")'
    time = "([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})-[^ ]* · (.+)"
    return f'sort_desc(label_replace({name}, "run", "$1-$2-$3 $4:$5:$6 · $7", "run", "{time}"))'


def dashboard_from(runs: RunList) -> str:
    """Start of the time range of a run's dashboard, in milliseconds since 1970."""
    return f"1000 * ({started(runs, 'testid')} - 10)"


def dashboard_to(runs: RunList) -> str:
    """End of the time range of a run's dashboard, past the last flush of every service."""
    planned_end = f"{started(runs, 'testid')} + {planned_seconds(runs, 'testid')}"
    return f"1000 * (({ended(runs, 'testid')} or {planned_end}) + 30)"
