"""Runs of k6: what k6, the server and the database measured, as totals or by interval.

Every expression takes the run and the labels to group by. With `RunSelector.interval` it gives a
timeline, else a total; a `RunList` gives one value for each run with `by="testid"`.

A run's series start with their first sample and end with the run. `increase` and `rate` would lose
the first push, so a total is the last value in the window, and that of an interval is the total
less what it was an interval earlier: the intervals add up to the total. `within_run` leaves out the
intervals that k6's pushes do not fill. A trace store that starts
again makes new series; one that drops a silent series and makes it anew starts it from zero.
"""

from collections.abc import Callable
from dataclasses import replace

from lab.promql.selectors import (
    CLIENT_LABEL,
    CLOCK_OFFSET,
    ENDED,
    GENERATOR,
    GENERATORS,
    INTERRUPTED,
    OPERATION,
    PASSED,
    PLANNED,
    SPAN_CALLS,
    SPAN_LABEL,
    SPAN_SECONDS,
    STARTED,
    THRESHOLD_LIMIT,
    THRESHOLD_PASSED,
    THRESHOLD_REACHED,
    THRESHOLDS,
    Interval,
    RunList,
    RunSelector,
    Side,
    aggregate,
    histogram_quantile,
    joined,
    quoted,
)

REQUESTS = "k6_http_reqs_total"
CLIENT_SECONDS = "k6_http_req_duration_seconds"
ERRORS = "k6_errors_total"
DROPPED = "k6_dropped_iterations_total"
ITERATIONS = "k6_iterations_total"
VIRTUAL_USERS = "k6_vus"
# What the API's responses state, by side: of the requests that k6 counts at the same time.
STATED_SECONDS = {
    Side.SERVER: "k6_server_duration_seconds",
    Side.DATABASE: "k6_database_duration_seconds",
}

FAILED = 'expected_response="false"'
UNANSWERED = 'status="0"'
CREATED = 'status="201"'
# The thresholds of performance/slo.json: of the p95, of the failed share, and of a count.
P95_THRESHOLD = 'metric=~"http_req_duration[{].+",threshold=~"p[(]95[)]<.+"'
FAILED_THRESHOLD = 'metric=~"http_req_failed[{].+",threshold=~"rate<.+"'
COUNT_THRESHOLD = 'threshold=~"count<.+"'
THRESHOLD = "metric, threshold"
# Generators of another profile have thresholds of their own.
THRESHOLD_OF_SCENARIO = f"scenario, {THRESHOLD}"
CLIENT_ERROR, SERVER_ERROR = 'status=~"4.."', 'status=~"5.."'
INVALID_BODY = 'kind="body"'
# Of so many requests, those above the quantile are a handful, which a list of traces holds.
SLOW = {1000: 0.99, 200: 0.95, 0: 0.75}
ROW_INSERTED = 'span_name=~"INSERT .+",status_code!="STATUS_CODE_ERROR"'

PUSH_SECONDS = 5
# A run whose k6 has marked no end and pushed nothing for this long is over.
SILENT_SECONDS = 4 * PUSH_SECONDS
# A run that ends earlier than planned by more than this many seconds was aborted: the plan and the
# marks are stamped with fractions of a second between them.
EARLY_SECONDS = 1
# The values of `verdict`, by verdict and reason, and of `mismatch`.
UNKNOWN_RUN = ("unknown run", "")
VERDICT_CODES = {
    ("failed", ""): 0,
    ("passed", ""): 1,
    ("running", ""): 2,
    ("aborted", "interrupted"): 3,
    ("aborted", "killed"): 4,
    ("none", "no_thresholds"): 5,
    ("none", "not_reported"): 6,
    ("none", "other_generator"): 7,
    UNKNOWN_RUN: 8,
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
# What `lag_or_over` is when there is nothing more to arrive.
OVER = -1
# The last spans of a run arrive within this time after its end.
SETTLING = "20s"
# Over which the current rate of requests is taken.
RECENT = "15s"

Runs = RunSelector | RunList


# The run itself


def started(runs: Runs, by: str = "") -> str:
    """Time at which the first generator began its load, in seconds since 1970."""
    return aggregate("min", _last(runs, runs.marks(STARTED)), by)


def start_marks(runs: Runs) -> str:
    """Start of each generator's load, with all the labels of its series."""
    return _last(runs, runs.marks(STARTED))


def end_marks(runs: Runs) -> str:
    """End of each generator's load, with all the labels of its series."""
    return _last(runs, runs.marks(ENDED))


def ended(runs: Runs, by: str = "", modifier: str = "") -> str:
    """Time at which the last generator ended its load; no value while one of them has not.

    So a running or killed run has none, nor has one whose load was divided among more generators
    than ended.
    """
    return end_of_all(lambda metric: _last(runs, runs.marks(metric), modifier), by)


def end_of_all(last: Callable[[str], str], by: str = "") -> str:
    """The same from the last values of marks, which `last` selects by metric."""
    ends = aggregate("count", last(ENDED), by)
    expected = (aggregate("count", last(STARTED), by), aggregate("max", last(GENERATORS), by))
    more = " or ".join(f"{number} > {ends}" for number in expected)
    return f"({aggregate('max', last(ENDED), by)} unless ({more}))"


def generators(runs: Runs, by: str = "") -> str:
    """Number of generators that made the run, or that its load was divided among."""
    marked = aggregate("count", start_marks(runs), by)
    divided = aggregate("max", _last(runs, runs.marks(GENERATORS)), by)
    return f"({divided} > {marked} or {marked})"


def planned_seconds(runs: Runs, by: str = "") -> str:
    """Planned length of the load."""
    return aggregate("max", _last(runs, runs.marks(PLANNED)), by)


def duration(runs: Runs, by: str = "") -> str:
    """Length of the load in seconds; no value for a running or killed run."""
    return f"{ended(runs, by)} - {started(runs, by)}"


def interrupted(runs: Runs, by: str = "") -> str:
    """1 where k6 made fewer iterations than it was told to, else no value."""
    return aggregate("max", _last(runs, runs.marks(INTERRUPTED)), by)


def threshold_count(runs: Runs, by: str = "") -> str:
    """Number of thresholds that k6 evaluated."""
    return aggregate("max", _last(runs, runs.marks(THRESHOLDS)), by)


def passed(runs: Runs, by: str = "") -> str:
    """1 where all thresholds passed for the requests of all generators, 0 where one failed."""
    judged = aggregate("min", threshold_results(runs, by), by)
    return f"({judged} or {aggregate('min', _last(runs, runs.marks(PASSED)), by)})"


def generator_started(run: RunSelector) -> str:
    """Seconds from the start of the run to that of each generator."""
    start = aggregate("min", start_marks(run), GENERATOR)
    return f"{start} - on () group_left () {started(run)}"


def generator_ended(run: RunSelector) -> str:
    """Seconds from the start of the run to the end of each generator that reported one."""
    end = aggregate("max", end_marks(run), GENERATOR)
    return f"{end} - on () group_left () {started(run)}"


def own_results(run: RunSelector) -> str:
    """1 for each generator whose own requests passed all thresholds, 0 for the others."""
    return aggregate("min", _last(run, run.marks(PASSED)), GENERATOR)


def thresholds(run: RunSelector) -> str:
    """1 for each threshold that passed, 0 for the others, by `metric` and `threshold`."""
    return aggregate("min", threshold_results(run), THRESHOLD)


def thresholds_reached(run: RunSelector, matchers: str = "") -> str:
    """The value of each threshold, by `metric` and `threshold`."""
    return aggregate("max", threshold_values(run, matchers=matchers), THRESHOLD)


def threshold_results(runs: Runs, by: str = "") -> str:
    """1 for each threshold that passed, 0 for the others, by `THRESHOLD_OF_SCENARIO`."""
    labels = joined(by, THRESHOLD_OF_SCENARIO)
    limit = aggregate("max", _last(runs, runs.marks(THRESHOLD_LIMIT)), labels)
    worst = aggregate("min", _last(runs, runs.marks(THRESHOLD_PASSED)), labels)
    return f"({threshold_values(runs, by)} < bool {limit} or {worst})"


def threshold_values(runs: Runs, by: str = "", matchers: str = "") -> str:
    """The value that decides each threshold, in k6's unit, by `THRESHOLD_OF_SCENARIO`.

    Of one generator it is the value that k6 compared. Counts of several add up. Percentiles and
    shares are those of the requests of all, which lie between the generators' own: the percentile
    of a histogram is accurate to a bucket, so the generators' exact values bound it, unless one of
    them did not report any. Of other thresholds the worst generator decides.
    """
    if isinstance(runs, RunSelector):
        runs = replace(runs, scenarios=".+", operations=(), interval=None)
    labels = joined(by, THRESHOLD_OF_SCENARIO)
    requests = joined(by, "scenario, metric")
    incomplete = f"({generators(runs, by)} > {aggregate('count', end_marks(runs), by)})"
    terms = []
    for kind, values in _values_of_all(runs, by).items():
        reached = _last(runs, runs.marks(THRESHOLD_REACHED, joined(kind, matchers)))
        lowest, highest = (aggregate(operator, reached, labels) for operator in ("min", "max"))
        of_all = f"(0 * {highest} + on ({requests}) group_left () ({values}))"
        bounded = f"(({of_all} < {highest} or {highest}) > {lowest} or {lowest})"
        terms.append(f"({of_all} and on ({by}) {incomplete} or {bounded})")
    counts = _last(runs, runs.marks(THRESHOLD_REACHED, joined(COUNT_THRESHOLD, matchers)))
    terms.append(aggregate("sum", counts, labels))
    others = _last(runs, runs.marks(THRESHOLD_REACHED, matchers))
    terms.append(aggregate("max", others, labels))
    return f"({' or '.join(terms)})"


def _values_of_all(runs: Runs, by: str) -> dict[str, str]:
    """What thresholds are about, of all generators, by matcher; labelled with k6's metric."""
    named, unnamed = joined(by, "scenario", CLIENT_LABEL), joined(by, "scenario")
    several = f'{GENERATOR}!=""'

    def p95(labels: str) -> str:
        durations = sum_histograms(runs, runs.k6(CLIENT_SECONDS, several), labels)
        return f"1000 * {histogram_quantile(0.95, durations)}"

    def failed(labels: str) -> str:
        total = requests(runs, labels, several)
        bad = requests(runs, labels, joined(several, FAILED))
        return f"({bad} or 0 * {total}) / ({total} > 0)"

    def of_metric(metric: str, value: Callable[[str], str]) -> str:
        return " or ".join(
            f'label_replace({value(labels)}, "metric", "{metric}{{{tag}:$1}}", "{tag}", "(.+)")'
            for tag, labels in (("scenario", unnamed), (CLIENT_LABEL, named))
        )

    return {
        P95_THRESHOLD: of_metric("http_req_duration", p95),
        FAILED_THRESHOLD: of_metric("http_req_failed", failed),
    }


def missing_seconds(runs: Runs, by: str = "") -> str:
    """Planned seconds that are missing from runs of which a generator ended early."""
    lasted = f"{end_marks(runs)} - ignoring (group) {start_marks(runs)}"
    missing = f"{_last(runs, runs.marks(PLANNED))} - ignoring (group) ({lasted})"
    return f"({aggregate('max', missing, by)} > {EARLY_SECONDS})"


def running(runs: Runs, by: str = "") -> str:
    """Seconds since the last push of runs that have not ended."""
    last_push = aggregate("max", f"timestamp({runs.marks(VIRTUAL_USERS)})", by)
    return f"((time() - {last_push} < {SILENT_SECONDS}) unless {ended(runs, by)})"


def aborted(runs: Runs, by: str = "") -> str:
    """Some value for runs that did not end, or of which a generator ended early."""
    unended = f"{started(runs, by)} unless {ended(runs, by)}"
    return f"({unended} or {missing_seconds(runs, by)} or {interrupted(runs, by)} > 0)"


def verdict(runs: Runs, by: str = "") -> str:
    """The verdict of `lab.runs.verdict` and its reason, as one of `VERDICT_CODES`.

    Without `by`, a run of which there is no data is an `unknown run`.
    """
    start = started(runs, by)
    # The first that has a value counts.
    found = {
        ("running", ""): running(runs, by),
        ("failed", ""): f"{passed(runs, by)} == 0",
        ("aborted", "killed"): f"{start} unless {ended(runs, by)}",
        ("aborted", "interrupted"): aborted(runs, by),
        ("passed", ""): passed(runs, by),
        ("none", "no_thresholds"): f"{threshold_count(runs, by)} == 0",
        ("none", "not_reported"): start,
        ("none", "other_generator"): requests(runs, by),
    }
    coded = [f"{VERDICT_CODES[name]} + 0 * ({value})" for name, value in found.items()]
    return " or ".join([*coded, *([] if by else [f"vector({VERDICT_CODES[UNKNOWN_RUN]})"])])


def mismatch(two_runs: RunList) -> str:
    """The first reason why two runs cannot be compared, as one of `MISMATCH_CODES`."""
    unfinished = running(two_runs, "testid")
    ended_early = f"{aborted(two_runs, 'testid')} unless {unfinished}"
    planned = f"({planned_seconds(two_runs, 'testid')})"
    reasons = {
        "fewer than two runs": f"(count({started(two_runs, 'testid')}) or vector(0)) < 2",
        "running": f"count({unfinished})",
        "aborted": f"count({ended_early})",
        "profile": f"count({started(two_runs, 'profile')}) > 1",
        "journey": f"count({started(two_runs, 'journey')}) > 1",
        "planned length": f"(max({planned}) - min({planned})) > {EARLY_SECONDS}",
    }
    coded = [f"{MISMATCH_CODES[reason]} + 0 * ({found})" for reason, found in reasons.items()]
    return " or ".join([*coded, f"vector({MISMATCH_CODES['none']})"])


def comparable(expression: str, two_runs: RunList) -> str:
    """Evaluate an expression only if the two runs can be compared."""
    return f"({expression}) and on () (({mismatch(two_runs)}) == {MISMATCH_CODES['none']})"


def clock_offset(run: RunSelector) -> str:
    """Seconds by which the API's clock is ahead of k6's; no value for small differences.

    Of several generators the largest difference, in either direction.
    """
    offsets = _last(run, run.marks(CLOCK_OFFSET))
    return f"(max({offsets}) > -min({offsets}) or min({offsets}))"


def starts_again(run: RunSelector) -> str:
    """1 if two generators without names of their own push the same series, else no value."""
    return f"0 * max(changes({run.marks(STARTED)}[{run.window}]) > 0) + 1"


def activity_samples(run: RunSelector) -> str:
    """Raw samples of a few series that last as long as the run."""
    return f'{{__name__=~"{VIRTUAL_USERS}|{ITERATIONS}",testid={quoted(run.run_id)}}}[{run.window}]'


def setup_samples(run: RunSelector) -> str:
    """Raw samples of the requests that k6 made just before the load."""
    return f'{REQUESTS}{{testid={quoted(run.run_id)},scenario=""}}[{run.window}]'


def virtual_users(run: RunSelector) -> str:
    """Virtual users of all generators: the most within the interval."""
    users = run.marks(VIRTUAL_USERS)
    if run.interval:
        return f"sum(max_over_time({users}[{run.interval.length}]{run.interval.end}))"
    return f"sum(max_over_time({users}[{run.window}]))"


# What k6 measured


def requests(runs: Runs, by: str = "", matchers: str = "") -> str:
    """Number of requests."""
    return sum_counters(runs, runs.k6(REQUESTS, matchers), by, CLIENT_LABEL)


def request_rate(run: RunSelector, by: str = "") -> str:
    """Requests per second."""
    return per_second(requests(run, by), run)


def failed_rate(run: RunSelector) -> str:
    """Failed requests per second; zero where there were requests and none failed."""
    return f"{failed_rate_since_first(run)} or 0 * {requests(run)}"


def failed_rate_since_first(run: RunSelector) -> str:
    """Failed requests per second; no value before the first one."""
    return per_second(requests(run, matchers=FAILED), run)


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
    return sum_counters(run, run.k6(ERRORS), by)


def invalid_bodies(run: RunSelector, by: str = "") -> str:
    """Number of responses with the expected status whose body failed its check."""
    return sum_counters(run, run.k6(ERRORS, INVALID_BODY), by)


def error_rate(run: RunSelector, by: str = "kind") -> str:
    """Failed checks per second, by kind of error."""
    return per_second(errors(run, by), run)


def dropped_iterations(run: RunSelector) -> str:
    """Number of iterations that k6 could not start because no virtual user was free."""
    return sum_counters(run, run.k6(DROPPED))


def dropped_rate(run: RunSelector) -> str:
    """Iterations per second that k6 could not start because no virtual user was free."""
    return per_second(dropped_iterations(run), run)


def client_durations(runs: Runs, by: str = "") -> str:
    """Histogram of the seconds that requests took for k6."""
    return sum_histograms(runs, runs.k6(CLIENT_SECONDS), by, CLIENT_LABEL)


def client_quantile(quantile: float, runs: Runs, by: str = "") -> str:
    """Quantile of the seconds that requests took for k6."""
    return histogram_quantile(quantile, client_durations(runs, by))


def client_mean(run: RunSelector, by: str = "") -> str:
    """Mean of the seconds that requests took for k6."""
    return f"histogram_avg({client_durations(run, by)})"


# What the server and the database measured


def side_durations(side: Side, run: RunSelector, by: str = "") -> str:
    """Histogram of the seconds that one side took for the requests that k6 has counted.

    The responses state them, up to their first byte. Without that they come from spans, which are
    stored some seconds late, and so do those of a whole run with requests that were not answered:
    its spans know how long the server worked on these.
    """
    stated = run.k6(STATED_SECONDS[side])
    durations = sum_histograms(run, stated, by, CLIENT_LABEL)
    known = _last(run, stated, run.interval.end if run.interval else "")
    if not run.interval:
        unanswered = f"({_last(run, run.k6(REQUESTS, UNANSWERED), ' @ end()')} > 0)"
        durations, known = (f"({it} unless on () {unanswered})" for it in (durations, known))
    return f"({durations} or ({span_durations(side, run, by)} unless on () {known}))"


def side_quantile(quantile: float, side: Side, run: RunSelector, by: str = "") -> str:
    """Quantile of the seconds that one side took for the requests that k6 has counted."""
    return histogram_quantile(quantile, side_durations(side, run, by))


def spans(side: Side, run: RunSelector, by: str = "", matchers: str = "") -> str:
    """Number of stored spans of one side."""
    return sum_counters(run, run.spans(SPAN_CALLS, side, matchers), by, SPAN_LABEL)


def spans_until(time: str, side: Side, run: RunSelector, by: str = "") -> str:
    """Number of a run's spans of one side that are stored until a time, such as `end()`."""
    return _sum(_last(run, run.spans(SPAN_CALLS, side), f" @ {time}"), by, SPAN_LABEL)


def span_durations(side: Side, run: RunSelector, by: str = "") -> str:
    """Histogram of the seconds that spans of one side took."""
    counter = run.spans(SPAN_CALLS, side)
    return sum_histograms(run, run.spans(SPAN_SECONDS, side), by, SPAN_LABEL, counter)


def late_durations(run: RunSelector) -> str:
    """Share of the run's stored spans whose durations are not in Prometheus yet, by side.

    A trace store writes the numbers of spans and their durations one after the other.
    """
    shares = (
        f"1 - histogram_count({span_durations(side, run, 'span_kind')})"
        f" / ({spans(side, run, 'span_kind')} > 0)"
        for side in Side
    )
    return " or ".join(shares)


def span_quantile(quantile: float, side: Side, run: RunSelector, by: str = "") -> str:
    """Quantile of the seconds that spans of one side took."""
    return histogram_quantile(quantile, span_durations(side, run, by))


def slowest_milliseconds(count: int, run: RunSelector) -> str:
    """Server time in ms that about `count` requests of the run exceed."""
    quantile = f"scalar(clamp_min(1 - {count} / {spans(Side.SERVER, run)}, 0))"
    durations = span_durations(Side.SERVER, run)
    return f"1000 * histogram_quantile({quantile}, {durations}) >= 0 or vector(0)"


def slow_milliseconds(run: RunSelector) -> str:
    """Server time in ms that few requests of an operation exceed, by operation."""
    count = f"histogram_count({span_durations(Side.SERVER, run, OPERATION)})"
    return (
        "1000 * ("
        + " or ".join(
            f"({span_quantile(quantile, Side.SERVER, run, OPERATION)} and {count} >= {least})"
            for least, quantile in SLOW.items()
        )
        + ")"
    )


def failed_statuses(run: RunSelector) -> str:
    """Number of responses with status 400 or more, by status code."""
    return spans(
        Side.SERVER, run, "http_response_status_code", 'http_response_status_code=~"[45].."'
    )


def failed_responses(run: RunSelector) -> str:
    """Number of traced responses with status 400 or more."""
    return f"sum({failed_statuses(run)}) or 0 * {spans(Side.SERVER, run)}"


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


def server_lag(run: RunSelector) -> str:
    """Seconds by which the stored spans lag behind the requests that k6 has counted; 0 if none."""
    recent = replace(run, interval=Interval(RECENT))
    seconds = f"clamp_max({load_seconds(run)}, {RECENT})"
    rate = f"({requests(recent)} / {seconds} > 0 or {request_rate(run)})"
    return f"{untraced(run)} / {rate}"


def lag_or_over(run: RunSelector) -> str:
    """`server_lag` while the run is on, `OVER` once it has ended or was killed."""
    over = f"0 * max({requests(run)}) + {OVER}"
    return f"{while_running(server_lag(run), run)} or {over}"


def while_running(expression: str, run: RunSelector) -> str:
    """Evaluate an expression only while the run is on."""
    return f"({expression}) and on () {running(run)}"


def settled(expression: str, run: RunSelector) -> str:
    """Evaluate an expression only once a run's last spans have had the time to arrive."""
    running = f"max(max_over_time({run.marks(VIRTUAL_USERS)}[{SETTLING}]))"
    return f"({expression}) unless on () {running}"


def ratio(value: str, base: str) -> str:
    """Quotient of two expressions; no value where the second is zero."""
    return f"{value} / ({base} > 0)"


def load_seconds(run: RunSelector) -> str:
    """Length of the load in seconds, of a running or killed run up to its last push.

    With an interval, the seconds of it that the load lasted.
    """
    if run.interval:
        return _interval_seconds(run, run.interval)
    pushes = f"max(count_over_time({run.marks(VIRTUAL_USERS)}[{run.window}]))"
    return f"({duration(run)} or {PUSH_SECONDS} * {pushes})"


def within_run(expression: str, run: RunSelector) -> str:
    """Evaluate an expression only for intervals of the run that k6's pushes fill.

    The last interval may be shorter, but not by more than half: it would have too few requests.
    """
    interval = run.interval
    if not interval:
        return expression
    end = ended(run, modifier=interval.end)
    last = f"{interval.end_time} - {end} <= {interval.length} / 2"
    pushed = f"last_over_time({run.marks(VIRTUAL_USERS)}[{PUSH_SECONDS}s]{interval.end})"
    return f"(({expression}) and on () ({last} or ({pushed} unless on () {end})))"


def _last(runs: Runs, selector: str, modifier: str = "") -> str:
    return f"last_over_time({selector}[{runs.window}]{modifier})"


def sum_counters(runs: Runs, selector: str, by: str = "", label: str = "") -> str:
    """Sum what was counted in the run or interval; `label` is the series' own `operation`."""
    if not runs.interval:
        total = _restarted(runs, selector, "round({})") + _last(runs, selector)
        return _sum(total, by, label)
    now, before = (_last(runs, selector, at) for at in (runs.interval.end, runs.interval.start))
    return _sum(f"{now} - ({before} <= {now}) or {now}", by, label)


def sum_histograms(
    runs: Runs, selector: str, by: str = "", label: str = "", counter: str = ""
) -> str:
    """Add up the histograms recorded in the run or interval, as `sum_counters` does.

    `counter` selects counters of the same labels, which tell whether the histograms restarted. They
    cannot tell it themselves: a histogram that is written with wider buckets counts as reset.
    """
    if not runs.interval:
        restarted = _restarted(runs, selector, "{}", counter) if counter else ""
        return _sum(restarted + _last(runs, selector), by, label)
    now, before = (_last(runs, selector, at) for at in (runs.interval.end, runs.interval.start))
    grown = f"{before} and histogram_count({before}) <= histogram_count({now})"
    return _sum(f"{now} - ({grown}) or {now}", by, label)


def _restarted(runs: Runs, selector: str, wrapped: str, counter: str = "") -> str:
    """Take the increase of the series that restarted from zero, else what follows.

    `increase` extrapolates by up to one push, which the last value does not. The list of runs has
    only series of k6, which do not restart.
    """
    if isinstance(runs, RunList):
        return ""
    increase = wrapped.format(f"increase({selector}[{runs.window}])")
    return f"{increase} and resets({counter or selector}[{runs.window}]) > 0 or "


def aggregate_operations(operator: str, values: str, by: str, label: str) -> str:
    """Aggregate series by labels; `label` is the series' own `operation`."""
    if label and OPERATION in by:
        values = f'label_replace({values}, "{OPERATION}", "$1", "{label}", "(.+)")'
    return aggregate(operator, values, by)


def _sum(values: str, by: str, label: str) -> str:
    return aggregate_operations("sum", values, by, label)


def per_second(count: str, run: RunSelector) -> str:
    """Divide by the seconds of the run, or by those that it lasted in the interval.

    No value for an interval that also counts what k6 did while its pushes did not arrive.
    """
    if not run.interval:
        return f"{count} / on () group_left () {load_seconds(run)}"
    users, interval = run.marks(VIRTUAL_USERS), run.interval
    earlier = f"max({_last(run, users, interval.start)})"
    just_before = f"max(last_over_time({users}[{SILENT_SECONDS}s]{interval.start}))"
    pushed = f"max(last_over_time({users}[{interval.length}]{interval.end}))"
    gap = f"({pushed} and {earlier} unless {just_before})"
    return f"({count} / on () group_left () {_interval_seconds(run, interval)} unless on () {gap})"


def _interval_seconds(run: RunSelector, interval: Interval) -> str:
    """Seconds that the run lasted in the interval; PromQL takes its length as a number."""
    end = ended(run, modifier=interval.end)
    lasted = f"{end} - {interval.end_time} + {interval.length}"
    return f"(clamp({lasted}, 1, {interval.length}) or vector({interval.length}))"
