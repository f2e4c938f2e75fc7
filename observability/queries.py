"""Every PromQL and TraceQL expression of the project, once, for a run's report and the dashboards.

A run's series start at their first value and end when k6 stops, so a total is the last value in
the run's range (`increase` would lose the first push) and a percentile is taken from the merged
native histograms. Give a run's id and a range such as `10m`, or a dashboard's `$testid` and
`$__range`.
"""

from enum import StrEnum

SERVICE = "clinic"

# Tempo's generator and Jaeger's connector name the same histogram of seconds differently.
SPAN_SECONDS = "traces_spanmetrics_(latency|duration_seconds)"
SPAN_CALLS = "traces_spanmetrics_calls_total"

# k6's check of the clinic's readiness, before the load, belongs to no scenario and has no trace.
OF_A_SCENARIO = 'scenario!=""'
BEFORE_THE_LOAD = 'scenario=""'

FAILED = 'expected_response="false"'
UNANSWERED = 'status="0"'

# The series whose label `testid` lists the runs.
RUNS = f"k6_http_reqs_total{{{OF_A_SCENARIO}}}"


# What k6 says of a run itself. The verdict is k6's own: it is written at the very end, once.
STARTED = "k6_run_started_timestamp_seconds"
ENDED = "k6_run_ended_timestamp_seconds"
PLANNED = "k6_run_planned_seconds"
HELD = "k6_run_held"
THRESHOLD_HELD = "k6_run_threshold_held"


class Side(StrEnum):
    """Which span of a request: the server's, or its statement in the database."""

    SERVER = "SPAN_KIND_SERVER"
    DATABASE = "SPAN_KIND_CLIENT"


def quoted(value: str) -> str:
    """Write a value as a string of PromQL or TraceQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def by_operation(expression: str, label: str) -> str:
    """Call k6's `name` and the spans' `clinic_operation` both `operation`, so that they join."""
    return f'label_replace({expression}, "operation", "$1", "{label}", "(.+)")'


# Runs, as k6 marks them


def run_started(run: str, window: str) -> str:
    """Give the time at which a run's first generator began its load, in seconds since 1970."""
    return f"min(last_over_time({STARTED}{{testid={quoted(run)}}}[{window}]))"


def run_ended(run: str, window: str) -> str:
    """Give the time at which a run's last generator ended its load, in seconds since 1970."""
    return f"max(last_over_time({ENDED}{{testid={quoted(run)}}}[{window}]))"


def runs(window: str) -> str:
    """List the runs that began in the range with their profile, journey and starting time."""
    return f"min by (testid, profile, journey) (last_over_time({STARTED}[{window}]))"


def runs_seconds(window: str) -> str:
    """Give how long each run's load lasted; one that is still on, or was killed, has no value."""
    ended = f"max by (testid, profile, journey) (last_over_time({ENDED}[{window}]))"
    return f"{ended} - {runs(window)}"


def runs_broken_off(window: str) -> str:
    """List the runs whose load ended well before the plan, by the seconds that are missing."""
    planned = f"max by (testid, profile, journey) (last_over_time({PLANNED}[{window}]))"
    missing = f"{planned} - ({runs_seconds(window)})"
    return f"({missing}) > 1"


def runs_held(window: str) -> str:
    """Give 1 for each run whose thresholds all held on every generator, 0 for the others."""
    return f"min by (testid, profile, journey) (last_over_time({HELD}[{window}]))"


def crossed_thresholds(run: str, window: str) -> str:
    """List the thresholds of a run that were crossed on some generator."""
    held = f"last_over_time({THRESHOLD_HELD}{{testid={quoted(run)}}}[{window}])"
    return f"min by (metric, threshold) ({held}) == 0"


# What k6 saw


def run_samples(run: str, window: str) -> str:
    """Give the raw samples of few series that last as long as a run does."""
    return f'{{__name__=~"k6_(vus|iterations_total)",testid={quoted(run)}}}[{window}]'


def start_samples(run: str, window: str) -> str:
    """Give the raw samples of the requests k6 made just before the load."""
    return f"k6_http_reqs_total{{testid={quoted(run)},{BEFORE_THE_LOAD}}}[{window}]"


def requests(run: str, window: str) -> str:
    """Count a run's requests for each operation."""
    return f"sum by (name) ({_requests(run, window)})"


def all_requests(run: str, window: str) -> str:
    """Count a run's requests."""
    return f"sum({_requests(run, window)})"


def unanswered_requests(run: str, window: str) -> str:
    """Count the requests to which no answer came: the server need not have seen them."""
    return f"sum({_requests(run, window, UNANSWERED)})"


def failed_share(run: str, window: str) -> str:
    """Give the failed share of requests, 0 to 1, for each operation."""
    total = requests(run, window)
    failed = f"sum by (name) ({_requests(run, window, FAILED)})"
    return f"({failed} or 0 * {total}) / {total}"


def all_failed_share(run: str, window: str) -> str:
    """Give the failed share of all requests, 0 to 1."""
    total = all_requests(run, window)
    return f"(sum({_requests(run, window, FAILED)}) or 0 * {total}) / {total}"


def client_quantile(quantile: float, run: str, window: str) -> str:
    """Give a quantile of the seconds a request took k6, for each operation."""
    return f"histogram_quantile({quantile}, sum by (name) ({_client_seconds(run, window)}))"


def all_client_quantile(quantile: float, run: str, window: str) -> str:
    """Give a quantile of the seconds any request took k6."""
    return f"histogram_quantile({quantile}, sum({_client_seconds(run, window)}))"


def dropped_iterations(run: str, window: str) -> str:
    """Count the iterations that k6 could not start in time because no virtual user was free."""
    return f"sum(last_over_time(k6_dropped_iterations_total{{testid={quoted(run)}}}[{window}]))"


def _requests(run: str, window: str, only: str = "") -> str:
    return f"last_over_time(k6_http_reqs_total{{{_of_run(run, only)}}}[{window}])"


def _client_seconds(run: str, window: str) -> str:
    return f"last_over_time(k6_http_req_duration_seconds{{{_of_run(run)}}}[{window}])"


def _of_run(run: str, only: str = "") -> str:
    return ",".join(filter(None, (f"testid={quoted(run)}", OF_A_SCENARIO, only)))


# What the server and the database saw, from their spans


def span_quantile(quantile: float, side: Side, run: str, window: str) -> str:
    """Give a quantile of the seconds spans took on one side, for each operation."""
    seconds = _span_seconds(side, run, window)
    return f"histogram_quantile({quantile}, sum by (clinic_operation) ({seconds}))"


def all_span_quantile(quantile: float, side: Side, run: str, window: str) -> str:
    """Give a quantile of the seconds any span took on one side."""
    return f"histogram_quantile({quantile}, sum({_span_seconds(side, run, window)}))"


def spans(side: Side, run: str, window: str) -> str:
    """Count a run's spans on one side for each operation."""
    return f"sum by (clinic_operation) ({_span_calls(side, run, window)})"


def all_spans(side: Side, run: str, window: str) -> str:
    """Count a run's spans on one side."""
    return f"sum({_span_calls(side, run, window)})"


def failed_statuses(run: str, window: str) -> str:
    """Count the requests the server answered with 400 or more, for each status code."""
    failed = 'http_response_status_code=~"[45].."'
    calls = _span_calls(Side.SERVER, run, window, failed)
    return f"sum by (http_response_status_code) ({calls})"


def _span_seconds(side: Side, run: str, window: str) -> str:
    named = f'__name__=~"{SPAN_SECONDS}"'
    return f"last_over_time({{{named},{_of_side(side, run)}}}[{window}])"


def _span_calls(side: Side, run: str, window: str, only: str = "") -> str:
    matchers = ",".join(filter(None, (_of_side(side, run), only)))
    return f"last_over_time({SPAN_CALLS}{{{matchers}}}[{window}])"


def _of_side(side: Side, run: str) -> str:
    return f"k6_test_run_id={quoted(run)},span_kind={quoted(side)}"


# Traces, in TraceQL


def slow_traces(run: str, over: str) -> str:
    """Find the requests of a run that took the server as long as `over`, such as `60ms`."""
    return f"{{ {_server_span(run)} && duration >= {over} }} | {_SHOWN}"


def failed_traces(run: str) -> str:
    """Find the requests of a run that the server answered with 400 or more."""
    return f"{{ {_server_span(run)} && span.http.response.status_code >= 400 }} | {_SHOWN}"


def traces_with_prefix(prefix: str) -> str:
    """Find the traces whose id begins so."""
    return f"{{ trace:id =~ {quoted(prefix + '.*')} }}"


_SHOWN = "select(span.clinic.operation, span.http.response.status_code)"


def _server_span(run: str) -> str:
    return f"span.k6.test_run_id = {quoted(run)} && kind = server"
