"""Known series in, known numbers out: every expression through the real promtool."""

import pytest

from lab.promql import run_list, run_timeline, run_totals
from lab.promql.selectors import (
    ENDED,
    PASSED,
    PLANNED,
    SPAN_CALLS,
    STARTED,
    THRESHOLD_PASSED,
    RunSelector,
    Side,
    by_operation,
)
from tests.support.promtool import (
    AT,
    JAEGER,
    OTHER,
    RUN,
    TEMPO,
    Samples,
    Series,
    asked,
    client_seconds,
    errors,
    hold,
    mark,
    requests,
    span_metric,
)

pytestmark = pytest.mark.stack

WINDOW = "30m"
SELECTED = RunSelector(RUN, WINDOW)
OF_OTHER = RunSelector(OTHER, WINDOW)

# Of 100 seconds-long observations the 95th is half-way, by ratio, between 1 and 2.
NINETY_BELOW_1 = "{{schema:0 count:90 sum:67.5 buckets:[90] offset:0}}"
TEN_FROM_1_TO_2 = "{{schema:0 count:10 sum:15 buckets:[10] offset:1}}"
P95_OF_BOTH = 2**0.5


def gives(series: Series, expression: str, expected: Samples, at: str = AT) -> None:
    hold(series, [(expression, expected, at)])


def test_promtool_refuses_a_wrong_number() -> None:
    """Without this the other tests could pass for nothing."""
    series = {requests("GET /owners"): "10 20 stale"}

    outcome = asked(series, [(run_totals.all_requests(SELECTED), {"{}": 21}, AT)])

    assert outcome.returncode != 0
    assert "got" in outcome.stdout + outcome.stderr


# 1,020 requests in 203 series, 15 of them failed: all in one series, because status is a label.
SERIES = 203
REQUESTS_EACH = [5] * 197 + [4] * 5
FAILED_RUN = {
    **{requests(f"GET /{i}"): f"{count} stale" for i, count in enumerate(REQUESTS_EACH)},
    requests("GET /owners", failed=True, status=503): "15 stale",
}


def test_the_failed_share_is_that_of_requests() -> None:
    gives(FAILED_RUN, run_totals.all_failed_share(SELECTED), {"{}": 15 / 1020})

    assert round(15 / 1020 * 100, 2) == 1.47


def test_the_common_dashboards_show_a_third_of_it() -> None:
    """Each series of k6's rate is 0 or 1, so that their mean counts series, not requests."""
    rates = {
        name.replace("k6_http_reqs_total", "k6_http_req_failed_rate"): str(int("false" in name))
        for name in FAILED_RUN
    }
    mean = f"avg(last_over_time(k6_http_req_failed_rate[{WINDOW}]))"

    gives(rates, mean, {"{}": 1 / SERIES})

    assert round(1 / SERIES * 100, 2) == 0.49


def test_an_operation_without_failures_has_a_share_of_zero() -> None:
    series = {
        requests("GET /owners"): "40 99 stale",
        requests("POST /owners"): "40 150 stale",
        requests("POST /owners", failed=True, status=409): "_ 50 stale",
    }

    gives(
        series,
        run_totals.failed_share(SELECTED),
        {'{name="GET /owners"}': 0, '{name="POST /owners"}': 0.25},
    )


def test_a_run_without_failures_has_a_share_of_zero() -> None:
    gives({requests("GET /owners"): "9"}, run_totals.all_failed_share(SELECTED), {"{}": 0})


# The first push brings 101 requests of 417.
PUSHES_OF_417 = "101 151 201 251 301 351 401 417 stale"


def test_a_total_counts_the_first_push() -> None:
    series = {requests("GET /owners"): PUSHES_OF_417}

    gives(series, run_totals.requests(SELECTED), {'{name="GET /owners"}': 417})
    gives(series, run_totals.all_requests(SELECTED), {"{}": 417})


def test_increase_would_lose_the_first_push() -> None:
    """Over exactly the run's samples, so that nothing is extrapolated."""
    series = {requests("GET /owners"): PUSHES_OF_417}

    gives(series, "round(sum(increase(k6_http_reqs_total[35001ms] @ 35)))", {"{}": 316})


def test_a_counter_pushed_once_counts() -> None:
    series = {requests("GET /owners"): "20 stale"}

    gives(series, run_totals.requests(SELECTED), {'{name="GET /owners"}': 20})
    gives(series, f"sum(increase(k6_http_reqs_total[{WINDOW}]))", {})


def test_two_runs_that_overlap_stay_apart() -> None:
    series = {
        requests("GET /owners"): "10 20 30 stale",
        requests("GET /owners", OTHER): "_ 500 900 1300 stale",
        requests("GET /owners", OTHER, failed=True, status=503): "_ 7 stale",
        client_seconds("GET /owners"): f"{NINETY_BELOW_1} {NINETY_BELOW_1}",
        client_seconds("GET /owners", OTHER): f"_ {TEN_FROM_1_TO_2}",
        span_metric(SPAN_CALLS, "GET /owners"): "30",
        span_metric(SPAN_CALLS, "GET /owners", OTHER): "_ 1307",
    }

    gives(series, run_totals.all_requests(SELECTED), {"{}": 30})
    gives(series, run_totals.all_requests(OF_OTHER), {"{}": 1307})
    gives(series, run_totals.failed_share(SELECTED), {'{name="GET /owners"}': 0})
    gives(series, run_totals.all_spans(Side.SERVER, SELECTED), {"{}": 30})
    # All of the run's lie between a half and 1: the 95th is at that share of the way, by ratio.
    gives(series, run_totals.all_client_quantile(0.95, SELECTED), {"{}": 0.5 * 2**0.95})
    gives(series, run_totals.all_client_quantile(0.95, OF_OTHER), {"{}": 2**0.95})


def test_a_percentile_is_of_all_scenarios_at_once() -> None:
    series = {
        client_seconds("GET /owners", scenario="browse"): f"{NINETY_BELOW_1} stale",
        client_seconds("GET /owners", scenario="book"): f"{TEN_FROM_1_TO_2} stale",
    }
    by_name = run_totals.client_quantile(0.95, SELECTED)
    of_all = run_totals.all_client_quantile(0.95, SELECTED)

    gives(series, by_name, {'{name="GET /owners"}': P95_OF_BOTH})
    gives(series, of_all, {"{}": P95_OF_BOTH})


def test_the_mean_of_percentiles_is_no_percentile() -> None:
    series = {
        client_seconds("GET /owners", scenario="browse"): NINETY_BELOW_1,
        client_seconds("GET /owners", scenario="book"): TEN_FROM_1_TO_2,
    }
    window = f"last_over_time(k6_http_req_duration_seconds[{WINDOW}])"

    outcome = asked(series, [(f"avg(histogram_quantile(0.95, {window}))", {"{}": P95_OF_BOTH}, AT)])

    assert outcome.returncode != 0


@pytest.mark.parametrize("metric", [TEMPO, JAEGER])
def test_either_stores_spans_give_the_same_percentile(metric: str) -> None:
    """A generator's series go on at their last value after a run; Tempo's also has classic ones."""
    series = {
        span_metric(metric, "POST /owners"): f"{NINETY_BELOW_1}x3",
        span_metric(metric, "POST /owners", k6_scenario="book"): f"{TEN_FROM_1_TO_2}x3",
        span_metric(metric, "POST /owners", span_kind=Side.DATABASE): f"{NINETY_BELOW_1}x3",
        span_metric(metric, "POST /owners", OTHER): f"{TEN_FROM_1_TO_2}x3",
        span_metric(f"{metric}_count", "POST /owners"): "1000x3",
        span_metric(f"{metric}_bucket", "POST /owners", le="0.1"): "1000x3",
    }
    operation = '{clinic_operation="POST /owners"}'

    server = run_totals.span_quantile(0.95, Side.SERVER, SELECTED)
    database = run_totals.span_quantile(0.95, Side.DATABASE, SELECTED)
    gives(series, server, {operation: P95_OF_BOTH})
    gives(series, database, {operation: 0.5 * 2**0.95})
    gives(series, run_totals.all_span_quantile(0.95, Side.SERVER, SELECTED), {"{}": P95_OF_BOTH})


def test_spans_are_counted_by_side_and_operation() -> None:
    calls = SPAN_CALLS
    series = {
        span_metric(calls, "POST /owners"): "3 60x3",
        span_metric(calls, "POST /owners", http_response_status_code="503"): "4x4",
        span_metric(calls, "GET /owners"): "61x4",
        span_metric(calls, "GET /owners", span_kind=Side.DATABASE): "59x4",
        span_metric(calls, "GET /owners", OTHER): "1000x4",
    }

    gives(
        series,
        run_totals.spans(Side.SERVER, SELECTED),
        {'{clinic_operation="POST /owners"}': 64, '{clinic_operation="GET /owners"}': 61},
    )
    gives(series, run_totals.all_spans(Side.SERVER, SELECTED), {"{}": 125})
    gives(series, run_totals.all_spans(Side.DATABASE, SELECTED), {"{}": 59})


def test_failed_statuses_are_those_from_400() -> None:
    calls = SPAN_CALLS
    series = {
        span_metric(calls, "POST /owners", http_response_status_code="201"): "60",
        span_metric(calls, "POST /owners", http_response_status_code="409"): "2",
        span_metric(calls, "GET /owners", http_response_status_code="503"): "3",
        span_metric(calls, "POST /owners", http_response_status_code="503"): "4",
        span_metric(calls, "POST /owners", OTHER, http_response_status_code="500"): "9",
    }

    gives(
        series,
        run_totals.failed_statuses(SELECTED),
        {'{http_response_status_code="409"}': 2, '{http_response_status_code="503"}': 7},
    )


def test_the_readiness_check_before_the_load_is_no_request_of_it() -> None:
    ready = f'k6_http_reqs_total{{testid="{RUN}",name="GET /readyz",expected_response="true"}}'
    series = {ready: "1 stale", requests("GET /owners"): "5 stale"}

    gives(series, run_totals.requests(SELECTED), {'{name="GET /owners"}': 5})


def test_unanswered_requests_are_those_without_a_status() -> None:
    series = {
        requests("GET /owners"): "50 stale",
        requests("GET /owners", failed=True, status=0): "3 stale",
        requests("POST /owners", failed=True, status=500): "2 stale",
    }

    gives(series, run_totals.unanswered_requests(SELECTED), {"{}": 3})


def run(run: str, profile: str) -> str:
    return f'{{testid="{run}",profile="{profile}",journey="book"}}'


# Two generators made the one run; the other was broken off after 20 of its 60 seconds.
MARKED_RUNS = {
    mark(STARTED, instance="a"): "100 stale",
    mark(STARTED, instance="b"): "103 stale",
    mark(ENDED, instance="a"): "_x12 160 stale",
    mark(ENDED, instance="b"): "_x12 163.5 stale",
    mark(PLANNED, instance="a"): "60 stale",
    mark(PLANNED, instance="b"): "60 stale",
    mark(PASSED, instance="a"): "_x13 1",
    mark(PASSED, instance="b"): "_x13 0",
    mark(STARTED, OTHER, "stress"): "200 stale",
    mark(ENDED, OTHER, "stress"): "_x4 220 stale",
    mark(PLANNED, OTHER, "stress"): "60 stale",
    mark(PASSED, OTHER, "stress"): "_x5 1",
}
LOAD = run(RUN, "load")
STRESS = run(OTHER, "stress")


def test_a_run_is_from_its_first_generators_start_to_its_last_ones_end() -> None:
    gives(MARKED_RUNS, run_totals.started(SELECTED), {"{}": 100})
    gives(MARKED_RUNS, run_totals.ended(SELECTED), {"{}": 163.5})
    gives(MARKED_RUNS, run_list.runs(WINDOW), {LOAD: 100, STRESS: 200})
    gives(MARKED_RUNS, run_list.seconds(WINDOW), {LOAD: 63.5, STRESS: 20})


def test_a_run_held_when_it_held_on_every_generator() -> None:
    gives(MARKED_RUNS, run_list.passed(WINDOW), {LOAD: 0, STRESS: 1})


def test_a_run_that_ended_before_its_time_was_broken_off() -> None:
    gives(MARKED_RUNS, run_list.broken_off(WINDOW), {STRESS: 40})


def test_a_run_that_is_still_on_has_no_end_and_no_verdict() -> None:
    series = {mark(STARTED): "100 _x300", mark(PLANNED): "60 _x300"}

    gives(series, run_list.runs(WINDOW), {LOAD: 100})
    for expression in (
        run_totals.ended(SELECTED),
        run_list.seconds(WINDOW),
        run_list.broken_off(WINDOW),
        run_list.passed(WINDOW),
    ):
        gives(series, expression, {})


def test_the_thresholds_that_some_generator_crossed_are_listed() -> None:
    def threshold(metric: str, instance: str, run: str = RUN) -> str:
        named = {"metric": metric, "threshold": "p(95)<300", "instance": instance}
        return mark(THRESHOLD_PASSED, run, **named)

    series = {
        threshold("http_req_duration{name:POST /owners}", "a"): "1",
        threshold("http_req_duration{name:POST /owners}", "b"): "0",
        threshold("http_req_duration{name:GET /owners}", "a"): "1",
        threshold("http_req_duration{name:GET /owners}", "a", OTHER): "0",
    }

    gives(
        series,
        run_totals.crossed_thresholds(SELECTED),
        {'{metric="http_req_duration{name:POST /owners}",threshold="p(95)<300"}': 0},
    )


def test_dropped_iterations_are_summed() -> None:
    name = "k6_dropped_iterations_total"
    series = {
        f'{name}{{testid="{RUN}",scenario="a"}}': "3 8 stale",
        f'{name}{{testid="{RUN}",scenario="b"}}': "2 stale",
        f'{name}{{testid="{OTHER}",scenario="b"}}': "90 stale",
    }

    gives(series, run_totals.dropped_iterations(SELECTED), {"{}": 10})


def test_client_and_server_meet_under_one_label() -> None:
    series = {
        requests("GET /owners"): "5 stale",
        span_metric(SPAN_CALLS, "GET /owners"): "5",
    }
    client = by_operation(run_totals.requests(SELECTED), "name")
    server = by_operation(run_totals.spans(Side.SERVER, SELECTED), "clinic_operation")

    gives(series, f"{client} - on (operation) {server}", {'{operation="GET /owners"}': 0})


def test_a_dashboards_variables_stand_where_the_values_would() -> None:
    expression = run_totals.all_requests(RunSelector("$testid", "$__range", "$scenario"))

    assert 'testid="$testid"' in expression
    filled = (
        expression.replace("$testid", RUN).replace("$__range", WINDOW).replace("$scenario", ".+")
    )
    gives({requests("GET /owners"): "5 stale"}, filled, {"{}": 5})


def test_an_id_cannot_leave_its_quotes() -> None:
    hostile = 'x"} or vector(7) or {testid="\\'

    gives({requests("GET /owners"): "5"}, run_totals.all_requests(RunSelector(hostile, WINDOW)), {})


# The spans of a run over time


def at_each_push(expression: str, pushes: int) -> str:
    """Add up an expression over the first pushes of a run, 5 s apart."""
    return f"sum_over_time(({expression})[{pushes * 5}s:5s] @ {(pushes - 1) * 5})"


def test_the_spans_of_a_run_add_up_to_its_total() -> None:
    """The first push is the first span's, which a rate would leave out."""
    series = {requests("GET /owners"): PUSHES_OF_417, requests("POST /owners"): "_ _ 7 9 stale"}
    rate = run_timeline.all_request_rate(SELECTED, "5s")
    by_name = run_timeline.request_rate(SELECTED, "5s")

    gives(series, at_each_push(f"{rate} * 5", 10), {"{}": 417 + 9})
    gives(series, rate, {"{}": 101 / 5}, at="0s")
    gives(series, rate, {"{}": 0}, at="60s")
    gives(series, by_name, {OWNERS: 10, '{name="POST /owners"}': 7 / 5}, at="10s")


OWNERS = '{name="GET /owners"}'


def test_a_run_of_twenty_seconds_has_its_whole_course() -> None:
    series = {requests("GET /owners"): "25 50 75 100 stale"}

    gives(
        series, at_each_push(f"{run_timeline.all_request_rate(SELECTED, '5s')} * 5", 4), {"{}": 100}
    )


def test_failures_over_time_are_zero_where_none_failed_and_absent_without_requests() -> None:
    series = {
        requests("GET /owners"): "40 80 80 160 stale",
        requests("GET /owners", failed=True, status=503): "_ 10 10 10 stale",
    }
    share, rate = (
        run_timeline.failed_share(SELECTED, "5s"),
        run_timeline.failed_rate(SELECTED, "5s"),
    )

    gives(series, share, {"{}": 0}, at="0s")
    gives(series, share, {"{}": 10 / 50}, at="5s")
    gives(series, share, {}, at="10s")
    gives(series, share, {"{}": 0}, at="15s")
    gives(series, rate, {"{}": 0}, at="0s")
    gives(series, rate, {"{}": 2}, at="5s")


def test_errors_over_time_are_told_apart_by_kind() -> None:
    series = {errors("status"): "_ 5 10 stale", errors("timeout", "GET /owners"): "_ _ 3 stale"}

    gives(
        series,
        run_timeline.error_rate(SELECTED, "5s"),
        {'{kind="status"}': 1, '{kind="timeout"}': 3 / 5},
        at="10s",
    )
    gives(
        series,
        run_totals.errors(SELECTED),
        {
            '{kind="status",operation="POST /owners"}': 10,
            '{kind="timeout",operation="GET /owners"}': 3,
        },
    )


# A hundred below 1, then a hundred from 1 to 2.
HUNDRED = "{{schema:0 count:100 sum:75 buckets:[100] offset:0}}"
TWO_HUNDRED = "{{schema:0 count:200 sum:225 buckets:[100 100] offset:0}}"


def test_a_percentile_over_time_is_of_what_was_added() -> None:
    span = span_metric(TEMPO, "GET /owners")
    series = {client_seconds("GET /owners"): f"{HUNDRED} {TWO_HUNDRED} stale", span: HUNDRED}
    client, by_name = (
        run_timeline.all_client_quantile(0.5, SELECTED, "5s"),
        run_timeline.client_quantile(0.5, SELECTED, "5s"),
    )

    gives(series, client, {"{}": 0.5**0.5}, at="0s")
    gives(series, client, {"{}": 2**0.5}, at="5s")
    gives(series, by_name, {OWNERS: 2**0.5}, at="5s")
    gives(
        series,
        run_timeline.all_span_quantile(0.5, Side.SERVER, SELECTED, "5s"),
        {"{}": 0.5**0.5},
        at="0s",
    )
    gives(
        series,
        run_timeline.span_quantile(0.5, Side.SERVER, SELECTED, "5s"),
        {'{clinic_operation="GET /owners"}': 0.5**0.5},
        at="0s",
    )


# A request took the client 1.0 s on average, the server 0.75, the database 0.25.
CLIENT = "{{schema:0 count:100 sum:100 buckets:[100] offset:0}}"
SERVER = "{{schema:0 count:100 sum:75 buckets:[100] offset:0}}"
DATABASE = "{{schema:0 count:100 sum:25 buckets:[100] offset:0}}"
THREE_SIDES = {
    client_seconds("GET /owners"): CLIENT,
    span_metric(TEMPO, "GET /owners"): SERVER,
    span_metric(TEMPO, "GET /owners", span_kind=Side.DATABASE): DATABASE,
}


def test_the_time_of_a_request_is_shared_out_among_the_sides() -> None:
    operation = '{operation="GET /owners"}'

    gives(THREE_SIDES, run_totals.share_of_client_time(Side.SERVER, SELECTED), {operation: 0.75})
    gives(THREE_SIDES, run_totals.share_of_client_time(Side.DATABASE, SELECTED), {operation: 0.25})
    gives(THREE_SIDES, run_totals.all_share_of_client_time(Side.SERVER, SELECTED), {"{}": 0.75})
    gives(THREE_SIDES, run_timeline.mean_outside_server(SELECTED, "5s"), {"{}": 0.25}, at="0s")
    gives(THREE_SIDES, run_timeline.mean_in_server(SELECTED, "5s"), {"{}": 0.5}, at="0s")
    gives(THREE_SIDES, run_timeline.mean_in_database(SELECTED, "5s"), {"{}": 0.25}, at="0s")
    gives(THREE_SIDES, run_timeline.mean_in_database(SELECTED, "5s"), {}, at="60s")


def test_virtual_users_are_those_of_all_generators() -> None:
    series = {
        f'k6_vus{{testid="{RUN}",instance="a"}}': "3 5 stale",
        f'k6_vus{{testid="{RUN}",instance="b"}}': "1 2 stale",
        f'k6_vus{{testid="{OTHER}"}}': "90 90 stale",
    }

    gives(series, run_timeline.virtual_users(SELECTED, "5s"), {"{}": 7}, at="5s")
    gives(series, run_timeline.virtual_users(SELECTED, "5s"), {}, at="60s")


def test_rows_written_are_the_inserts_that_did_not_fail() -> None:
    def statement(name: str, status: str = "STATUS_CODE_UNSET", run: str = RUN) -> str:
        kind = {"span_kind": Side.DATABASE, "http_response_status_code": ""}
        return span_metric(
            SPAN_CALLS, "POST /owners", run, span_name=name, status_code=status, **kind
        )

    series = {
        requests("POST /owners", status=201): "40 stale",
        requests("POST /owners", failed=True, status=409): "2 stale",
        statement("INSERT owner"): "40",
        statement("INSERT owner", "STATUS_CODE_ERROR"): "2",
        statement("INSERT pet"): "3",
        statement("UPDATE owner"): "90",
        statement("INSERT owner", run=OTHER): "7",
    }

    gives(series, run_totals.created(SELECTED), {"{}": 40})
    gives(series, run_totals.rows_written(SELECTED), {"{}": 43})


def test_only_the_scenarios_asked_for_count() -> None:
    browse = requests("GET /owners").replace('scenario="load"', 'scenario="browse"')
    series = {requests("GET /owners"): "5 stale", browse: "8 stale"}

    gives(series, run_totals.all_requests(SELECTED), {"{}": 13})
    gives(series, run_totals.all_requests(RunSelector(RUN, WINDOW, "browse")), {"{}": 8})


def test_each_run_has_its_numbers_in_the_list() -> None:
    series = FAILED_RUN | {
        requests("GET /owners", OTHER): "9 stale",
        client_seconds("GET /owners", OTHER): f"{HUNDRED} stale",
    }
    one, other = f'{{testid="{RUN}"}}', f'{{testid="{OTHER}"}}'

    gives(series, run_list.requests(WINDOW), {one: 1020, other: 9})
    gives(series, run_list.failed_share(WINDOW), {one: 15 / 1020, other: 0})
    gives(series, run_list.client_quantile(0.5, WINDOW), {other: 0.5**0.5})
