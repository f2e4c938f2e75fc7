"""A run as a whole, by operation or over all of them.

A run's series start at their first value and end when k6 stops, so a total is the last value in
the run's range (`increase` would lose the first push) and a percentile is taken from the merged
native histograms.
"""

from lab.promql.selectors import (
    CLIENT_LABEL,
    ENDED,
    PASSED,
    PLANNED,
    SPAN_CALLS,
    SPAN_LABEL,
    SPAN_SECONDS,
    STARTED,
    THRESHOLD_PASSED,
    RunSelector,
    Side,
    by_operation,
    quoted,
)

REQUESTS = "k6_http_reqs_total"
CLIENT_SECONDS = "k6_http_req_duration_seconds"
ERRORS = "k6_errors_total"
DROPPED = "k6_dropped_iterations_total"

FAILED = 'expected_response="false"'
UNANSWERED = 'status="0"'
CREATED = 'status="201"'
WROTE = 'span_name=~"INSERT .+",status_code!="STATUS_CODE_ERROR"'

PUSH_SECONDS = 5
SETTLING = "20s"


# As k6 marks it


def started(run: RunSelector) -> str:
    """Give the time at which a run's first generator began its load, in seconds since 1970."""
    return f"min({_marked(STARTED, run)})"


def ended(run: RunSelector) -> str:
    """Give the time at which a run's last generator ended its load, in seconds since 1970."""
    return f"max({_marked(ENDED, run)})"


def seconds(run: RunSelector) -> str:
    """Give how long a run's load lasted; up to k6's last push where it has not ended."""
    pushes = f"max(count_over_time(k6_vus{{testid={quoted(run.run_id)}}}[{run.window}]))"
    return f"({ended(run)} - {started(run)} or {PUSH_SECONDS} * {pushes})"


def kind(run: RunSelector) -> str:
    """Name a run's profile and journey, as the labels of the one value."""
    return f"min by (profile, journey) ({_marked(STARTED, run)})"


def planned(run: RunSelector) -> str:
    """Give the seconds that a run's load was to last."""
    return f"max({_marked(PLANNED, run)})"


def passed(run: RunSelector) -> str:
    """Give 1 where all thresholds held on every generator, 0 where one did not."""
    return f"min({_marked(PASSED, run)})"


def state(run: RunSelector) -> str:
    """Give 1 or 0 as `held` does, 2 for a run that is on, 3 for one that ended without a verdict.

    And 4 where Prometheus has nothing of it.
    """
    still_on = f"2 + 0 * max(k6_vus{{testid={quoted(run.run_id)}}})"
    return f"{passed(run)} or {still_on} or 3 + 0 * {started(run)} or vector(4)"


def thresholds(run: RunSelector) -> str:
    """Give 1 for each threshold that held on every generator, 0 for the others."""
    return f"min by (metric, threshold) ({_marked(THRESHOLD_PASSED, run)})"


def crossed_thresholds(run: RunSelector) -> str:
    """List the thresholds of a run that were crossed on some generator."""
    return f"{thresholds(run)} == 0"


def _marked(mark: str, run: RunSelector) -> str:
    return f"last_over_time({mark}{{testid={quoted(run.run_id)}}}[{run.window}])"


def life_samples(run: RunSelector) -> str:
    """Give the raw samples of few series that last as long as a run does."""
    return f'{{__name__=~"k6_(vus|iterations_total)",testid={quoted(run.run_id)}}}[{run.window}]'


def start_samples(run: RunSelector) -> str:
    """Give the raw samples of the requests k6 made just before the load."""
    return f'{REQUESTS}{{testid={quoted(run.run_id)},scenario=""}}[{run.window}]'


# What k6 saw


def requests(run: RunSelector) -> str:
    """Count a run's requests for each operation."""
    return f"sum by ({CLIENT_LABEL}) ({_requests(run)})"


def all_requests(run: RunSelector) -> str:
    """Count a run's requests."""
    return f"sum({_requests(run)})"


def rate(run: RunSelector) -> str:
    """Give the requests a second for each operation, over the whole run."""
    return f"{requests(run)} / on () group_left () {seconds(run)}"


def all_rate(run: RunSelector) -> str:
    """Give the requests a second, over the whole run."""
    return f"{all_requests(run)} / {seconds(run)}"


def unanswered_requests(run: RunSelector) -> str:
    """Count the requests to which no answer came: the server need not have seen them."""
    return f"sum({_requests(run, UNANSWERED)})"


def created(run: RunSelector) -> str:
    """Count the answers that promise a row: 201."""
    return f"sum({_requests(run, CREATED)})"


def failed_share(run: RunSelector) -> str:
    """Give the failed share of requests, 0 to 1, for each operation."""
    total = requests(run)
    failed = f"sum by ({CLIENT_LABEL}) ({_requests(run, FAILED)})"
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def all_failed_share(run: RunSelector) -> str:
    """Give the failed share of all requests, 0 to 1."""
    total = all_requests(run)
    return f"(sum({_requests(run, FAILED)}) or 0 * {total}) / ({total} > 0)"


def client_quantile(quantile: float, run: RunSelector) -> str:
    """Give a quantile of the seconds a request took k6, for each operation."""
    return f"histogram_quantile({quantile}, sum by ({CLIENT_LABEL}) ({_client_seconds(run)}))"


def all_client_quantile(quantile: float, run: RunSelector) -> str:
    """Give a quantile of the seconds any request took k6."""
    return f"histogram_quantile({quantile}, sum({_client_seconds(run)}))"


def client_seconds(run: RunSelector) -> str:
    """Give the histogram of the seconds a request took k6, for each operation."""
    return f"sum by ({CLIENT_LABEL}) ({_client_seconds(run)})"


def errors(run: RunSelector) -> str:
    """Count what k6 judged wrong, for each operation and kind of error."""
    return f"sum by (operation, kind) (last_over_time({run.k6(ERRORS)}[{run.window}]))"


def dropped_iterations(run: RunSelector) -> str:
    """Count the iterations that k6 could not start in time because no virtual user was free."""
    return f"sum(last_over_time({run.k6(DROPPED)}[{run.window}]))"


def _requests(run: RunSelector, only: str = "") -> str:
    return f"last_over_time({run.k6(REQUESTS, only)}[{run.window}])"


def _client_seconds(run: RunSelector) -> str:
    return f"last_over_time({run.k6(CLIENT_SECONDS)}[{run.window}])"


# What the server and the database saw, from their spans


def span_quantile(quantile: float, side: Side, run: RunSelector) -> str:
    """Give a quantile of the seconds spans took on one side, for each operation."""
    return f"histogram_quantile({quantile}, sum by ({SPAN_LABEL}) ({_span_seconds(side, run)}))"


def all_span_quantile(quantile: float, side: Side, run: RunSelector) -> str:
    """Give a quantile of the seconds any span took on one side."""
    return f"histogram_quantile({quantile}, sum({_span_seconds(side, run)}))"


def span_seconds(side: Side, run: RunSelector) -> str:
    """Give the histogram of the seconds spans took on one side, for each operation."""
    return f"sum by ({SPAN_LABEL}) ({_span_seconds(side, run)})"


def spans(side: Side, run: RunSelector) -> str:
    """Count a run's spans on one side for each operation."""
    return f"sum by ({SPAN_LABEL}) ({_span_calls(side, run)})"


def slow(left: int, run: RunSelector) -> str:
    """Give the milliseconds that some `left` of a run's requests took the server at least."""
    quantile = f"scalar(clamp_min(1 - {left} / {all_spans(Side.SERVER, run)}, 0))"
    seconds_of_all = f"sum({_span_seconds(Side.SERVER, run)})"
    return f"1000 * histogram_quantile({quantile}, {seconds_of_all}) >= 0 or vector(0)"


def all_spans(side: Side, run: RunSelector) -> str:
    """Count a run's spans on one side."""
    return f"sum({_span_calls(side, run)})"


def rows_written(run: RunSelector) -> str:
    """Count the rows that a run's requests added to the clinic, from the database's spans."""
    return f"sum({_span_calls(Side.DATABASE, run, WROTE)})"


def untraced(run: RunSelector) -> str:
    """Count the answered requests that have no stored span of the server."""
    none = f"0 * {all_requests(run)}"
    unanswered = f"({unanswered_requests(run)} or {none})"
    stored = f"({all_spans(Side.SERVER, run)} or {none})"
    return f"clamp_min({all_requests(run)} - {unanswered} - {stored}, 0)"


def unwritten(run: RunSelector) -> str:
    """Count the promised rows, those of a 201, whose statement is not among the spans."""
    none = f"0 * {all_requests(run)}"
    return f"clamp_min(({created(run)} or {none}) - ({rows_written(run)} or {none}), 0)"


def settled(expression: str, run: RunSelector) -> str:
    """Give an expression once a run's last spans have had the time to arrive, not before."""
    still_on = f"max(max_over_time(k6_vus{{testid={quoted(run.run_id)}}}[{SETTLING}]))"
    return f"({expression}) unless on () {still_on}"


def failed_statuses(run: RunSelector) -> str:
    """Count the requests the server answered with 400 or more, for each status code."""
    failed = 'http_response_status_code=~"[45].."'
    return f"sum by (http_response_status_code) ({_span_calls(Side.SERVER, run, failed)})"


def share_of_client_time(side: Side, run: RunSelector) -> str:
    """Give the share of the client's time that one side took, 0 to 1, labelled `operation`.

    The database's time is part of the server's, and the server's of the client's.
    """
    side_seconds = f"sum by (operation) ({by_operation(_span_seconds(side, run), SPAN_LABEL)})"
    client = f"sum by (operation) ({by_operation(_client_seconds(run), CLIENT_LABEL)})"
    return f"histogram_sum({side_seconds}) / (histogram_sum({client}) > 0)"


def all_share_of_client_time(side: Side, run: RunSelector) -> str:
    """Give the share of all the client's time that one side took, 0 to 1."""
    client = f"histogram_sum(sum({_client_seconds(run)}))"
    return f"histogram_sum(sum({_span_seconds(side, run)})) / ({client} > 0)"


def _span_seconds(side: Side, run: RunSelector) -> str:
    return f"last_over_time({run.spans(SPAN_SECONDS, side)}[{run.window}])"


def _span_calls(side: Side, run: RunSelector, only: str = "") -> str:
    return f"last_over_time({run.spans(SPAN_CALLS, side, only)}[{run.window}])"


# One run beside another


def change(ours: str, theirs: str) -> str:
    """Give how much more one expression is than the other, as a share of the other."""
    return f"({ours} - {theirs}) / ({theirs} > 0)"
