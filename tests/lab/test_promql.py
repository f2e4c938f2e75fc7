"""Expressions against known series, where a dashboard's panels do not show the case."""

import ast
import re

import pytest
import yaml

from lab.paths import PROJECT
from lab.promql import api, load_run, run_list
from lab.promql.selectors import (
    ENDED,
    OPERATION,
    PASSED,
    PLANNED,
    RETENTION,
    SPAN_CALLS,
    STARTED,
    THRESHOLD_PASSED,
    RunList,
    RunSelector,
    Side,
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

WINDOW = "30m"
SELECTED = RunSelector(RUN, WINDOW)
INTERVAL = RunSelector(RUN, WINDOW, interval="5s")
ALL_RUNS = RunList(WINDOW)

GET = '{operation="GET /owners"}'
# Half a second to 1 s, and 1 to 2 s.
HUNDRED = "{{schema:0 count:100 sum:75 buckets:[100] offset:0}}"
TWO_HUNDRED = "{{schema:0 count:200 sum:225 buckets:[100 100] offset:0}}"


def gives(series: Series, expression: str, expected: Samples, at: str = AT) -> None:
    hold(series, [(expression, expected, at)])


def test_dashboards_look_back_as_far_as_prometheus_keeps() -> None:
    settings = yaml.safe_load((PROJECT / "observability/prometheus/prometheus.yml").read_text())

    assert settings["storage"]["tsdb"]["retention"]["time"] == RETENTION


@pytest.mark.stack
def test_a_wrong_number_fails() -> None:
    """The one example that these tests can fail."""
    series = {requests("GET /owners"): "10 20 stale"}

    outcome = asked(series, [(load_run.requests(SELECTED), {"{}": 21}, AT)])

    assert outcome.returncode != 0
    assert "got" in outcome.stdout + outcome.stderr


# What only an expression of PromQL or TraceQL contains; rules may combine expressions.
METRIC = re.compile(
    r"(?<!:)\b(k6_(?!test_run_id|scenario)[a-z]|http_server_|traces_spanmetrics|otel_sdk_|otelcol_"
    r"|tempo_[a-z]+_|prometheus_[a-z]+_|alertmanager_[a-z]+_|process_[a-z]+_[a-z]+_"
    r"|node_[a-z]+_|clinic_(database|event)|db_client_connection_)"
)
FUNCTION = re.compile(r"_over_time\(|histogram_quantile|\b(kind|trace:id|span\.[a-z.]+) (=|>)")


def test_expressions_stand_in_promql_alone() -> None:
    folder = PROJECT / "src" / "lab"
    copies = [
        f"{file.relative_to(PROJECT)}:{node.lineno}: {node.value[:60]}"
        for file in folder.rglob("*.py")
        if file.parent.name != "promql"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (
            METRIC.search(node.value)
            or (file.parent.name != "rules" and FUNCTION.search(node.value))
        )
    ]

    assert copies == []


# Totals


@pytest.mark.stack
@pytest.mark.parametrize("pushes", ["101 151 201 417 stale", "417 stale"])
def test_a_total_counts_the_first_push(pushes: str) -> None:
    series = {requests("GET /owners"): pushes}

    gives(series, load_run.requests(SELECTED, OPERATION), {GET: 417})
    gives(series, load_run.requests(SELECTED), {"{}": 417})


@pytest.mark.stack
def test_the_readiness_check_before_the_load_does_not_count() -> None:
    ready = f'k6_http_reqs_total{{testid="{RUN}",name="GET /readyz",expected_response="true"}}'
    series = {ready: "1 stale", requests("GET /owners"): "5 stale"}

    gives(series, load_run.requests(SELECTED, OPERATION), {GET: 5})


@pytest.mark.stack
def test_an_operation_without_failures_has_a_share_of_zero() -> None:
    series = {
        requests("GET /owners"): "40 99 stale",
        requests("POST /owners"): "40 150 stale",
        requests("POST /owners", failed=True, status=409): "_ 50 stale",
    }

    gives(
        series,
        load_run.failed_share(SELECTED, OPERATION),
        {GET: 0, '{operation="POST /owners"}': 0.25},
    )


@pytest.mark.stack
@pytest.mark.parametrize("metric", [TEMPO, JAEGER])
def test_span_durations_of_either_store_ignore_its_classic_histograms(metric: str) -> None:
    """A generator's series go on at their last value after a run; Tempo's also has classic ones."""
    series = {
        span_metric(metric, "GET /owners"): f"{HUNDRED}x3",
        span_metric(metric, "GET /owners", span_kind=Side.DATABASE): f"{TWO_HUNDRED}x3",
        span_metric(metric, "GET /owners", OTHER): f"{TWO_HUNDRED}x3",
        span_metric(f"{metric}_count", "GET /owners"): "1000x3",
        span_metric(f"{metric}_bucket", "GET /owners", le="0.1"): "1000x3",
    }

    server = load_run.span_quantile(0.5, Side.SERVER, SELECTED, OPERATION)
    gives(series, server, {GET: 0.5**0.5})
    gives(series, load_run.span_quantile(0.75, Side.DATABASE, SELECTED), {"{}": 2**0.5})


@pytest.mark.stack
def test_failed_statuses_are_those_from_400() -> None:
    def calls(operation: str, status: int, run: str = RUN) -> str:
        return span_metric(SPAN_CALLS, operation, run, http_response_status_code=str(status))

    series = {
        calls("POST /owners", 201): "60",
        calls("POST /owners", 409): "2",
        calls("GET /owners", 503): "3",
        calls("POST /owners", 503): "4",
        calls("POST /owners", 500, OTHER): "9",
    }

    gives(
        series,
        load_run.failed_statuses(SELECTED),
        {'{http_response_status_code="409"}': 2, '{http_response_status_code="503"}': 7},
    )


@pytest.mark.stack
def test_an_id_cannot_leave_its_quotes() -> None:
    hostile = 'x"} or vector(7) or {testid="\\'

    gives({requests("GET /owners"): "5"}, load_run.requests(RunSelector(hostile, WINDOW)), {})


# What k6 states about runs: two generators made the one, the other ended after 20 of its 60 s.

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
LOAD, STRESS = f'{{testid="{RUN}"}}', f'{{testid="{OTHER}"}}'


@pytest.mark.stack
def test_a_run_is_what_all_its_generators_did() -> None:
    by = "testid"
    hold(
        MARKED_RUNS,
        [
            (load_run.started(SELECTED), {"{}": 100}, AT),
            (load_run.ended(SELECTED), {"{}": 163.5}, AT),
            (load_run.duration(ALL_RUNS, by), {LOAD: 63.5, STRESS: 20}, AT),
            (load_run.passed(ALL_RUNS, by), {LOAD: 0, STRESS: 1}, AT),
            (load_run.missing_seconds(ALL_RUNS, "testid"), {STRESS: 40}, AT),
            (
                load_run.started(ALL_RUNS, run_list.RUN_LABELS),
                {
                    f'{{testid="{RUN}",profile="load",journey="book"}}': 100,
                    f'{{testid="{OTHER}",profile="stress",journey="book"}}': 200,
                },
                AT,
            ),
        ],
    )


@pytest.mark.stack
def test_a_running_run_has_no_end_and_no_verdict() -> None:
    series = {mark(STARTED): "100 _x300", mark(PLANNED): "60 _x300"}
    unknown = (
        load_run.ended(SELECTED),
        load_run.duration(ALL_RUNS, "testid"),
        load_run.passed(ALL_RUNS, "testid"),
        load_run.missing_seconds(ALL_RUNS, "testid"),
    )

    hold(series, [(expression, {}, AT) for expression in unknown])


@pytest.mark.stack
def test_a_threshold_passed_if_it_passed_on_every_generator() -> None:
    def threshold(metric: str, instance: str, run: str = RUN) -> str:
        return mark(THRESHOLD_PASSED, run, metric=metric, threshold="p(95)<300", instance=instance)

    series = {
        threshold("one", "a"): "1",
        threshold("one", "b"): "0",
        threshold("two", "a"): "1",
        threshold("two", "a", OTHER): "0",
    }

    gives(
        series,
        load_run.thresholds(SELECTED),
        {'{metric="one",threshold="p(95)<300"}': 0, '{metric="two",threshold="p(95)<300"}': 1},
    )


# Timelines


@pytest.mark.stack
def test_steps_add_up_to_the_total() -> None:
    """The first push belongs to the first interval; a rate would leave it out."""
    series = {
        requests("GET /owners"): "101 151 201 251 301 351 401 417 stale",
        requests("POST /owners"): "_ _ 7 9 stale",
    }
    rate = load_run.request_rate(INTERVAL)

    hold(
        series,
        [
            (f"sum_over_time(({rate} * 5)[50s:5s] @ 45)", {"{}": 417 + 9}, AT),
            (rate, {"{}": 101 / 5}, "0s"),
            (rate, {"{}": 0}, "60s"),
            (
                load_run.request_rate(INTERVAL, OPERATION),
                {GET: 10, '{operation="POST /owners"}': 7 / 5},
                "10s",
            ),
        ],
    )


@pytest.mark.stack
def test_a_step_without_failures_has_zero_and_one_without_requests_no_share() -> None:
    series = {
        requests("GET /owners"): "40 80 80 160 stale",
        requests("GET /owners", failed=True, status=503): "_ 10 10 10 stale",
    }
    share, rate = load_run.failed_share(INTERVAL), load_run.failed_rate(INTERVAL)

    hold(
        series,
        [
            (share, {"{}": 0}, "0s"),
            (share, {"{}": 10 / 50}, "5s"),
            (share, {}, "10s"),
            (share, {"{}": 0}, "15s"),
            (rate, {"{}": 0}, "0s"),
            (rate, {"{}": 2}, "5s"),
        ],
    )


@pytest.mark.stack
def test_errors_are_counted_by_kind() -> None:
    series = {errors("status"): "_ 5 10 stale", errors("timeout", "GET /owners"): "_ _ 3 stale"}
    rates = {'{kind="status"}': 1, '{kind="timeout"}': 3 / 5}
    totals = {
        '{kind="status",operation="POST /owners"}': 10,
        '{kind="timeout",operation="GET /owners"}': 3,
    }

    hold(
        series,
        [(load_run.error_rate(INTERVAL), rates, "10s"), (load_run.errors(SELECTED), totals, AT)],
    )


@pytest.mark.stack
def test_a_percentile_of_a_step_is_of_what_the_step_added() -> None:
    span = span_metric(TEMPO, "GET /owners")
    series = {client_seconds("GET /owners"): f"{HUNDRED} {TWO_HUNDRED} stale", span: HUNDRED}
    client = load_run.client_quantile(0.5, INTERVAL)

    hold(
        series,
        [
            (client, {"{}": 0.5**0.5}, "0s"),
            (client, {"{}": 2**0.5}, "5s"),
            (client, {}, "60s"),
            (load_run.client_quantile(0.5, INTERVAL, OPERATION), {GET: 2**0.5}, "5s"),
            (load_run.client_mean(INTERVAL, OPERATION), {GET: 1.5}, "5s"),
            (load_run.span_quantile(0.5, Side.SERVER, INTERVAL, OPERATION), {GET: 0.5**0.5}, "0s"),
        ],
    )


@pytest.mark.stack
def test_the_time_of_a_request_is_divided_among_the_sides() -> None:
    """A request took the client 1 s in the mean, the server 0.75 s, the database 0.25 s."""

    def seconds(total: int) -> str:
        return f"{{{{schema:0 count:100 sum:{total} buckets:[100] offset:0}}}}"

    series = {
        client_seconds("GET /owners"): seconds(100),
        span_metric(TEMPO, "GET /owners"): seconds(75),
        span_metric(TEMPO, "GET /owners", span_kind=Side.DATABASE): seconds(25),
    }

    hold(
        series,
        [
            (load_run.share_of_client_time(Side.SERVER, SELECTED, OPERATION), {GET: 0.75}, AT),
            (load_run.share_of_client_time(Side.DATABASE, SELECTED), {"{}": 0.25}, AT),
            (load_run.mean_outside_server(INTERVAL), {"{}": 0.25}, "0s"),
            (load_run.mean_in_server(INTERVAL), {"{}": 0.5}, "0s"),
            (load_run.mean_in_database(INTERVAL), {"{}": 0.25}, "0s"),
            (load_run.mean_in_database(INTERVAL), {}, "60s"),
        ],
    )


@pytest.mark.stack
def test_virtual_users_are_those_of_all_generators() -> None:
    series = {
        f'k6_vus{{testid="{RUN}",instance="a"}}': "3 5 stale",
        f'k6_vus{{testid="{RUN}",instance="b"}}': "1 2 stale",
        f'k6_vus{{testid="{OTHER}"}}': "90 90 stale",
    }

    gives(series, load_run.virtual_users(INTERVAL), {"{}": 7}, at="5s")
    gives(series, load_run.virtual_users(INTERVAL), {}, at="60s")


# Counters of a service


@pytest.mark.stack
@pytest.mark.parametrize(
    ("values", "increase"),
    [
        ("_ _ _ _ _ _ 3 5", 5),  # its first value counts
        ("7 7 7 7 7 7 9 10", 3),
        ("90 90 90 _ _ _ 3 5", 5),  # restarted before the window
    ],
)
def test_the_increase_of_a_counter_includes_its_first_value(values: str, increase: int) -> None:
    gives({"errors_total": values}, api.increase("errors_total", "10s"), {"{}": increase}, "35s")
