"""The runs there are, with what k6 says of each."""

from lab.promql.run_totals import CLIENT_SECONDS, FAILED, REQUESTS
from lab.promql.selectors import ENDED, PASSED, PLANNED, STARTED

# The series whose label `testid` lists the runs.
RUNS = f'{REQUESTS}{{scenario!=""}}'

_MARKS = "testid, profile, journey"
_OF_LOAD = 'scenario!=""'


def runs(window: str, only: str = "") -> str:
    """List the runs that began in the range with their profile, journey and starting time."""
    return f"min by ({_MARKS}) ({_last(STARTED, window, only)})"


def ends(window: str, only: str = "") -> str:
    """Give the time at which each run's load ended."""
    return f"max by ({_MARKS}) ({_last(ENDED, window, only)})"


def seconds(window: str, only: str = "") -> str:
    """Give how long each run's load lasted; one that is still on, or was killed, has no value."""
    return f"{ends(window, only)} - {runs(window, only)}"


def last_heard() -> str:
    """Give the time of each run's last push; one that ended, or fell silent, soon has no value."""
    return "max by (testid) (timestamp(k6_vus))"


def broken_off(window: str, only: str = "") -> str:
    """List the runs whose load ended well before the plan, by the seconds that are missing."""
    missing = f"{_planned(window, only)} - ({seconds(window, only)})"
    return f"({missing}) > 1"


def passed(window: str, only: str = "") -> str:
    """Give 1 for each run whose thresholds all held on every generator, 0 for the others."""
    return f"min by ({_MARKS}) ({_last(PASSED, window, only)})"


def choices(window: str, only: str = "") -> str:
    """List the runs, newest first, with a label `run` to choose one by: when, profile, journey."""
    named = f'label_join({runs(window, only)}, "run", " · ", "testid", "profile", "journey")'
    time = "([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})-[^ ]* · (.+)"
    return f'sort_desc(label_replace({named}, "run", "$1-$2-$3 $4:$5:$6 · $7", "run", "{time}"))'


def page_from(window: str, only: str = "") -> str:
    """Give the millisecond from which a page shows a run."""
    return f"1000 * ({runs(window, only)} - 10)"


def page_to(window: str, only: str = "") -> str:
    """Give the millisecond to which a page shows a run: past the last flush of every part."""
    planned_end = f"{runs(window, only)} + {_planned(window, only)}"
    return f"1000 * (({ends(window, only)} or {planned_end}) + 30)"


def _planned(window: str, only: str) -> str:
    return f"max by ({_MARKS}) ({_last(PLANNED, window, only)})"


def _last(mark: str, window: str, only: str) -> str:
    return f"last_over_time({mark}{{{only}}}[{window}])"


def requests(window: str, only: str = "") -> str:
    """Count the requests of each run."""
    return f"sum by (testid) (last_over_time({_load(REQUESTS, only)}[{window}]))"


def client_quantile(quantile: float, window: str, only: str = "") -> str:
    """Give a quantile of the seconds any request of each run took k6."""
    seconds_of_all = f"last_over_time({_load(CLIENT_SECONDS, only)}[{window}])"
    return f"histogram_quantile({quantile}, sum by (testid) ({seconds_of_all}))"


def failed_share(window: str, only: str = "") -> str:
    """Give the failed share of each run's requests, 0 to 1."""
    total = requests(window, only)
    failed = f"sum by (testid) (last_over_time({_load(REQUESTS, only, FAILED)}[{window}]))"
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def by_run(expression: str) -> str:
    """Keep of a run's marks its id alone, so that tables join."""
    return f"max by (testid) ({expression})"


def _load(metric: str, *only: str) -> str:
    return f"{metric}{{{','.join(filter(None, (_OF_LOAD, *only)))}}}"
