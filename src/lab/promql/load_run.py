"""Runs of k6: what k6, the server and the database measured, as totals or by interval.

Every expression takes the run and the labels to group by. With `RunSelector.interval` it gives a
timeline, else a total; a `RunList` gives one value for each run with `by="testid"`.

A run's series start with their first sample and end with the run. `increase` and `rate` would lose
the first push, so a total is the last value in the window, and that of an interval is the total
less what it was an interval earlier: the intervals add up to the total.
"""

from lab.promql.selectors import (
    CLIENT_LABEL,
    ENDED,
    OPERATION,
    PASSED,
    PLANNED,
    SPAN_CALLS,
    SPAN_LABEL,
    SPAN_SECONDS,
    STARTED,
    THRESHOLD_PASSED,
    RunList,
    RunSelector,
    Side,
    aggregate,
    histogram_quantile,
    quoted,
)

REQUESTS = "k6_http_reqs_total"
CLIENT_SECONDS = "k6_http_req_duration_seconds"
ERRORS = "k6_errors_total"
DROPPED = "k6_dropped_iterations_total"
ITERATIONS = "k6_iterations_total"
VIRTUAL_USERS = "k6_vus"

FAILED = 'expected_response="false"'
UNANSWERED = 'status="0"'
CREATED = 'status="201"'
ROW_INSERTED = 'span_name=~"INSERT .+",status_code!="STATUS_CODE_ERROR"'

PUSH_SECONDS = 5
# A run whose k6 has marked no end and pushed nothing for this long is over.
SILENT_SECONDS = 4 * PUSH_SECONDS
# A run that ends earlier than planned by more than this many seconds was aborted: the plan and the
# marks are stamped with fractions of a second between them.
EARLY_SECONDS = 1
# The values of `verdict` and of `mismatch`.
VERDICT_CODES = {
    "failed": 0,
    "passed": 1,
    "running": 2,
    "aborted": 3,
    "none": 4,
    "unknown run": 5,
}
MISMATCH_CODES = {
    "none": 0,
    "fewer than two runs": 1,
    "running": 2,
    "aborted": 3,
    "profile": 4,
    "journey": 5,
    "planned length": 6,
}
# The last spans of a run arrive within this time after its end.
SETTLING = "20s"

Runs = RunSelector | RunList


# The run itself


def started(runs: Runs, by: str = "") -> str:
    """Time at which the first generator began its load, in seconds since 1970."""
    return aggregate("min", _last(runs, runs.marks(STARTED)), by)


def ended(runs: Runs, by: str = "") -> str:
    """Time at which the last generator ended its load; no value for a running or killed run."""
    return aggregate("max", _last(runs, runs.marks(ENDED)), by)


def planned_seconds(runs: Runs, by: str = "") -> str:
    """Planned length of the load."""
    return aggregate("max", _last(runs, runs.marks(PLANNED)), by)


def duration(runs: Runs, by: str = "") -> str:
    """Length of the load in seconds; no value for a running or killed run."""
    return f"{ended(runs, by)} - {started(runs, by)}"


def passed(runs: Runs, by: str = "") -> str:
    """1 where all thresholds passed on every generator, 0 where one failed."""
    return aggregate("min", _last(runs, runs.marks(PASSED)), by)


def thresholds(run: RunSelector) -> str:
    """1 for each threshold that passed on every generator, 0 for the others."""
    return f"min by (metric, threshold) ({_last(run, run.marks(THRESHOLD_PASSED))})"


def missing_seconds(runs: Runs, by: str = "") -> str:
    """Planned seconds that are missing from runs that ended early."""
    return f"({planned_seconds(runs, by)} - ({duration(runs, by)})) > {EARLY_SECONDS}"


def verdict(runs: Runs, by: str = "") -> str:
    """The verdict of `lab.runs.verdict`, as one of `VERDICT_CODES`.

    Without `by`, a run of which there is no data is an `unknown run`.
    """
    end, codes = ended(runs, by), VERDICT_CODES
    last_push = aggregate("max", f"timestamp({runs.marks(VIRTUAL_USERS)})", by)
    running = f"(time() - {last_push} < {SILENT_SECONDS}) unless {end}"
    aborted = f"{missing_seconds(runs, by)} or ({planned_seconds(runs, by)} unless {end})"
    any_data = f"({started(runs, by)} or {requests(runs, by)})"
    known = (
        f"{codes['running']} + 0 * ({running}) or {passed(runs, by)} == 0"
        f" or {codes['aborted']} + 0 * ({aborted})"
        f" or {passed(runs, by)} or {codes['none']} + 0 * {any_data}"
    )
    return known if by else f"{known} or vector({codes['unknown run']})"


def mismatch(two_runs: RunList) -> str:
    """The first reason why two runs cannot be compared, as one of `MISMATCH_CODES`."""
    verdicts = f"({verdict(two_runs, 'testid')})"
    early = missing_seconds(two_runs, "testid")
    planned = f"({planned_seconds(two_runs, 'testid')})"
    reasons = {
        "fewer than two runs": f"count({started(two_runs, 'testid')}) < 2",
        "running": f"count({verdicts} == {VERDICT_CODES['running']})",
        "aborted": f"count({verdicts} == {VERDICT_CODES['aborted']} or {early})",
        "profile": f"count({started(two_runs, 'profile')}) > 1",
        "journey": f"count({started(two_runs, 'journey')}) > 1",
        "planned length": f"(max({planned}) - min({planned})) > {EARLY_SECONDS}",
    }
    codes = [f"{MISMATCH_CODES[reason]} + 0 * ({found})" for reason, found in reasons.items()]
    return " or ".join([*codes, f"vector({MISMATCH_CODES['none']})"])


def activity_samples(run: RunSelector) -> str:
    """Raw samples of a few series that last as long as the run."""
    return f'{{__name__=~"{VIRTUAL_USERS}|{ITERATIONS}",testid={quoted(run.run_id)}}}[{run.window}]'


def setup_samples(run: RunSelector) -> str:
    """Raw samples of the requests that k6 made just before the load."""
    return f'{REQUESTS}{{testid={quoted(run.run_id)},scenario=""}}[{run.window}]'


def virtual_users(run: RunSelector) -> str:
    """Virtual users of all generators: the most within the interval."""
    return f"sum(max_over_time({run.marks(VIRTUAL_USERS)}[{run.interval or run.window}]))"


# What k6 measured


def requests(runs: Runs, by: str = "", matchers: str = "") -> str:
    """Number of requests."""
    return _sum(runs, runs.k6(REQUESTS, matchers), by, CLIENT_LABEL)


def request_rate(run: RunSelector, by: str = "") -> str:
    """Requests per second."""
    return _per_second(requests(run, by), run, by)


def failed_rate(run: RunSelector) -> str:
    """Failed requests per second; zero where there were requests and none failed."""
    return f"{_per_second(requests(run, matchers=FAILED), run)} or 0 * {requests(run)}"


def failed_share(runs: Runs, by: str = "") -> str:
    """Failed share of requests, 0 to 1; no value where there were no requests."""
    total = requests(runs, by)
    return f"({requests(runs, by, FAILED)} or 0 * {total}) / ({total} > 0)"


def unanswered_requests(run: RunSelector) -> str:
    """Number of requests without a response: the server need not have seen them."""
    return requests(run, matchers=UNANSWERED)


def created_responses(run: RunSelector) -> str:
    """Number of responses with status 201, each of which promises a row."""
    return requests(run, matchers=CREATED)


def errors(run: RunSelector, by: str = "operation, kind") -> str:
    """Number of failed checks, by operation and kind of error."""
    return _sum(run, run.k6(ERRORS), by)


def error_rate(run: RunSelector, by: str = "kind") -> str:
    """Failed checks per second, by kind of error."""
    return _per_second(errors(run, by), run, by)


def dropped_iterations(run: RunSelector) -> str:
    """Number of iterations that k6 could not start because no virtual user was free."""
    return _sum(run, run.k6(DROPPED))


def dropped_rate(run: RunSelector) -> str:
    """Iterations per second that k6 could not start because no virtual user was free."""
    return _per_second(dropped_iterations(run), run)


def client_durations(runs: Runs, by: str = "") -> str:
    """Histogram of the seconds that requests took for k6."""
    return _sum(runs, runs.k6(CLIENT_SECONDS), by, CLIENT_LABEL)


def client_quantile(quantile: float, runs: Runs, by: str = "") -> str:
    """Quantile of the seconds that requests took for k6."""
    return histogram_quantile(quantile, client_durations(runs, by))


def client_mean(run: RunSelector, by: str = "") -> str:
    """Mean of the seconds that requests took for k6."""
    return f"histogram_avg({client_durations(run, by)})"


# What the server and the database measured, from their spans


def spans(side: Side, run: RunSelector, by: str = "", matchers: str = "") -> str:
    """Number of stored spans of one side."""
    return _sum(run, run.spans(SPAN_CALLS, side, matchers), by, SPAN_LABEL)


def span_durations(side: Side, run: RunSelector, by: str = "") -> str:
    """Histogram of the seconds that spans of one side took."""
    return _sum(run, run.spans(SPAN_SECONDS, side), by, SPAN_LABEL)


def span_quantile(quantile: float, side: Side, run: RunSelector, by: str = "") -> str:
    """Quantile of the seconds that spans of one side took."""
    return histogram_quantile(quantile, span_durations(side, run, by))


def slowest_milliseconds(count: int, run: RunSelector) -> str:
    """Server time in ms that about `count` requests of the run exceed."""
    quantile = f"scalar(clamp_min(1 - {count} / {spans(Side.SERVER, run)}, 0))"
    durations = span_durations(Side.SERVER, run)
    return f"1000 * histogram_quantile({quantile}, {durations}) >= 0 or vector(0)"


def failed_statuses(run: RunSelector) -> str:
    """Number of responses with status 400 or more, by status code."""
    return spans(
        Side.SERVER, run, "http_response_status_code", 'http_response_status_code=~"[45].."'
    )


def rows_written(run: RunSelector) -> str:
    """Number of rows that the run's requests inserted, from the spans of their statements."""
    return spans(Side.DATABASE, run, matchers=ROW_INSERTED)


def untraced(run: RunSelector) -> str:
    """Number of requests with a response and no stored server span."""
    none = f"0 * {requests(run)}"
    unanswered = f"({unanswered_requests(run)} or {none})"
    stored = f"({spans(Side.SERVER, run)} or {none})"
    return f"clamp_min({requests(run)} - {unanswered} - {stored}, 0)"


def unwritten(run: RunSelector) -> str:
    """Number of 201 responses without a stored span of their INSERT."""
    none = f"0 * {requests(run)}"
    return f"clamp_min(({created_responses(run)} or {none}) - ({rows_written(run)} or {none}), 0)"


def settled(expression: str, run: RunSelector) -> str:
    """Evaluate an expression only once a run's last spans have had the time to arrive."""
    running = f"max(max_over_time({run.marks(VIRTUAL_USERS)}[{SETTLING}]))"
    return f"({expression}) unless on () {running}"


# The sides of a request together


def share_of_client_time(side: Side, run: RunSelector, by: str = "") -> str:
    """Share of the client's time that one side took, 0 to 1.

    The database's time is part of the server's, and the server's of the client's.
    """
    client = f"histogram_sum({client_durations(run, by)})"
    return f"histogram_sum({span_durations(side, run, by)}) / ({client} > 0)"


def share_in_server(run: RunSelector, by: str = "") -> str:
    """Share of the client's time in the server without the database, 0 to 1."""
    server = share_of_client_time(Side.SERVER, run, by)
    database = share_of_client_time(Side.DATABASE, run, by)
    return f"clamp_min({server} - ({database} or 0 * {server}), 0)"


def mean_outside_server(run: RunSelector) -> str:
    """Mean seconds of a request outside the server: network, queues, k6."""
    client = f"histogram_sum({client_durations(run)})"
    return _per_request(f"{client} - {_span_time(Side.SERVER, run)}", run)


def mean_in_server(run: RunSelector) -> str:
    """Mean seconds of a request in the server, without its statements."""
    return _per_request(f"{_span_time(Side.SERVER, run)} - {_span_time(Side.DATABASE, run)}", run)


def mean_in_database(run: RunSelector) -> str:
    """Mean seconds of a request in its statements."""
    return _per_request(_span_time(Side.DATABASE, run), run)


def ratio(value: str, base: str) -> str:
    """Quotient of two expressions; no value where the second is zero."""
    return f"{value} / ({base} > 0)"


def _span_time(side: Side, run: RunSelector) -> str:
    return f"histogram_sum({span_durations(side, run)})"


def _per_request(seconds: str, run: RunSelector) -> str:
    return f"clamp_min({seconds}, 0) / (histogram_count({client_durations(run)}) > 0)"


def _last(runs: Runs, selector: str, offset: str = "") -> str:
    return f"last_over_time({selector}[{runs.window}]{offset})"


def _sum(runs: Runs, selector: str, by: str = "", label: str = "") -> str:
    """Sum what was counted in the run or interval; `label` is the series' own `operation`."""

    def total(offset: str = "") -> str:
        values = _last(runs, selector, offset)
        if label and OPERATION in by:
            values = f'label_replace({values}, "{OPERATION}", "$1", "{label}", "(.+)")'
        return aggregate("sum", values, by)

    if not runs.interval:
        return total()
    return f"({total()} - {total(f' offset {runs.interval}')} or {total()})"


def _per_second(count: str, run: RunSelector, by: str = "") -> str:
    """Divide by the seconds of the interval (PromQL takes a duration as a number) or of the run."""
    if run.interval:
        return f"{count} / {run.interval}"
    pushes = f"max(count_over_time({run.marks(VIRTUAL_USERS)}[{run.window}]))"
    seconds = f"({duration(run)} or {PUSH_SECONDS} * {pushes})"
    return f"{count} / on () group_left () {seconds}" if by else f"{count} / {seconds}"
