"""The runs there are, with what k6 says of each."""

from observability.queries.names import ENDED, HELD, PLANNED, STARTED
from observability.queries.totals import CLIENT_SECONDS, FAILED, REQUESTS

# The series whose label `testid` lists the runs.
RUNS = f'{REQUESTS}{{scenario!=""}}'

_MARKS = "testid, profile, journey"
_LOAD = 'scenario!=""'


def runs(window: str) -> str:
    """List the runs that began in the range with their profile, journey and starting time."""
    return f"min by ({_MARKS}) (last_over_time({STARTED}[{window}]))"


def seconds(window: str) -> str:
    """Give how long each run's load lasted; one that is still on, or was killed, has no value."""
    ended = f"max by ({_MARKS}) (last_over_time({ENDED}[{window}]))"
    return f"{ended} - {runs(window)}"


def last_heard() -> str:
    """Give the time of each run's last push; one that ended, or fell silent, soon has no value."""
    return "max by (testid) (timestamp(k6_vus))"


def broken_off(window: str) -> str:
    """List the runs whose load ended well before the plan, by the seconds that are missing."""
    planned = f"max by ({_MARKS}) (last_over_time({PLANNED}[{window}]))"
    missing = f"{planned} - ({seconds(window)})"
    return f"({missing}) > 1"


def held(window: str) -> str:
    """Give 1 for each run whose thresholds all held on every generator, 0 for the others."""
    return f"min by ({_MARKS}) (last_over_time({HELD}[{window}]))"


def requests(window: str) -> str:
    """Count the requests of each run."""
    return f"sum by (testid) (last_over_time({REQUESTS}{{{_LOAD}}}[{window}]))"


def client_quantile(quantile: float, window: str) -> str:
    """Give a quantile of the seconds any request of each run took k6."""
    seconds_of_all = f"last_over_time({CLIENT_SECONDS}{{{_LOAD}}}[{window}])"
    return f"histogram_quantile({quantile}, sum by (testid) ({seconds_of_all}))"


def failed_share(window: str) -> str:
    """Give the failed share of each run's requests, 0 to 1."""
    total = requests(window)
    failed = f"sum by (testid) (last_over_time({REQUESTS}{{{_LOAD},{FAILED}}}[{window}]))"
    return f"({failed} or 0 * {total}) / {total}"
