"""Expressions against known series, where a dashboard's panels do not show the case."""

import ast
import re

import pytest
import yaml

from lab.paths import PROJECT
from lab.promql import api, load_run, run_list, telemetry
from lab.promql.selectors import (
    ENDED,
    OPERATION,
    PASSED,
    PLANNED,
    RETENTION,
    SPAN_CALLS,
    STARTED,
    THRESHOLD_PASSED,
    Interval,
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
    histogram,
    hold,
    mark,
    quantile,
    requests,
    span_metric,
    stated,
)

WINDOW = "30m"
SELECTED = RunSelector(RUN, WINDOW)
INTERVAL = RunSelector(RUN, WINDOW, interval=Interval("5s"))
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
def test_virtual_users_are_those_of_all_generators() -> None:
    series = {
        f'k6_vus{{testid="{RUN}",instance="a"}}': "3 5 stale",
        f'k6_vus{{testid="{RUN}",instance="b"}}': "1 2 stale",
        f'k6_vus{{testid="{OTHER}"}}': "90 90 stale",
    }

    gives(series, load_run.virtual_users(INTERVAL), {"{}": 7}, at="5s")
    gives(series, load_run.virtual_users(INTERVAL), {}, at="60s")


# One moment of client, server and database


@pytest.mark.stack
@pytest.mark.parametrize("side", Side)
def test_the_stated_durations_of_a_side_count_and_its_late_spans_do_not(side: Side) -> None:
    """A push states two requests of a half to 1 s; their spans, of 1 to 2 s, come 10 s later."""
    series = {
        stated(side, "GET /owners"): f"{histogram(2, 1.5, 0)} {histogram(4, 3, 0)}x1 stale",
        span_metric(TEMPO, "GET /owners", span_kind=side): f"_x2 {histogram(4, 6, 1)}x9",
    }
    middle = quantile(0.5, 0)

    hold(
        series,
        [
            (load_run.side_quantile(0.5, side, INTERVAL), {"{}": middle}, "0s"),
            (load_run.side_quantile(0.5, side, INTERVAL, OPERATION), {GET: middle}, "5s"),
            # Nothing was stated then, and the spans that arrive are of another moment.
            (load_run.side_quantile(0.5, side, INTERVAL), {}, "10s"),
            (load_run.side_quantile(0.5, side, SELECTED, OPERATION), {GET: middle}, AT),
        ],
    )


@pytest.mark.stack
def test_a_side_that_no_response_states_is_read_from_its_spans() -> None:
    series = {span_metric(TEMPO, "GET /owners"): HUNDRED}

    for run, at in ((INTERVAL, "0s"), (SELECTED, AT)):
        gives(series, load_run.side_quantile(0.5, Side.SERVER, run), {"{}": 0.5**0.5}, at)


@pytest.mark.stack
def test_requests_without_a_response_leave_the_total_to_the_spans() -> None:
    series = {
        stated(Side.SERVER, "GET /owners"): f"{histogram(2, 0.2, -2)} stale",
        requests("GET /owners"): "2 stale",
        requests("GET /owners", failed=True, status=0): "_ 98 stale",
        span_metric(TEMPO, "GET /owners"): HUNDRED,
    }

    gives(series, load_run.side_quantile(0.5, Side.SERVER, SELECTED), {"{}": 0.5**0.5})


# Intervals of a run that starts 2 s past a multiple of their length, as a dashboard selects them.
SHIFTED = RunSelector(RUN, WINDOW, interval=Interval("5s", "2000", "3000"))
RUN_OF_18_SECONDS = {
    # k6 pushes 4, 9, 14 and 18 seconds after the start.
    mark(STARTED): "_x6 _x0 7 stale",
    mark(ENDED): "_x24 25 stale",
    f'k6_vus{{testid="{RUN}"}}': "_x10 5 _x4 5 _x4 5 _x3 5 stale",
    requests("GET /owners"): "_x10 50 _x4 60 _x4 70 _x3 76 stale",
}


@pytest.mark.stack
def test_a_run_is_drawn_in_its_own_intervals_and_nothing_beyond_it() -> None:
    """The first is from 7 to 12 s, evaluated at 10 s; the last has 3 s, and 6 requests."""
    rate = load_run.within_run(load_run.request_rate(SHIFTED), SHIFTED)
    users = load_run.within_run(load_run.virtual_users(SHIFTED), SHIFTED)
    rates = {"10s": 10, "15s": 2, "20s": 2, "25s": 2}

    hold(
        RUN_OF_18_SECONDS,
        [
            *((rate, {"{}": value}, at) for at, value in rates.items()),
            *((users, {"{}": 5}, at) for at in rates),
            *((one, {}, at) for one in (rate, users) for at in ("0s", "5s", "30s", "35s", AT)),
        ],
        interval="1s",
    )


@pytest.mark.stack
def test_the_interval_in_progress_is_not_drawn() -> None:
    """At 24 s k6's last push was at 21 s: the interval from 17 to 22 s is the last complete one."""
    series = {
        name: values.replace("_x3 5 stale", "").replace("_x3 76 stale", "")
        for name, values in RUN_OF_18_SECONDS.items()
        if not name.startswith(ENDED)
    }
    rate = load_run.within_run(load_run.request_rate(SHIFTED), SHIFTED)

    hold(series, [(rate, {"{}": 2}, "20s"), (rate, {}, "25s")], interval="1s")


@pytest.mark.stack
def test_a_last_interval_of_less_than_half_is_not_drawn() -> None:
    series = RUN_OF_18_SECONDS | {mark(ENDED): "_x22 24 stale"}
    rate = load_run.within_run(load_run.request_rate(SHIFTED), SHIFTED)

    hold(series, [(rate, {"{}": 2}, "20s"), (rate, {}, "25s"), (rate, {}, AT)], interval="1s")


@pytest.mark.stack
def test_the_server_side_is_as_far_behind_as_its_missing_requests_took() -> None:
    """40 requests a second: 240 of them are not stored yet."""
    running = {
        f'k6_vus{{testid="{RUN}"}}': "5x5",
        requests("GET /owners"): "200+200x5",
        span_metric(SPAN_CALLS, "GET /owners"): "0 0 360 560 760 960 1200",
    }
    ended = {
        requests("GET /owners"): "200 400 stale",
        mark(STARTED): "0 0 stale",
        mark(ENDED): "_ 10 stale",
        span_metric(SPAN_CALLS, "GET /owners"): "_ _ 100 100 100 100 100 400x60",
    }
    lag = load_run.server_lag(SELECTED)

    hold(running, [(lag, {"{}": 240 / 40}, "20s"), (lag, {"{}": 0}, "30s")])
    hold(ended, [(lag, {"{}": 300 / 40}, "30s"), (lag, {"{}": 0}, "40s"), (lag, {"{}": 0}, "4m")])


# Restarts


def counted(spans: int) -> str:
    """Write a histogram of spans that all took between a half and 1 s."""
    return f"{{{{schema:0 count:{spans} sum:{spans} buckets:[{spans}] offset:0}}}}"


def restarted() -> Series:
    """Store all of a thousand requests, with a restart of the trace store after half of them."""
    growing = f"{counted(0)}+{counted(50)}x10"
    return {
        requests("GET /owners"): "50+50x19 stale",
        span_metric(SPAN_CALLS, "GET /owners"): "0+50x10 0+50x10 500x20",
        span_metric(TEMPO, "GET /owners"): f"{growing} {growing} {counted(500)}x20",
    }


def restarted_with_new_labels() -> Series:
    """Store the same with the label by which the starts of a trace store differ."""
    first, second = {"trace_store_start": "1"}, {"trace_store_start": "2"}
    return {
        requests("GET /owners"): "50+50x19 stale",
        span_metric(SPAN_CALLS, "GET /owners", **first): "0+50x10 500x20",
        span_metric(SPAN_CALLS, "GET /owners", **second): "_x11 0+50x10 500x20",
        span_metric(TEMPO, "GET /owners", **first): f"{counted(0)}+{counted(50)}x10",
        span_metric(TEMPO, "GET /owners", **second): f"_x11 {counted(0)}+{counted(50)}x10",
    }


@pytest.mark.stack
@pytest.mark.parametrize("series", [restarted(), restarted_with_new_labels()])
def test_what_a_restarted_trace_store_stored_before_counts(series: Series) -> None:
    at = "150s"
    seconds = load_run.span_durations(Side.SERVER, SELECTED)
    interval = load_run.spans(Side.SERVER, INTERVAL)
    durations = f"histogram_count({load_run.span_durations(Side.SERVER, INTERVAL)})"

    hold(
        series,
        [
            (load_run.spans(Side.SERVER, SELECTED), {"{}": 1000}, at),
            (load_run.untraced(SELECTED), {"{}": 0}, at),
            (f"histogram_count({seconds})", {"{}": 1000}, at),
            (load_run.span_quantile(0.5, Side.SERVER, SELECTED), {"{}": 0.5**0.5}, at),
            *((interval, {"{}": 50}, f"{second}s") for second in (5, 50, 60, 105)),
            (interval, {"{}": 0}, "55s"),
            *((f"min_over_time(({e})[150s:5s])", {"{}": 0}, at) for e in (interval, durations)),
        ],
    )


@pytest.mark.stack
def test_rare_spans_whose_series_expire_all_count() -> None:
    """Six hours with one 503 each 20 min; the store drops a series that is silent for 15 min."""
    soak = RunSelector(RUN, "7h")
    rare = {"http_response_status_code": "503"}
    series = {
        requests("GET /owners"): "100x4319",
        requests("GET /owners", failed=True, status=503): " ".join(
            f"{count}x239" for count in range(1, 19)
        ),
        span_metric(SPAN_CALLS, "GET /owners"): "100x4319",
        span_metric(SPAN_CALLS, "GET /owners", **rare): "0 1x179 _x60 " * 18,
    }

    hold(
        series,
        [
            (
                load_run.failed_statuses(soak),
                {'{http_response_status_code="503"}': 18},
                "6h",
            ),
            (load_run.untraced(soak), {"{}": 0}, "6h"),
        ],
    )


@pytest.mark.stack
def test_no_rate_covers_requests_of_a_time_without_pushes() -> None:
    """k6 sends ten requests a second throughout; for ten minutes no push arrives."""
    series = {
        requests("GET /owners"): "50+50x9 _x120 6550+50x9 stale",
        f'k6_vus{{testid="{RUN}"}}': "5x9 _x120 5x9 stale",
    }
    rate = load_run.request_rate(INTERVAL)

    hold(
        series,
        [
            (rate, {"{}": 10}, "45s"),
            (rate, {}, "650s"),
            (rate, {"{}": 10}, "655s"),
            (load_run.requests(SELECTED), {"{}": 7000}, AT),
        ],
    )


@pytest.mark.stack
@pytest.mark.parametrize(
    ("starts", "expected"), [("100 103 100 103 stale", {"{}": 1}), ("100x5 stale", {})]
)
def test_two_generators_without_names_are_noticed(starts: str, expected: Samples) -> None:
    gives({mark(STARTED): starts}, load_run.starts_again(SELECTED), expected)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("series", "restarts"),
    [
        ({'process_start_time_seconds{job="traces"}': "100x5 _x3 130x5"}, 1),
        ({'otelcol_process_uptime_seconds_total{job="traces"}': "1+5x5 _x3 1+5x2 1+5x5"}, 2),
        ({'process_start_time_seconds{job="traces"}': "100x9"}, 0),
    ],
)
def test_restarts_of_the_trace_store_are_counted(series: Series, restarts: int) -> None:
    gives(series, telemetry.trace_store_restarts("30m"), {"{}": restarts})


# Counters of a service


@pytest.mark.stack
@pytest.mark.parametrize(
    ("values", "increase"),
    [
        ("_ _ _ _ _ _ 3 5", 5),  # its first value counts
        ("7 7 7 7 7 7 9 10", 3),
        ("90 90 90 _ _ _ 3 5", 5),  # restarted before the window
        ("1 1 1 _ _ _ 0 1", 1),  # and counts the same again
    ],
)
def test_the_increase_of_a_counter_includes_its_first_value(values: str, increase: int) -> None:
    gives({"errors_total": values}, api.increase("errors_total", "10s"), {"{}": increase}, "35s")


@pytest.mark.stack
def test_an_increase_after_a_gap_is_that_of_the_window() -> None:
    """Two events a second throughout; Prometheus is away for two hours."""
    hold(
        {"events_total": "0+10x10 _x1440 14510+10x10"},
        [
            (api.increase("events_total", "20s"), {"{}": 40}, "50s"),
            (api.increase("events_total", "20s"), {"{}": 25}, "7265s"),  # an estimate
            (api.increase("events_total", "20s"), {"{}": 40}, "7285s"),
        ],
    )
