"""Known series in, known numbers out: limits, thresholds, errors and resources of one run."""

import json

import pytest

from lab.dashboards import style
from lab.promql.published import FINDING
from lab.promql.selectors import (
    SPAN_CALLS,
    THRESHOLD_LIMIT,
    THRESHOLD_PASSED,
    THRESHOLD_REACHED,
    Side,
)
from tests.lab.test_dashboard_numbers import CHOSEN, GET, POST, VUS, threshold
from tests.support.panels import Address, queries
from tests.support.promtool import (
    AT,
    RUN,
    Asked,
    Samples,
    by,
    client_seconds,
    histogram,
    hold,
    mark,
    quantile,
    requests,
    span_metric,
    total,
)

pytestmark = pytest.mark.stack

SAMPLER = 'job="postgres-sampler"'
# The load is what the series below have.
LOAD = {"load_start": "0", "load_end": "20", "load_length": "20"}


def question(panel: str, series: str, expected: Samples, at: str = AT, **variables: str) -> Asked:
    address: Address = ("Load test", panel, series)
    return queries()[address].filled(**(CHOSEN | variables)), expected, at


def operations(panel: str, column: str, get: float, post: float) -> Asked:
    return question(panel, column, by("operation", {GET: get, POST: post}))


def test_limits_and_what_exceeds_them() -> None:
    """Durations of 125 to 250 ms: of GETs a third of the bucket is over 200 ms, no POST is."""
    series = {
        client_seconds(GET): f"{histogram(100, 20, -2)} stale",
        client_seconds(POST): f"{histogram(100, 20, -2)} stale",
    }
    p95 = quantile(0.95, -2)
    met, exceeded = (
        f"p95_style={json.dumps(style.css(colour))}" for colour in (style.GOOD, style.BAD)
    )
    # Prometheus interpolates within a bucket by ratio.
    over = 1 - 0.6780719
    hold(
        series,
        [
            operations("Operations", "Limit", 0.2, 0.3),
            operations("Operations", "of limit", p95 / 0.2, p95 / 0.3),
            operations("Operations", "Over limit", over, 0),
            question(
                "Operations",
                "p95",
                {
                    f'{{operation="{GET}",{exceeded}}}': p95,
                    f'{{operation="{POST}",{met}}}': p95,
                },
            ),
        ],
    )


def test_a_profile_replaces_limits_and_unknown_operations_have_none() -> None:
    """Under stress every operation may take 800 ms."""
    zoo = "GET /zoo"
    series = {
        client_seconds(GET, scenario="stress"): f"{histogram(100, 70, 0)} stale",
        client_seconds(zoo, scenario="stress"): f"{histogram(100, 70, 0)} stale",
    }
    exceeded = f"p95_style={json.dumps(style.css(style.BAD))}"
    p95 = quantile(0.95, 0)
    hold(
        series,
        [
            question("Operations", "Limit", by("operation", {GET: 0.8})),
            question("Operations", "Over limit", by("operation", {GET: 1 - 0.6780719})),
            question(
                "Operations",
                "p95",
                {
                    f'{{operation="{GET}",{exceeded}}}': p95,
                    f'{{operation="{zoo}",p95_style="{{}}"}}': p95,
                },
            ),
        ],
    )


@pytest.mark.parametrize(("spans", "rank"), [(199, 0.75), (200, 0.95), (1000, 0.99)])
def test_slow_traces_of_an_operation_are_few(spans: int, rank: float) -> None:
    series = {span_metric("traces_spanmetrics_latency", GET): f"{histogram(spans, 9, 0)}x5"}
    slow = by("operation", {GET: 1000 * quantile(rank, 0)})

    hold(series, [question("Operations", "slow", slow)])


def test_failed_requests_by_kind() -> None:
    invalid = f'testid="{RUN}",scenario="load",operation="{GET}",kind="body"'
    series = {
        requests(GET, failed=True, status=404): "1 2 stale",
        requests(GET, failed=True, status=409): "_ 1 stale",
        requests(GET, failed=True, status=500): "4 stale",
        requests(GET, failed=True, status=0): "5 stale",
        f"k6_errors_total{{{invalid}}}": "6 stale",
    }
    expected = {"4xx": 3, "5xx": 4, "No answer": 5, "Invalid body": 6}
    hold(
        series,
        [question("Operations", kind, by("operation", {GET: n})) for kind, n in expected.items()],
    )


def test_errors_by_status_problem_and_code() -> None:
    refused = 'kind="status",status="500",title="Internal Server Error"'
    timeout = 'kind="timeout",status="0",error_code="1050"'
    labels = f'testid="{RUN}",scenario="load",operation="{POST}"'
    state = 'clinic_operation="POST /owners",db_response_status_code="P0001"'
    database = f'{SPAN_CALLS}{{k6_test_run_id="{RUN}",k6_scenario="load",{state}'
    series = {
        f"k6_errors_total{{{labels},{refused}}}": "1 3 stale",
        f"k6_errors_total{{{labels},{timeout}}}": "_ 2 stale",
        f'{database},span_kind="{Side.DATABASE}"}}': "7x5",
    }
    sqlstate = f'{{operation="{POST}",db_response_status_code="P0001"}}'
    hold(
        series,
        [
            question(
                "Errors",
                "Errors",
                {
                    f'{{operation="{POST}",{refused}}}': 3,
                    f'{{operation="{POST}",{timeout}}}': 2,
                },
            ),
            question("Database errors", "Errors", {sqlstate: 7}),
        ],
    )


def test_thresholds_state_their_condition_and_the_value_reached() -> None:
    slow, failed = "http_req_duration{name:POST /owners}", "http_req_failed{name:GET /owners}"
    every, errors = "http_req_duration{scenario:load}", "errors"
    results = {
        (slow, "p(95)<300"): (0, 856.26),
        (failed, "rate<0.01"): (0, 0.0526),
        (every, "p(95)<800"): (1, 8.44),
        (errors, "count<10"): (1, 4),
        (failed, "rate<0.02"): (1, None),
    }
    series = {}
    for (metric, condition), (passed, reached) in results.items():
        labels = {"metric": metric, "threshold": condition}
        series[mark(THRESHOLD_PASSED, **labels)] = f"{passed} stale"
        series[mark(THRESHOLD_LIMIT, **labels)] = f"{condition.partition('<')[2]} stale"
        if reached is not None:
            series[mark(THRESHOLD_REACHED, **labels)] = f"{reached} stale"

    def row(metric: str, limit: str, **texts: str) -> str:
        labels = {"id": f"{metric} {limit}", "metric": metric, "threshold": limit} | texts
        return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"

    words = {
        row(
            slow, "p(95)<300", subject="POST /owners", condition="p95 < 300 ms", reached="856 ms"
        ): 0,
        threshold(failed, "rate<0.01", "5.26 %"): 0,
        row(
            every, "p(95)<800", subject="all requests", condition="p95 < 800 ms", reached="8.4 ms"
        ): 1,
        row(errors, "count<10", subject="errors", condition="count<10", reached="4"): 1,
        row(failed, "rate<0.02", subject="GET /owners", condition="rate<0.02"): 1,
    }
    shares = {
        f"{slow} p(95)<300": 856.26 / 300,
        f"{failed} rate<0.01": 5.26,
        f"{every} p(95)<800": 8.44 / 800,
        f"{errors} count<10": 0.4,
    }
    hold(
        series,
        [
            question("Failed thresholds", "{{failed}} of {{all}}", {'{failed="2",all="5"}': 2}),
            question("Thresholds", "Result", words),
            question("Thresholds", "Over by", by("id", shares)),
        ],
    )


def test_the_findings_of_the_last_report_are_shown() -> None:
    def finding(position: int, text: str) -> str:
        labels = f'testid="{RUN}",position="{position}",subject="limits",text="{text}"'
        return f"{{{labels}}}"

    series = {
        FINDING + finding(1, "Before."): "5 stale",
        FINDING + finding(1, "It was slow."): "_ 10 stale",
        FINDING + finding(2, "Locks."): "_ 10 stale",
    }
    found = {FINDING + finding(1, "It was slow."): 10, FINDING + finding(2, "Locks."): 10}
    [(expression, *_)] = [question("Findings", "", found)]
    named = {name.removeprefix(FINDING): value for name, value in found.items()}

    hold(series, [(expression, named, AT)])


def test_the_findings_of_a_report_after_the_time_range_are_shown() -> None:
    """The report of an hour later replaces that of the run's end."""

    def finding(text: str) -> str:
        return f'{{testid="{RUN}",position="1",subject="limits",text="{text}"}}'

    series = {
        FINDING + finding("Before."): "5 stale",
        FINDING + finding("After."): "_x240 3600 stale",
    }
    hold(series, [question("Findings", "", {finding("After."): 3600})])


def test_phases_of_requests() -> None:
    """Requests share connections: of 100, four had to connect."""
    labels = f'testid="{RUN}",name="{GET}",scenario="load"'
    series = {
        f"k6_http_req_waiting_seconds{{{labels}}}": f"{histogram(100, 75, 0)} stale",
        f"k6_http_req_connecting_seconds{{{labels}}}": "{{schema:0 count:100 sum:0.02 z_bucket:96 "
        "z_bucket_w:0.0000001 buckets:[4] offset:-7}} stale",
    }
    hold(
        series,
        [
            question(
                "Phases of a request", "Mean", by("phase", {"waiting": 0.75, "connecting": 0.0002})
            ),
            question(
                "Phases of a request",
                "p95",
                by("phase", {"waiting": quantile(0.95, 0), "connecting": 0}),
            ),
        ],
    )


def test_durations_over_time_are_histograms() -> None:
    durations = f"{histogram(40, 32, 0)} {histogram(100, 80, 0)} stale"
    series = {VUS: "5x1 stale", client_seconds(GET): durations}
    expression = queries()["Load test", "Durations", ""].filled(**CHOSEN)

    hold(series, [(f"histogram_count({expression})", total(60), "5s")])


def test_cpu_and_memory_of_programs() -> None:
    """Seconds of CPU time in 5 s: cores. What k6 used until its first push is from the start."""
    spans = {span_metric(SPAN_CALLS, GET): "10x10"}
    series = {
        VUS: "_ 5x10",
        'process_cpu_time_seconds_total{job="clinic",type="user"}': "0+2x10",
        f"postgresql_cpu_time_seconds_total{{{SAMPLER}}}": "0+1x10",
        f'k6_process_cpu_time_seconds_total{{testid="{RUN}"}}': "_ 3+3x10",
        f'machine_cpu_time_seconds_total{{testid="{RUN}"}}': "_ 8+8x10",
        'process_memory_usage_bytes{job="clinic"}': "10 10 20 15 15 15",
        f"postgresql_memory_bytes{{{SAMPLER}}}": "30x10",
        f'k6_process_memory_usage_bytes{{testid="{RUN}"}}': "40x10",
        f'machine_memory_usage_bytes{{testid="{RUN}"}}': "500x10",
    }
    cpu = {"API": 2 / 5, "PostgreSQL": 1 / 5, "k6": 3 / 5, "machine of k6": 8 / 5}
    memory = {"API": 20, "PostgreSQL": 30, "k6": 40, "machine of k6": 500}
    during = {"at": "5s"}
    used = [
        *(question("CPU", program, total(cores), **during) for program, cores in cpu.items()),
        *(question("Memory", program, total(size), **during) for program, size in memory.items()),
    ]
    hold(series | spans, used)
    # Without a span of the run, it was not this API that served it.
    hold(
        series, [question("CPU", "API", {}, **during), question("CPU", "k6", total(0.6), **during)]
    )


def test_statements_of_postgresql() -> None:
    """Of ten executions in 2 s, 0.5 s went in waits for locks and 1 s in commits."""
    statement = f'{SAMPLER},statement="INSERT pet",statement_id="7"'
    waits = {"lock": 0.5, "commit": 1.0}
    series = {
        span_metric(SPAN_CALLS, POST): "10x10",
        f"postgresql_statement_calls_total{{{statement}}}": "5 5 15 15 15",
        f"postgresql_statement_seconds_total{{{statement}}}": "1 1 3 3 3",
        **{
            f'postgresql_backend_seconds_total{{{statement},wait="{wait}"}}': f"1 1 {1 + seconds}x3"
            for wait, seconds in waits.items()
        },
    }
    expected = {"Calls": 10, "Mean": 0.2, "Lock wait": 0.05, "Commit": 0.1, "Time": 2 + 1}
    hold(
        series,
        [
            question(
                "Statements of PostgreSQL", column, by("statement", {"INSERT pet": value}), **LOAD
            )
            for column, value in expected.items()
        ],
    )


def test_write_ahead_log_and_locks() -> None:
    """Four flushes took 0.2 s; backends waited 3 s for a transaction, and never for a page."""
    series = {
        span_metric(SPAN_CALLS, POST): "10x10",
        f"postgresql_wal_bytes_total{{{SAMPLER}}}": "1000 1000 5000 5000 5000",
        f"postgresql_wal_fsyncs_total{{{SAMPLER}}}": "1 1 5 5 5",
        f"postgresql_wal_fsync_seconds_total{{{SAMPLER}}}": "1 1 1.2 1.2 1.2",
        f'postgresql_lock_seconds_total{{{SAMPLER},lock="transactionid"}}': "1 1 4 4 4",
        f'postgresql_lock_seconds_total{{{SAMPLER},lock="page"}}': "1 1 1 1 1",
    }
    hold(
        series,
        [
            question("Write-ahead log", "", total(4000), **LOAD),
            question("Flushes", "", total(4), **LOAD),
            question("Mean flush", "", total(0.05), **LOAD),
            question("Waits for locks", "Waited", by("lock", {"transactionid": 3}), **LOAD),
        ],
    )


def test_iterations_data_and_checks() -> None:
    labels = f'testid="{RUN}",scenario="load"'
    check = f'k6_run_checks{{{labels},check="GET /owners returns 200",result='
    series = {
        f"k6_iterations_total{{{labels}}}": "3 7 stale",
        f"k6_iteration_duration_seconds{{{labels}}}": f"{histogram(7, 10.5, 1)} stale",
        f"k6_data_sent_total{{{labels}}}": "100 250 stale",
        f"k6_data_received_total{{{labels}}}": "1000 4000 stale",
        f'{check}"passed"}}': "6 stale",
        f'{check}"failed"}}': "1 stale",
    }
    hold(
        series,
        [
            question("Iterations", "", total(7)),
            question("Iteration duration", "mean", total(1.5)),
            question("Iteration duration", "p95", total(quantile(0.95, 1))),
            question("Data", "sent", total(250)),
            question("Data", "received", total(4000)),
            question("Checks", "Passed", by("check", {"GET /owners returns 200": 6})),
            question("Checks", "Failed", by("check", {"GET /owners returns 200": 1})),
        ],
    )
