"""The list of runs in Prometheus, and the choices and time ranges of dashboards."""

from lab.promql.load_run import REQUESTS, VIRTUAL_USERS, ended, planned_seconds, started
from lab.promql.selectors import RunList

# The series whose label `testid` lists the runs.
RUNS = f'{REQUESTS}{{scenario!=""}}'

RUN_LABELS = "testid, profile, journey"
# A dashboard shows a run with the seconds before it, and those of every service's last flush.
SECONDS_BEFORE, SECONDS_AFTER = 10, 30


def last_push() -> str:
    """Time of each run's last push, for runs that pushed within the last five minutes."""
    return f"max by (testid) (timestamp({VIRTUAL_USERS}))"


def choices(runs: RunList) -> str:
    """List the runs, newest first, with a label `run` to choose one by: when, profile, journey."""
    start = started(runs, RUN_LABELS)
    name = f'label_join({start}, "run", " · ", "testid", "profile", "journey")'
    time = "([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})-[^ ]* · (.+)"
    return f'sort_desc(label_replace({name}, "run", "$1-$2-$3 $4:$5:$6 · $7", "run", "{time}"))'


def dashboard_from(runs: RunList) -> str:
    """Start of the time range of a run's dashboard, in milliseconds since 1970."""
    return f"1000 * ({started(runs, 'testid')} - {SECONDS_BEFORE})"


def dashboard_to(runs: RunList) -> str:
    """End of the time range of a run's dashboard, past the last flush of every service."""
    planned_end = f"{started(runs, 'testid')} + {planned_seconds(runs, 'testid')}"
    return f"1000 * (({ended(runs, 'testid')} or {planned_end}) + {SECONDS_AFTER})"
