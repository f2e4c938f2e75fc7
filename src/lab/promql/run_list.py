"""The list of runs in Prometheus, and the choices and time ranges of dashboards."""

from lab.promql import load_run, published, run_range
from lab.promql.load_run import (
    REQUESTS,
    VIRTUAL_USERS,
    ended,
    load_seconds,
    requests,
    started,
)
from lab.promql.selectors import RunList, RunSelector

# The series whose label `testid` lists the runs.
RUNS = f'{REQUESTS}{{scenario!=""}}'

RUN_LABELS = "testid, profile, journey"
INFO_LABELS = "name, note, tags, version, commit, report"
ADDRESS_LABELS = f"{run_range.FROM}, {run_range.TO}, {run_range.REFRESH}"

# The metrics of the services' processes have arrived this many seconds after a run.
LAST_EXPORT = 7

# Seconds that an interval of a run's timeline can take. Each is a multiple of k6's pushes, and a
# part of a quarter of an hour: Grafana evaluates at multiples of it in any time zone.
STEPS = (5, 10, 15, 30, 60, 90, 150, 300, 450, 900)
MAX_INTERVALS = 120


def load_start(run: RunSelector) -> str:
    """Start of a run's load in seconds since 1970."""
    return f"{started(run)} or vector(0)"


def load_end(run: RunSelector) -> str:
    """End of a run's load, with the last exports, or now if it is still running."""
    return f"({ended(run)} or vector(time())) + {LAST_EXPORT}"


def load_length(run: RunSelector) -> str:
    """Whole seconds between the two: a duration of PromQL has no fractions."""
    return f"clamp_min(ceil({load_end(run)} - ({load_start(run)})), 1)"


def step(run: RunSelector) -> str:
    """Seconds of an interval of a run's timeline: `timeline_step` of its length."""
    seconds = load_seconds(run)
    *steps, longest = STEPS
    fitting = [f"{step} + 0 * ({seconds} <= {step * MAX_INTERVALS})" for step in steps]
    return " or ".join([*fitting, f"{longest} + 0 * {seconds}", f"vector({steps[0]})"])


def timeline_step(seconds: float) -> int:
    """Return the seconds of an interval of the timeline of a run of this length."""
    return next((step for step in STEPS if seconds <= step * MAX_INTERVALS), STEPS[-1])


def shift(run: RunSelector, step: str) -> str:
    """Milliseconds from the last multiple of an interval's length to the run's start."""
    return f"round(1000 * ({started(run)} % {step})) or vector(0)"


def before(step: str, shift: str) -> str:
    """Milliseconds from the start of an interval that ends `shift` ms later than now until now."""
    return f"vector(1000 * {step} - {shift})"


def last_push() -> str:
    """Time of each run's last push, for runs that pushed within the last five minutes."""
    return f"max by (testid) (timestamp({VIRTUAL_USERS}))"


def choices(runs: RunList) -> str:
    """List the runs, newest first, with a label `run` to choose one by: when, profile, journey."""
    start = published.without_deleted(_with_others(runs))
    name = f'label_join({start}, "run", " · ", "testid", "profile", "journey")'
    name = f'label_replace({name}, "run", "$1 · another script", "run", "(.+) ·  · ")'
    time = "([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})-[^ ]* · (.+)"
    return f'sort_desc(label_replace({name}, "run", "$1-$2-$3 $4:$5:$6 · $7", "run", "{time}"))'


def listed(runs: RunList, tag: str = "") -> str:
    """The time at which each run started, with all that is said of it as labels.

    A run of another script has no label but `testid`, and the time 0. `tag` is a part of the text
    of a run's tags.
    """
    everything = RunList(runs.window)
    shown = published.without_deleted(_with_others(runs))
    if tag:
        shown = f"({shown} and on (testid) ({_tagged(runs, tag)}))"
    shown = _with_labels(shown, published.newest(published.INFO, everything), INFO_LABELS)
    return _with_labels(shown, run_range.address(everything), ADDRESS_LABELS)


def _with_others(runs: RunList) -> str:
    """The time at which each run started, and 0 for those whose scripts do not say it."""
    marked = started(RunList(runs.window), "testid")
    others = f"0 * {requests(runs, 'testid')} unless on (testid) {marked}"
    return f"({started(runs, RUN_LABELS)} or {others})"


def finished(runs: RunList, tag: str) -> str:
    """Those of the listed runs that went on for as long as planned."""
    everything = RunList(runs.window)
    ended_early = load_run.missing_seconds(everything, "testid")
    complete = f"{load_run.duration(everything, 'testid')} unless on (testid) {ended_early}"
    return f"({listed(runs, tag)} and on (testid) ({complete}))"


def request_rate(runs: RunList) -> str:
    """Requests per second of each run over its length; no value for one without an end."""
    return f"{requests(runs, 'testid')} / ({load_run.duration(runs, 'testid')} > 0)"


def of_baseline(value: str, runs: RunList) -> str:
    """The value of the baseline beside that of every run, if the runs have one baseline alone."""
    baseline = published.newest(published.BASELINE, runs, "profile, journey")
    chosen = f"scalar({value} and on (testid) {baseline})"
    return f"({chosen} + 0 * ({value}) >= 0)"


def _tagged(runs: RunList, tag: str) -> str:
    """Runs one of whose tags contains a text; all where the text is empty.

    What no one described has no such label, and a matcher for anything selects it.
    """
    matching = RunList(runs.window, f'tags=~".*{tag}.*"')
    return (
        f"{published.newest(published.INFO, matching)}"
        f" or {started(matching, 'testid')} or {requests(matching, 'testid')}"
    )


def _with_labels(runs: str, series: str, labels: str) -> str:
    """Add labels of other series to those of runs."""
    described = f"{runs} + on (testid) group_left ({labels}) 0 * {series}"
    return f"({described} or {runs} unless on (testid) {series})"
