"""Where the time of a run's requests goes: parts of their mean duration, which add up to it.

A span of a database statement ends when the event loop gets round to the response, so it measures
the event loop as well as PostgreSQL. The parts therefore come from what each side says of itself:
k6 how late its pauses return, the event loop how late it runs, the pool how long requests wait for
a connection, PostgreSQL what its backends do. docs/bottleneck.md has the method and its error.

Every expression takes the run, the labels to group by, and the window of the metrics that belong to
processes instead of runs: the time of the run's load, or its interval. Sources report at different
times, so each mean is a quotient of two numbers of one source, of the same report.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lab.promql import load_run
from lab.promql.api import ALL_CALLS, CLINIC, INSTANCE, LOAD_RUNS, REQUEST_SECONDS
from lab.promql.postgresql import SAMPLER
from lab.promql.selectors import (
    OPERATION,
    SPAN_CALLS,
    SPAN_LABEL,
    SPAN_SECONDS,
    Interval,
    RunSelector,
    Side,
    aggregate,
    histogram_quantile,
    joined,
    quoted,
)

PART = "part"
STATEMENT = "statement"
STATEMENT_ID = "statement_id"
SPAN_STATEMENT_ID = "clinic_statement_id"
STATE = "clinic_event_loop_state"

LATENESS = "k6_pause_lateness_seconds"
ARRIVAL_WAIT = f"clinic_request_wait_seconds{{{CLINIC}}}"
LAG = f"clinic_event_loop_lag_seconds{{{CLINIC}}}"
USE_TIME = f"db_client_connection_use_time_seconds{{{CLINIC}}}"
WAIT_TIME = f"db_client_connection_wait_time_seconds{{{CLINIC}}}"
CONNECTIONS_USED = f'db_client_connection_count{{{CLINIC},db_client_connection_state="used"}}'
CONNECTIONS_ALLOWED = f"db_client_connection_max{{{CLINIC}}}"
CONNECTION_WAIT = 'span_name="connection wait"'
INTERNAL = "SPAN_KIND_INTERNAL"

CALLS = f"postgresql_statement_calls_total{{{SAMPLER}}}"
EXECUTION_TIME = f"postgresql_statement_seconds_total{{{SAMPLER}}}"
LOOKS = f"postgresql_samples_total{{{SAMPLER}}}"

# Services report this often; the API in the middle of each such interval of the clock.
EXPORT_SECONDS = 5
# Scrapes are right to the millisecond, unless the machine is very busy.
MAX_JITTER = 0.2
# A source that has not reported for longer than this is not there.
SILENT_SECONDS = 4 * EXPORT_SECONDS
# How far back to look for a counter's value at the start of a window.
LOOK_BACK = "5m"
# A request waits for the event loop several times, and as long again for the kernel to pass data to
# and from PostgreSQL. What a request takes beyond that is unknown: its code awaits something else.
LOOP_WAITS = 10
OTHER_WAITS = 0.003


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which metrics of processes count: an interval, or the load of a run.

    `length` is a duration; `start` and `end` are times in seconds since 1970. All may be variables
    of a dashboard. Without them the window ends when the expression is evaluated, or as `interval`
    says. A report in an interval may cover little of the run's load: `wider` has one more. Spans
    of an interval that are stored `until` then count.
    """

    length: str
    start: str = ""
    end: str = ""
    interval: Interval | None = None
    wider: "Window | None" = None
    until: str = "end()"

    @classmethod
    def of(cls, interval: Interval, wider: Interval, until: str = "end()") -> "Window":
        """Make the window of an interval, and of one that starts a report earlier."""
        return cls(
            interval.length, interval=interval, wider=cls(wider.length, interval=wider), until=until
        )

    def last(self, series: str) -> str:
        """Last value of each series in the window."""
        return f"last_over_time({series}[{self.length}]{self._until})"

    def latest(self, series: str) -> str:
        """Last value of each series that still reports at the end of the window."""
        return f"last_over_time({series}[{3 * EXPORT_SECONDS}s]{self._until})"

    @property
    def _until(self) -> str:
        if self.interval:
            return self.interval.end
        return f" @ {self.end}" if self.end else ""

    @property
    def _before(self) -> str:
        if self.interval:
            return self.interval.start
        return f" @ {self.start}" if self.start else f" offset {self.length}"

    def most(self, series: str) -> str:
        """Largest value of each series in the window."""
        return f"max_over_time({series}[{self.length}]{self._until})"

    def growth(self, series: str, function: str = "") -> str:
        """Growth of each counter in the window; one that began or restarted counts from zero.

        A histogram, of which `function` takes the count or the sum, has no lowest value, so its
        restart is seen only if it ends lower than it began.
        """
        now = f"{function}({self.last(series)})"
        then = f"{function}(last_over_time({series}[{LOOK_BACK}]{self._before}))"
        lowest = now if function else f"min_over_time({series}[{self.length}]{self._until})"
        return f"({now} - ({then} <= {lowest}) or {now})"

    def recorded(self, histograms: str, by: str = "") -> str:
        """What histograms together recorded in the window, as one histogram, or by labels."""
        now = self.last(histograms)
        then = f"last_over_time({histograms}[{LOOK_BACK}]{self._before})"
        grown = f"{then} and histogram_count({then}) <= histogram_count({now})"
        return aggregate("sum", f"{now} - ({grown}) or {now}", by)

    def rate(self, series: str) -> str:
        """Growth of each counter per second between its last samples in and before the window.

        One that began in the window is taken to have begun with it.
        """
        seconds = f"timestamp({series}{self._until}) - timestamp({series}{self._before})"
        whole = f"0 * {self.last(series)} + {self.length}"
        return f"({self.growth(series)} / ({seconds} > 0 or {whole}))"

    def total(self, series: str, by: str = "", function: str = "") -> str:
        """Growth of all counters together, or by labels."""
        return aggregate("sum", self.growth(series, function), by)


class Part(StrEnum):
    """A part of the time that a request takes for k6."""

    GENERATOR = "generator"
    NETWORK = "network"
    API_WORKING = "api_working"
    API_EVENT_LOOP = "api_event_loop"
    API_POOL = "api_pool"
    POSTGRESQL_EXECUTING = "postgresql_executing"
    POSTGRESQL_LOCKS = "postgresql_locks"
    POSTGRESQL_COMMIT = "postgresql_commit"
    UNKNOWN = "unknown"


# What the sampler calls the states of a backend that belong to a part.
WAITS = {
    Part.POSTGRESQL_EXECUTING: "executing",
    Part.POSTGRESQL_LOCKS: "lock",
    Part.POSTGRESQL_COMMIT: "commit",
}
ALL_WAITS = "|".join(WAITS.values())


def parts(run: RunSelector, window: Window, by: str = "") -> dict[Part, str]:
    """Mean seconds of a request in each part.

    A part whose metrics are missing has no value, and its time is in `unknown`.
    """
    known = {
        Part.GENERATOR: _generator(run, window, by),
        Part.NETWORK: _network(run, window, by),
        Part.API_WORKING: _working(run, window, by),
        Part.API_EVENT_LOOP: event_loop(run, window, by),
        Part.API_POOL: pool(run, window, by),
        **{part: _postgresql(wait, run, window, by) for part, wait in WAITS.items()},
    }
    client = load_run.client_mean(run, by)
    known_time = aggregate("sum", union(known), by)
    unknown = f"(clamp_min({client} - ({known_time} or 0 * {client}), 0) >= 0)"
    return {**known, Part.UNKNOWN: unknown}


def parts_over_time(run: RunSelector, window: Window) -> dict[Part, str]:
    """Mean seconds of a request in each part, for intervals of the run that all sources cover."""
    return {part: arrived(mean, run, window) for part, mean in parts(run, window).items()}


def arrived(expression: str, run: RunSelector, window: Window) -> str:
    """Leave out an interval for which a source that reports has not yet done so."""
    if not window.interval:
        return expression
    end, until = window.interval.end_time, window.interval.end
    late = EXPORT_SECONDS + MAX_JITTER
    awaited = " or ".join(
        f"({end} - max(timestamp({series}{until})) > {late} < {late + SILENT_SECONDS})"
        for series in (loop_time_in("working"), LOOKS)
    )
    return f"({load_run.within_run(expression, run)} unless on () ({awaited}))"


def union(parts: dict[Part, str]) -> str:
    """All parts in one vector, each with its name in the label `part`."""
    return " or ".join(labelled(expression, PART, part) for part, expression in parts.items())


def labelled(expression: str, label: str, value: str) -> str:
    """An expression whose series all have this label."""
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


def loop_delay_in(states: str = ".+") -> str:
    """Select the delay of the event loop that its thread's states caused, all by default."""
    return f"clinic_event_loop_delay_seconds_total{{{CLINIC},{STATE}=~{quoted(states)}}}"


def loop_time_in(states: str = ".+") -> str:
    """Select the time that the event loop's thread spent in these states, all by default."""
    return f"clinic_event_loop_time_seconds_total{{{CLINIC},{STATE}=~{quoted(states)}}}"


# Outside the server


def lateness(run: RunSelector) -> str:
    """Mean seconds by which a pause of k6's script returned late, as a scalar."""
    return f"scalar(histogram_avg({load_run.sum_histograms(run, run.k6(LATENESS))}))"


def loop_delay(run: RunSelector, window: Window) -> str:
    """Mean seconds that an event waits for the event loop while the load runs, as a scalar.

    Of several processes, the worst one's: those that serve little would hide it.
    """
    delay = _steady(
        lambda window: mean_delay(window.total(loop_delay_in(), INSTANCE), run, window), run, window
    )
    return f"scalar({delay})"


def mean_delay(seconds: str, run: RunSelector, window: Window, by: str = "") -> str:
    """Mean delay of the event loop in the worst process, from its sum by process and labels."""
    ticks = window.total(LAG, INSTANCE, function="histogram_count")
    ticks = f"({ticks}{_load_share(run, window)} > 0)"
    return aggregate("max", f"{seconds} / on ({INSTANCE}) group_left () {ticks}", by)


def arrival_wait(run: RunSelector, window: Window) -> str:
    """Mean seconds that a request waits in its socket for the event loop, as a scalar.

    The mean delay of the event loop where that is not measured: it is less in bursts.
    """
    waited = _steady(lambda window: _mean(ARRIVAL_WAIT, window), run, window)
    return f"scalar({waited} or vector({loop_delay(run, window)}))"


def _mean(histogram: str, window: Window) -> str:
    """Mean of what a histogram recorded in a window."""
    recorded = window.total(histogram, function="histogram_sum")
    return f"{recorded} / ({window.total(histogram, function='histogram_count')} > 0)"


def _steady(mean: Callable[[Window], str], run: RunSelector, window: Window) -> str:
    """Widen an interval at the end of a run if its report covers less than half of the requests."""
    if not window.wider:
        return mean(window)
    enough = f"{_requests(run, window)} > {load_run.requests(run)} / 2"
    return f"({mean(window)} and on () {enough} or {mean(window.wider)})"


def _requests(run: RunSelector, window: Window, calls: str = LOAD_RUNS) -> str:
    """Number of requests as the API counts them, in the same reports as its other metrics."""
    series = f"{REQUEST_SECONDS}{{{joined(CLINIC, calls)}}}"
    counted = window.total(series, function="histogram_count")
    return counted if window.interval else f"({counted} or {_server_spans(run)})"


def _load_share(run: RunSelector, window: Window) -> str:
    """Factor for the share of the window in which the load ran; the rest of it is idle."""
    share = f"clamp_max({load_run.load_seconds(run)} / {window.length}, 1)"
    return f" * scalar({share})" if window.end else ""


def _outside(run: RunSelector, by: str) -> str:
    return f"clamp_min({load_run.client_mean(run, by)} - {_server(run, by)}, 0)"


def _server(run: RunSelector, by: str) -> str:
    return f"histogram_avg({load_run.side_durations(Side.SERVER, run, by)})"


def _database(run: RunSelector, by: str) -> str:
    return f"histogram_avg({load_run.side_durations(Side.DATABASE, run, by)})"


def _server_spans(run: RunSelector, by: str = "") -> str:
    return f"histogram_count({load_run.span_durations(Side.SERVER, run, by)})"


def _generator(run: RunSelector, window: Window, by: str) -> str:
    """What k6 needs to notice a response: as late as its pauses return."""
    return f"({_outside_share(run, window, by)} * {lateness(run)} >= 0)"


def _network(run: RunSelector, window: Window, by: str) -> str:
    """What remains outside the server without what is known of it."""
    return f"(clamp_min({_outside(run, by)} - {_known_outside(run, window, by)}, 0) >= 0)"


def _outside_share(run: RunSelector, window: Window, by: str) -> str:
    """Factor that keeps the known parts outside the server within the time outside it."""
    return f"clamp_max({_outside(run, by)} / {_known_outside(run, window, by)}, 1)"


def _known_outside(run: RunSelector, window: Window, by: str) -> str:
    """k6's lateness, the wait for the event loop, and the work before and after a request."""
    scalars = f"{lateness(run)} + {arrival_wait(run, window)}"
    return f"({_working_outside(run, window, by)} + {scalars})"


# In the API


def working(run: RunSelector, window: Window) -> str:
    """CPU seconds of the event loop's thread for each request, as a scalar."""
    spent = loop_time_in("working")
    mean = _steady(
        lambda window: f"{window.total(spent)} / ({_requests(run, window)} > 0)", run, window
    )
    return f"scalar({mean})"


def _working(run: RunSelector, window: Window, by: str) -> str:
    outside = _working_outside(run, window, by)
    too_much = f"{outside} * (1 - {_outside_share(run, window, by)})"
    return f"({working(run, window)} - {too_much} >= 0)"


def _working_outside(run: RunSelector, window: Window, by: str) -> str:
    """CPU seconds before and after a request: more than it takes without its statements."""
    server = _server(run, by)
    without = f"({server} - {_database(run, by)} or {server})"
    return f"clamp_min({working(run, window)} - {without}, 0)"


def event_loop(run: RunSelector, window: Window, by: str = "") -> str:
    """What a request waits for the event loop: on arrival, and whenever it has to go on."""
    arrival = f"{_outside_share(run, window, by)} * {arrival_wait(run, window)}"
    in_postgresql = _postgresql(ALL_WAITS, run, window, by)
    at_work = f"({working(run, window)} - {_working_outside(run, window, by)})"
    known = f"({in_postgresql} + {pool(run, window, by)} + {at_work})"
    rest = f"clamp_min({_server(run, by)} - {known}, 0)"
    most = f"{LOOP_WAITS} * {loop_delay(run, window)} + {OTHER_WAITS}"
    return f"(clamp_max({rest}, {most}) + {arrival} >= 0)"


def pool(run: RunSelector, window: Window, by: str = "") -> str:
    """What a request waits for a connection to PostgreSQL.

    The spans tell it for each operation, but late: an interval has one mean, the API's own.
    """
    if window.interval:
        mean = _steady(
            lambda window: (
                f"{window.total(WAIT_TIME, function='histogram_sum')}"
                f" / ({_requests(run, window, ALL_CALLS)} > 0)"
            ),
            run,
            window,
        )
        return f"(scalar({mean}) + 0 * {_server(run, by)} >= 0)"
    waits = load_run.sum_histograms(
        run, run.spans(SPAN_SECONDS, INTERNAL, CONNECTION_WAIT), by, SPAN_LABEL
    )
    spans = _server_spans(run, by)
    return f"((histogram_sum({waits}) or 0 * {spans}) / ({spans} > 0))"


# In PostgreSQL


def postgresql(wait: str, run: RunSelector, window: Window, by: str = "") -> str:
    """Seconds of a request in which its backend was in this state; by statement, so exact.

    Absent if nothing samples PostgreSQL.
    """
    return _of_statements(backend_mean(wait, window), run, window, by)


def _postgresql(wait: str, run: RunSelector, window: Window, by: str) -> str:
    """The same, but in an interval no more than the statements took for the API.

    A few looks at PostgreSQL may find more: the error of a sample in a short time.
    """
    sampled = postgresql(wait, run, window, by)
    if not window.interval:
        return sampled
    all_sampled = sampled if wait == ALL_WAITS else postgresql(ALL_WAITS, run, window, by)
    return f"({sampled} * clamp_max({_database(run, by)} / ({all_sampled} > 0), 1) or {sampled})"


def _of_statements(mean: str, run: RunSelector, window: Window, by: str) -> str:
    """Seconds of a request, from the mean of each statement and the run's spans of it."""
    if run.interval:
        statements, requests = _expected_statements(run, window, by), load_run.requests(run, by)
    else:
        statements, requests = _statements(run, by), _server_spans(run, by)
    named = f'label_replace({statements}, "{STATEMENT_ID}", "$1", "{SPAN_STATEMENT_ID}", "(.+)")'
    seconds = aggregate("sum", f"{named} * on ({STATEMENT_ID}) group_left () {mean}", by)
    none = f"0 * {requests} * scalar(sum({LOOKS} or last_over_time({LOOKS}[{run.window}])))"
    return f"(({seconds} or {none}) / ({requests} > 0) >= 0)"


def _statements(run: RunSelector, by: str) -> str:
    """Number of executions of each statement, from the run's spans."""
    calls = run.spans(SPAN_CALLS, Side.DATABASE)
    return load_run.sum_counters(run, calls, joined(by, SPAN_STATEMENT_ID), SPAN_LABEL)


def _expected_statements(run: RunSelector, window: Window, by: str) -> str:
    """Executions of each statement in an interval, by what k6 requested in it.

    An operation's requests execute the same statements throughout the run, so its late spans are
    needed only for their number in one request.
    """
    labels = joined(OPERATION, SPAN_STATEMENT_ID)
    calls = load_run.spans_until(window.until, Side.DATABASE, run, labels)
    served = load_run.spans_until(window.until, Side.SERVER, run, OPERATION)
    weight = f"({load_run.requests(run, OPERATION)} / on ({OPERATION}) ({served} > 0))"
    expected = f"{calls} * on ({OPERATION}) group_left () {weight}"
    return aggregate("sum", expected, joined(by, SPAN_STATEMENT_ID))


def backend_mean(wait: str, window: Window, by: str = STATEMENT_ID) -> str:
    """Seconds in this state for each execution of a statement, by the statement's id or name."""
    return _mean_of_calls(backend_time(wait), window, by)


def execution_mean(window: Window, by: str = STATEMENT_ID) -> str:
    """Seconds of execution as PostgreSQL counts them, row locks included, by statement."""
    return _mean_of_calls(EXECUTION_TIME, window, by)


def _mean_of_calls(seconds: str, window: Window, by: str) -> str:
    mean = f"{window.total(seconds, by)} / ({window.total(CALLS, by)} > 0)"
    if window.wider:
        mean += f" or {_mean_of_calls(seconds, window.wider, by)}"
    return f"({mean})"


def backend_time(waits: str) -> str:
    """Select what the sampler counted for these states."""
    return f"postgresql_backend_seconds_total{{{SAMPLER},wait=~{quoted(waits)}}}"


def last_samples() -> str:
    """Time of the oldest one of the last samples of the API's processes and of PostgreSQL.

    Processes that have ended do not count: all report at the same moments of the clock.
    """
    samples = f"timestamp({loop_time_in('working')})"
    running = f"{samples} > on () group_left () (max({samples}) - {1.5 * EXPORT_SECONDS})"
    api = labelled(f"min({running})", "job", "clinic")
    return f"min({api} or max(timestamp({LOOKS})))"


def statement_time(wait: str, window: Window) -> str:
    """Seconds in which backends were seen in this state, by statement."""
    return window.total(backend_time(wait), STATEMENT)


def execution(run: RunSelector, window: Window, by: str = "") -> str:
    """Seconds of execution in a request as PostgreSQL counts them, row locks included."""
    return _of_statements(execution_mean(window), run, window, by)


def event_loop_busy(window: Window) -> str:
    """Share of the time in which the event loop's thread of the busiest process was not idle."""
    idle, all_states = (window.total(loop_time_in(states), INSTANCE) for states in ("idle", ".+"))
    return f"max(1 - {idle} / ({all_states} > 0))"


def event_loop_lag(quantile: float, window: Window) -> str:
    """Quantile of the seconds by which the event loop of the worst process ran a callback late."""
    return f"max({histogram_quantile(quantile, window.recorded(LAG, INSTANCE))})"


def connections_used(window: Window) -> str:
    """Connections of a process's pool in use: the most that a report in the window states."""
    return f"max({window.most(CONNECTIONS_USED)})"


def connections_allowed(window: Window) -> str:
    """Connections that the pool of a process may open."""
    return f"max({window.last(CONNECTIONS_ALLOWED)})"


def event_loop_time(run: RunSelector, window: Window) -> str:
    """Seconds of each second of the load that the event loop's thread spent in each state.

    Of several processes, the most that one of them spent.
    """
    seconds = aggregate("max", window.total(loop_time_in(), joined(STATE, INSTANCE)), STATE)
    return f"{seconds} / scalar({load_run.load_seconds(run)})"


def lateness_quantile(quantile: float, run: RunSelector) -> str:
    """Quantile of the seconds by which a pause of k6's script returned late."""
    return histogram_quantile(quantile, load_run.sum_histograms(run, run.k6(LATENESS)))


def fsync_mean(window: Window) -> str:
    """Seconds that a flush of the write-ahead log took the disk."""
    seconds = window.total(f"postgresql_wal_fsync_seconds_total{{{SAMPLER}}}")
    fsyncs = window.total(f"postgresql_wal_fsyncs_total{{{SAMPLER}}}")
    return f"{seconds} / ({fsyncs} > 0)"


def lock_time(window: Window) -> str:
    """Seconds that backends were seen to wait, by kind of lock."""
    return window.total(f"postgresql_lock_seconds_total{{{SAMPLER}}}", "lock")
