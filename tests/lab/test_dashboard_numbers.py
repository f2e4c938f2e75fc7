"""Known series in, known numbers out: the dashboards about runs, by the queries in their JSON."""

import json
from functools import partial

import pytest

from lab.dashboards import style
from lab.promql.load_run import MISMATCH_CODES, OVER, UNKNOWN_RUN, VERDICT_CODES
from lab.promql.selectors import ENDED, PASSED, PLANNED, SPAN_CALLS, STARTED, THRESHOLD_PASSED, Side
from lab.runs.record import Verdict, VerdictReason
from lab.runs.verdict import Marks, judge
from tests.support.panels import ANNOTATIONS, NEEDS, TRENDS, VARIABLES, Address, by_address, queries
from tests.support.promtool import (
    AT,
    JAEGER,
    OTHER,
    RUN,
    TEMPO,
    Asked,
    Samples,
    Series,
    assert_finite,
    by,
    client_seconds,
    errors,
    histogram,
    hold,
    mark,
    quantile,
    requests,
    span_metric,
    total,
)

pytestmark = pytest.mark.stack

DASHBOARDS = ("Home", "Load test", "Runs")
NOT_BY_PROMTOOL: dict[Address, str] = {
    ("Load test", VARIABLES, "scenario"): "a list of label values: asked of a real run",
    **{
        ("Load test", VARIABLES, name): "its known answers are in test_parts_over_time.py"
        for name in ("step", "shift", "before", "exports_before")
    },
    ("Runs", VARIABLES, "profile"): "a list of label values: asked of a real run",
    ("Runs", VARIABLES, "journey"): "a list of label values: asked of a real run",
    ("Load test", "Slowest traces", ""): "TraceQL: asked of a real Tempo",
    ("Load test", "Latest failed traces", ""): "TraceQL: asked of a real Tempo",
}
MEANS = tuple(f"{name}, mean" for name in ("Pool wait", "Execution", "Lock wait", "Commit"))
TIME_PARTS = ("Where the time goes", "Where the time goes by operation")
NOT_BY_PROMTOOL |= {
    address: "its known answers are in test_bottleneck.py and test_parts_over_time.py"
    for address in queries()
    if address[0] == "Load test"
    and (
        address[1] in {"Bottleneck", *TIME_PARTS}
        or address[2] in {"Execution", "Lock wait", "Commit", *MEANS}
    )
}
ELSEWHERE = {
    **{(dashboard, NEEDS): "test_needs.py" for dashboard in DASHBOARDS},
    ("Load test", ANNOTATIONS): "test_dashboard_numbers_list.py",
    ("Load test", "Generators"): "test_generators.py",
    **{("Runs", f"{name} of each run"): "test_dashboard_numbers_list.py" for name in TRENDS},
    **{
        ("Load test", panel): "test_dashboard_numbers_resources.py"
        for panel in (
            *("Durations", "CPU", "Memory", "Statements of PostgreSQL"),
            *("Iterations", "Iteration duration", "Data", "Checks"),
            *("Write-ahead log", "Flushes", "Mean flush", "Waits for locks"),
        )
    },
}
NOT_BY_PROMTOOL |= {
    address: f"its known answers are in {ELSEWHERE[address[:2]]}"
    for address in queries()
    if address[:2] in ELSEWHERE
}
# The run starts at a multiple of its intervals' length.
INTERVALS = {"step": "5", "shift": "0", "before": "5000", "exports_before": "0"}
# The values of the dashboards' variables.
CHOSEN = {
    "testid": RUN,
    "against": OTHER,
    "scenario": ".+",
    "slow": "0",
    "load_length": "27",
    "load_start": "100",
    "load_end": "127",
    "__range": "60s",
    "__from": "90000",
    "__to": "150000",
    "profile": ".*",
    "journey": ".*",
    "tag": "",
    **INTERVALS,
}


def question(address: Address, expected: Samples, at: str = AT, **variables: str) -> Asked:
    return queries()[address].filled(**(CHOSEN | variables)), expected, at


VUS = f'k6_vus{{testid="{RUN}"}}'
OTHER_VUS = f'k6_vus{{testid="{OTHER}"}}'
GET, POST = "GET /owners", "POST /owners"
# A run of twenty seconds, with two scenarios and two operations, and another that overlaps it.
# All that one operation and side took lies in one bucket, each in another.
CLIENT, SERVER, DATABASE = 0, -1, -2
POSTS = 3  # a POST takes eight times as long
PUSHES: dict[str, str] = {
    mark(STARTED): "100 stale",
    mark(ENDED): "_x3 120 stale",
    mark(PLANNED): "30 stale",
    mark(PASSED): "_x4 0",
    mark(THRESHOLD_PASSED, metric="http_req_failed{name:POST /owners}", threshold="rate<0.01"): "0",
    mark(THRESHOLD_PASSED, metric="http_req_failed{name:GET /owners}", threshold="rate<0.01"): "1",
    VUS: "2 4 4 3 stale",
    f'k6_dropped_iterations_total{{testid="{RUN}",scenario="load"}}': "_ 2 2 2 stale",
    requests(GET): "10 20 30 40 stale",
    requests(GET, scenario="browse"): "5 10 15 20 stale",
    requests(POST, status=201): "4 8 12 16 stale",
    requests(POST, status=503, failed=True): "_ 2 2 4 stale",
    requests(POST, status=0, failed=True): "_ _ _ 1 stale",
    f'k6_http_reqs_total{{testid="{RUN}",name="GET /readyz",status="200"}}': "1 stale",
    errors("status", POST): "_ 2 2 4 stale",
    errors("timeout", POST): "_ _ _ 1 stale",
    client_seconds(GET): f"{histogram(40, 32, CLIENT)} stale",
    client_seconds(GET, scenario="browse"): f"{histogram(20, 16, CLIENT)} stale",
    client_seconds(POST): f"{histogram(21, 84, CLIENT + POSTS)} stale",
    span_metric(TEMPO, GET): f"{histogram(40, 16, SERVER)}x5",
    span_metric(TEMPO, GET, k6_scenario="browse"): f"{histogram(20, 8, SERVER)}x5",
    span_metric(TEMPO, POST): f"{histogram(20, 42, SERVER + POSTS)}x5",
    span_metric(TEMPO, GET, span_kind=Side.DATABASE): f"{histogram(60, 12, DATABASE)}x5",
    span_metric(TEMPO, POST, span_kind=Side.DATABASE): f"{histogram(20, 21, DATABASE + POSTS)}x5",
    span_metric(SPAN_CALLS, GET): "40x5",
    span_metric(SPAN_CALLS, GET, k6_scenario="browse"): "20x5",
    span_metric(SPAN_CALLS, POST, http_response_status_code="201"): "16x5",
    span_metric(SPAN_CALLS, POST, http_response_status_code="503"): "3x5",
    span_metric(SPAN_CALLS, GET, span_kind=Side.DATABASE, span_name="SELECT owner"): "60x5",
    span_metric(
        SPAN_CALLS,
        POST,
        span_kind=Side.DATABASE,
        span_name="INSERT owner",
        status_code="STATUS_CODE_UNSET",
    ): "14x5",
    span_metric(
        SPAN_CALLS,
        POST,
        span_kind=Side.DATABASE,
        span_name="INSERT owner",
        status_code="STATUS_CODE_ERROR",
    ): "4x5",
    # The other run: one operation, another kind of span histogram, half the load twice as slow.
    mark(STARTED, OTHER, "stress"): "_ 105 stale",
    mark(ENDED, OTHER, "stress"): "_x4 125 stale",
    mark(PLANNED, OTHER, "stress"): "_ 20 stale",
    mark(PASSED, OTHER, "stress"): "_x5 1",
    OTHER_VUS: "_ 90 90 90 90 stale",
    requests(GET, OTHER): "_ 15 25 30 stale",
    client_seconds(GET, OTHER): f"_ {histogram(30, 24, CLIENT + 1)} stale",
    span_metric(JAEGER, GET, OTHER): f"_ {histogram(30, 12, SERVER)}x5",
    span_metric(JAEGER, GET, OTHER, span_kind=Side.DATABASE): f"_ {histogram(30, 12, DATABASE)}x5",
    span_metric(SPAN_CALLS, GET, OTHER): "_ 30x5",
    'db_client_connection_count{job="clinic",db_client_connection_state="used"}': "1 7 3 0",
    'db_client_connection_count{job="clinic",db_client_connection_state="idle"}': "9 3 7 10",
    'db_client_connection_max{job="clinic"}': "10x5",
    'clinic_event_loop_lag_seconds{job="clinic"}': "{{schema:0 count:0 sum:0}} "
    f"{histogram(100, 6, -4)}",
}
WORLD = {name: f"_x21 {values}" for name, values in PUSHES.items()}


def operations(get: float, post: float) -> Samples:
    return by("operation", {GET: get, POST: post})


def runs(run: float | None, other: float | None) -> Samples:
    given = {RUN: run, OTHER: other}
    return by("testid", {name: value for name, value in given.items() if value is not None})


def addressed(start: float, other: float) -> Samples:
    """Label a time of both runs by the time range of their dashboards as well."""
    run = 'profile="load",journey="book",from="90000",to="150000",refresh="off"'
    another = 'profile="stress",journey="book",from="95000",to="155000",refresh="off"'
    return {f'{{testid="{RUN}",{run}}}': start, f'{{testid="{OTHER}",{another}}}': other}


# The columns of every list of runs.
RUN_LIST: dict[str, Samples] = {
    "Started": addressed(100_000, 105_000),
    # Of 81 requests the 76.95th: 16.95 of the 21 POSTs are faster.
    "p95": runs(quantile(16.95 / 21, CLIENT + POSTS), quantile(0.95, CLIENT + 1)),
    "Failed": runs(5 / 81, 0),
    "Verdict": runs(0, 1),
}
RUN_INFO: dict[str, Samples] = {
    "Started": addressed(100_000, 105_000),
    "Duration": runs(20, 20),
    "Requests": runs(81, 30),
}


def of_this_run(columns: dict[str, Samples]) -> dict[str, Samples]:
    return {
        column: {labels: value for labels, value in samples.items() if RUN in labels}
        for column, samples in columns.items()
    }


def only_get(get: float) -> Samples:
    return by("operation", {GET: get})


def choices(*runs: tuple[str, str, str, float]) -> Samples:
    """Expect what the variable of a run offers, by id, profile, time in the id, and start."""
    return {
        f'{{testid="{run_id}",profile="{profile}",journey="book",'
        f'run="2026-11-23 {time} · {profile} · book"}}': started
        for run_id, profile, time, started in runs
    }


def both_quantiles(q: float, side: int) -> Samples:
    return operations(quantile(q, side), quantile(q, side + POSTS))


def marked_address(value: float) -> Samples:
    labels = f'testid="{RUN}",from="90000",to="150000",refresh="off"'
    return {f"{{{labels}}}": value}


def threshold(metric: str, condition: str, reached: str = "") -> str:
    """Name the labels of a threshold in its table: of the SLO's limits of failed requests."""
    labels = {
        "id": f"{metric} {condition}",
        "metric": metric,
        "threshold": condition,
        "subject": metric.split(":")[1].removesuffix("}"),
        "condition": "failed < 1 %",
    } | ({"reached": reached} if reached else {})
    return "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


TOO_SLOW = "p95_style=" + json.dumps(style.css(style.BAD))
INFO = "Size, build and note"
ALL_P95 = total(quantile(16.95 / 21, CLIENT + POSTS))
TOTALS: dict[Address, Samples] = {
    **by_address("Home", {"Runs": RUN_LIST, "Alerts": {"Since": {}}}),
    **by_address(
        "Load test",
        {
            "Run": of_this_run({"Started": RUN_INFO["Started"]})
            | {"Ended early by": runs(10, None)},
            INFO: {**RUN_INFO, **of_this_run({"Started": RUN_INFO["Started"]})},
            # 80 were answered, 79 have a trace; 16 rows were promised by a 201, 14 written.
            "Completeness": {
                "sent": total(81),
                "traced": total(79),
                "promised": total(16),
                "written": total(14),
            },
            "Verdict": {"": total(VERDICT_CODES["failed", ""])},
            "Failed thresholds": {"{{failed}} of {{all}}": {'{failed="1",all="2"}': 1}},
            "Requests": {"": total(81)},
            "Rate": {"": total(81 / 20)},
            "Failed": {"": total(5 / 81)},
            "Client p95": {"": ALL_P95},
            "Missing": {"traces": total(1), "rows": total(2)},
            "Time range": {"": total(1)},
            "Server side": {"": total(OVER)},
            "Findings": {"": {}},
            "4xx and 5xx": {"": total(3)},
            "Operations": {
                "p95": {
                    f'{{operation="{GET}",{TOO_SLOW}}}': quantile(0.95, CLIENT),
                    f'{{operation="{POST}",{TOO_SLOW}}}': quantile(0.95, CLIENT + POSTS),
                },
                "Limit": operations(0.2, 0.3),
                "Over limit": operations(1, 1),
                "Requests": operations(60, 21),
                "req/s": operations(60 / 20, 21 / 20),
                "Failed": operations(0, 5 / 21),
                "4xx": {},
                "5xx": by("operation", {POST: 4}),
                "No answer": by("operation", {POST: 1}),
                "Invalid body": {},
                # Of the POSTs 24 times as many fail as may.
                "of limit": operations(
                    quantile(0.95, CLIENT) / 0.2,
                    max(quantile(0.95, CLIENT + POSTS) / 0.3, 5 / 21 / 0.01),
                ),
                "slow": operations(
                    1000 * quantile(0.75, SERVER), 1000 * quantile(0.75, SERVER + POSTS)
                ),
            },
            "Server and database by operation": {
                "Client p95": both_quantiles(0.95, CLIENT),
                "Server p95": both_quantiles(0.95, SERVER),
                "Database span p95": both_quantiles(0.95, DATABASE),
            },
            "Durations by operation": {
                "Min": both_quantiles(0, CLIENT),
                "Mean": operations((32 + 16) / 60, 84 / 21),
                "p50": both_quantiles(0.5, CLIENT),
                "p90": both_quantiles(0.9, CLIENT),
                "p95": both_quantiles(0.95, CLIENT),
                "p99": both_quantiles(0.99, CLIENT),
                "Max": both_quantiles(1, CLIENT),
            },
            "Thresholds": {
                "Result": {
                    threshold("http_req_failed{name:POST /owners}", "rate<0.01"): 0,
                    threshold("http_req_failed{name:GET /owners}", "rate<0.01"): 1,
                },
                "Over by": {},
            },
            "Phases of a request": {"Mean": {}, "p95": {}},
            "Database errors": {"Errors": by("operation", {"No statement was refused": 0})},
            "Errors": {
                "Errors": {
                    '{operation="POST /owners",kind="status"}': 4,
                    '{operation="POST /owners",kind="timeout"}': 1,
                }
            },
            # 20 of the 79 with a trace are slower: of the 80 measured the 59.75th is one of the
            # 60 GETs.
            VARIABLES: {
                "slow": total(1000 * quantile(80 * (1 - 20 / 79) / 60, SERVER)),
                "load_start": total(100),
                "load_end": total(127),
                "load_length": total(27),
                "from": marked_address(0),
                "to": marked_address(0),
            },
        },
    ),
    **by_address(
        "Runs",
        {
            "Runs": RUN_LIST,
            INFO: RUN_INFO,
            "The two runs": RUN_LIST,
            "Comparable": {"": total(MISMATCH_CODES["aborted"])},
            "Client": {
                "req/s, this run": operations(60 / 20, 21 / 20),
                "req/s, other run": only_get(30 / 20),
                "p95, this run": both_quantiles(0.95, CLIENT),
                "p95, other run": only_get(quantile(0.95, CLIENT + 1)),
                "p95, ratio": {},
                "Failed, this run": operations(0, 5 / 21),
                "Failed, other run": only_get(0),
            },
            "Server and database": {
                "Server p95, this run": both_quantiles(0.95, SERVER),
                "Server p95, other run": only_get(quantile(0.95, SERVER)),
                "Server p95, ratio": {},
                "Database p95, this run": both_quantiles(0.95, DATABASE),
                "Database p95, other run": only_get(quantile(0.95, DATABASE)),
                "Database p95, ratio": {},
            },
            VARIABLES: {"against": choices((OTHER, "stress", "05:32:50", 105))},
        },
    ),
}
for dashboard in DASHBOARDS:
    TOTALS |= by_address(
        dashboard,
        {
            VARIABLES: {
                "testid": choices(
                    (OTHER, "stress", "05:32:50", 105), (RUN, "load", "05:32:49", 100)
                )
            },
        },
    )

# k6's first push is at 105 s, its last at 120 s; at 120 s five seconds of requests were added, and
# nothing to the histograms. The API reports between 105 and 110 s, and so on.
OVER_TIME: dict[Address, dict[str, Samples]] = by_address(
    "Load test",
    {
        "Load": {
            "requests": {"105s": total(19 / 5), "120s": total(22 / 5), "165s": {}},
            "failed": {"105s": {}, "110s": total(2 / 5), "120s": total(3 / 5)},
            "virtual users": {"105s": total(2), "115s": total(4), "165s": {}},
            "dropped iterations": {"105s": {}, "110s": total(2 / 5), "120s": total(0)},
        },
        # Of 80 spans the 76th: 16 of the 20 POSTs are faster.
        "p95 by side": {
            "client": {"105s": ALL_P95, "120s": {}},
            "server": {"105s": total(quantile(16 / 20, SERVER + POSTS)), "120s": {}},
            "database span": {"105s": total(quantile(16 / 20, DATABASE + POSTS)), "120s": {}},
        },
        "Errors by kind": {
            "{{operation}} {{kind}}": {
                "105s": {},
                "110s": {f'{{operation="{POST}",kind="status"}}': 2 / 5},
                "120s": {
                    f'{{operation="{POST}",kind="status"}}': 2 / 5,
                    f'{{operation="{POST}",kind="timeout"}}': 1 / 5,
                },
            }
        },
        **{
            f"{title} p95 by operation": {
                "{{operation}}": {"105s": both_quantiles(0.95, side), "120s": {}}
            }
            for title, side in (
                ("Client", CLIENT),
                ("Server", SERVER),
                ("Database span", DATABASE),
            )
        },
        "Percentiles": {
            name: {"105s": total(quantile(rank, CLIENT + POSTS)), "120s": {}}
            for name, rank in (
                # Of 81 requests the last 21 are POSTs.
                ("p90", (0.9 * 81 - 60) / 21),
                ("p95", (0.95 * 81 - 60) / 21),
                ("p99", (0.99 * 81 - 60) / 21),
            )
        }
        | {"p50": {"105s": total(quantile(0.5 * 81 / 60, CLIENT)), "120s": {}}},
        "Latency against throughput": {
            "requests per second": {"120s": total(22 / 5)},
            "p95": {"105s": ALL_P95, "120s": {}},
        },
        "Connections and event loop": {
            "in use": {"105s": total(7), "110s": total(3)},
            "pool size": {"105s": total(10)},
            "event-loop delay p95": {"105s": total(quantile(0.95, -4)), "110s": {}},
        },
    },
)


def test_every_query_has_a_known_answer() -> None:
    asked = {address for address in queries() if address[0] in DASHBOARDS}

    assert asked == {*TOTALS, *OVER_TIME, *NOT_BY_PROMTOOL}


def test_totals_of_a_run() -> None:
    hold(WORLD, [question(address, expected) for address, expected in TOTALS.items()])


def test_a_run_over_time() -> None:
    hold(
        WORLD,
        [
            question(address, expected, at)
            for address, times in OVER_TIME.items()
            for at, expected in times.items()
        ],
    )


def test_one_scenario_alone() -> None:
    alone = {"scenario": "browse"}
    hold(
        WORLD,
        [
            question(("Load test", "Requests", ""), total(20), **alone),
            question(("Load test", "Completeness", "traced"), total(20), **alone),
            question(("Load test", "Missing", "traces"), total(0), **alone),
            question(("Load test", "Operations", "Requests"), only_get(20), **alone),
            question(
                ("Load test", "Server and database by operation", "Server p95"),
                only_get(quantile(0.95, SERVER)),
                **alone,
            ),
            question(("Load test", "Load", "requests"), total(1), "120s", **alone),
        ],
    )


def test_a_percentile_over_several_scenarios() -> None:
    """Ninety are faster than a second, ten slower: the 95th is one of the ten."""
    series = {
        client_seconds(GET, scenario="browse"): histogram(90, 67.5, 0),
        client_seconds(GET, scenario="book"): histogram(10, 15, 1),
    }
    both, browse = total(quantile(0.5, 1)), total(quantile(0.95, 0))
    hold(
        series,
        [
            question(("Load test", "Client p95", ""), both),
            question(("Load test", "Client p95", ""), both, scenario="browse|book"),
            question(("Load test", "Client p95", ""), browse, scenario="browse"),
            question(("Load test", "Durations by operation", "p95"), only_get(quantile(0.5, 1))),
        ],
    )


def test_the_failed_share_counts_requests_not_series() -> None:
    """15 of 1,020 failed, all in one of 203 series: 1.47 %; the mean of the series is 0.49 %."""
    series = {
        **{requests(f"GET /{i}"): f"{5 if i < 197 else 4} stale" for i in range(202)},
        requests(GET, failed=True, status=503): "15 stale",
    }
    share = 15 / 1020

    hold(series, [question(("Load test", "Failed", ""), total(share))])
    hold(series, [question(("Runs", "Runs", "Failed"), by("testid", {RUN: share}))])


def test_the_first_push_is_counted() -> None:
    """It brings 101 requests of 417; `increase` would give 316."""
    series = {VUS: "5x7 stale", requests(GET): "101 151 201 251 301 351 401 417 stale"}

    hold(
        series,
        [
            question(("Load test", "Requests", ""), total(417)),
            question(("Load test", "Completeness", "sent"), total(417)),
            question(("Load test", "Operations", "Requests"), only_get(417)),
            question(("Runs", INFO, "Requests"), by("testid", {RUN: 417})),
            question(("Load test", "Load", "requests"), total(101 / 5), "0s"),
        ],
    )


@pytest.mark.parametrize(
    ("passed", "ended", "at", "verdict", "reason"),
    [
        (1, 160, 1200, "passed", ""),
        (1, 159.5, 1200, "passed", ""),
        (0, 160, 1200, "failed", ""),
        (0, 121.6, 1200, "failed", ""),
        (1, 121.6, 1200, "aborted", "interrupted"),
        (None, 121.6, 1200, "aborted", "interrupted"),
        (None, None, 34, "running", ""),
        (None, None, 36, "aborted", "killed"),
        (None, 160, 20, "none", "not_reported"),
    ],
)
def test_dashboards_and_records_agree_on_the_verdict(
    passed: int | None, ended: float | None, at: int, verdict: Verdict, reason: VerdictReason
) -> None:
    """The run starts at 100 s and is planned for 60 s; its last push arrives at 15 s."""
    marks = {STARTED: 100, PLANNED: 60, ENDED: ended, PASSED: passed}
    series = {mark(name): f"{value}" for name, value in marks.items() if value is not None}
    series[f'k6_vus{{testid="{RUN}"}}'] = "1x3 _x300"
    code = VERDICT_CODES[verdict, reason]
    missing = 160 - ended if ended and ended < 159 else None

    assert (verdict, reason) == judge(
        Marks(passed=passed, started=100, ended=ended, missing=missing, silent_for=at - 15)
    )
    hold(
        series,
        [
            question(("Load test", "Verdict", ""), total(code), f"{at}s"),
            question(("Runs", "Runs", "Verdict"), by("testid", {RUN: code}), f"{at}s"),
        ],
    )


def test_a_run_without_marks_has_no_verdict() -> None:
    """As of a script that does not state when it starts, and what it plans."""
    hold(
        {requests(GET): "40 stale"},
        [question(("Load test", "Verdict", ""), total(VERDICT_CODES["none", "other_generator"]))],
    )


def run_of_a_minute(
    run: str, profile: str = "load", journey: str = "book", planned: int = 60, ended: int = 160
) -> Series:
    marks = {STARTED: 100, PLANNED: planned, ENDED: ended, PASSED: 1}
    return {mark(name, run, profile, journey=journey): f"{marks[name]}" for name in marks}


@pytest.mark.parametrize(
    ("mismatch", "other"),
    [
        ("none", run_of_a_minute(OTHER)),
        ("profile", run_of_a_minute(OTHER, profile="stress")),
        ("journey", run_of_a_minute(OTHER, journey="mixed")),
        ("planned length", run_of_a_minute(OTHER, planned=50)),
        ("aborted", run_of_a_minute(OTHER, ended=125)),
        ("running", {mark(STARTED, OTHER): "100", mark(PLANNED, OTHER): "60", OTHER_VUS: "1x6"}),
        ("fewer than two runs", {}),
    ],
)
def test_whether_two_runs_can_be_compared(mismatch: str, other: Series) -> None:
    expected = total(MISMATCH_CODES[mismatch])
    address = ("Runs", "Comparable", "")
    hold({**run_of_a_minute(RUN), **other}, [question(address, expected, "30s")])


@pytest.mark.parametrize(("planned", "ratio"), [(60, {GET: 1 / 2}), (50, {})])
def test_only_runs_that_can_be_compared_have_ratios(planned: int, ratio: dict[str, float]) -> None:
    series = {
        **run_of_a_minute(RUN),
        **run_of_a_minute(OTHER, planned=planned),
        **{
            metric(GET, run, **kind): histogram(40, 32, bucket)
            for bucket, run in enumerate((RUN, OTHER))
            for metric, kind in (
                (client_seconds, {}),
                (partial(span_metric, TEMPO), {}),
                (partial(span_metric, TEMPO), {"span_kind": Side.DATABASE}),
            )
        },
    }
    hold(
        series,
        [
            question(("Runs", panel, f"{p95}, ratio"), by("operation", ratio))
            for panel, p95 in (
                ("Client", "p95"),
                ("Server and database", "Server p95"),
                ("Server and database", "Database p95"),
            )
        ],
    )


def test_no_runs_cannot_be_compared() -> None:
    few = total(MISMATCH_CODES["fewer than two runs"])

    hold({}, [question(("Runs", "Comparable", ""), few)])


def test_a_running_run_shows_what_it_has() -> None:
    """After 20 s of a planned minute it has no end, and its rate is over the 20 s."""
    series = {
        mark(STARTED): "100 _x300",
        mark(PLANNED): "60 _x300",
        f'k6_vus{{testid="{RUN}"}}': "1x3 _x300",
        requests(GET): "10 20 30 40 _x300",
    }
    until_now = f'testid="{RUN}",from="90000",to="now",refresh="5s"'
    hold(
        series,
        [
            question(("Load test", "Requests", ""), total(40), "20s"),
            question(("Load test", "Rate", ""), total(40 / 20), "20s"),
            question(("Load test", "Missing", "traces"), {}, "20s"),
            question(("Load test", "Missing", "traces"), total(40), "1m"),
            question(("Load test", INFO, "Duration"), {}, "20s"),
            question(("Load test", VARIABLES, "to"), {f"{{{until_now}}}": 0}, "20s"),
            question(("Load test", "Time range", ""), total(1), "20s"),
            # 20 requests came in the last 15 s, and 40 spans are missing.
            question(("Load test", "Server side", ""), total(30), "20s"),
        ],
    )


def test_a_run_without_failures_or_losses() -> None:
    series = {requests(GET): "40 stale", span_metric(SPAN_CALLS, GET): "40x5"}
    hold(
        series,
        [
            question(("Load test", "Failed", ""), total(0)),
            question(("Load test", "Missing", "traces"), total(0)),
            question(("Load test", "Missing", "rows"), total(0)),
            question(("Load test", "Operations", "Failed"), only_get(0)),
        ],
    )


def test_an_unknown_run() -> None:
    others = {name: values for name, values in WORLD.items() if RUN not in name}
    hold(
        others,
        [
            question(("Load test", "Verdict", ""), total(VERDICT_CODES[UNKNOWN_RUN])),
            question(("Load test", "Run", "Started"), {}),
            question(("Load test", "Requests", ""), {}),
            question(("Load test", VARIABLES, "slow"), total(0)),
        ],
    )


def test_without_traces_all_are_lost() -> None:
    hold({requests(GET): "40 stale"}, [question(("Load test", "Missing", "traces"), total(40))])


def test_few_requests_are_all_among_the_slowest() -> None:
    """Of ten, none is left out: the limit is the start of the lowest bucket."""
    series = {
        span_metric(TEMPO, GET): f"{histogram(10, 4, SERVER)}x5",
        span_metric(SPAN_CALLS, GET): "10x5",
    }
    hold(series, [question(("Load test", VARIABLES, "slow"), total(1000 * quantile(0, SERVER)))])
    hold({}, [question(("Load test", VARIABLES, "slow"), total(0))])


@pytest.mark.parametrize(
    ("series", "at"),
    [
        *((WORLD, at) for at in ("0s", "15s", "60s", "20m")),
        ({}, AT),
        ({requests(GET): "0x300", span_metric(SPAN_CALLS, GET): "0x300"}, AT),
    ],
)
def test_nothing_is_divided_by_zero(series: Series, at: str) -> None:
    expressions = (
        query.filled(**CHOSEN)
        for query in queries().values()
        if query.is_promql and query.dashboard in DASHBOARDS
    )
    assert_finite(series, expressions, at)
