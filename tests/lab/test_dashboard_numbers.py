"""Known series in, known numbers out: the dashboards about runs, by the queries in their JSON."""

import pytest

from lab.promql.load_run import MISMATCH_CODES, VERDICT_CODES
from lab.promql.selectors import ENDED, PASSED, PLANNED, SPAN_CALLS, STARTED, THRESHOLD_PASSED, Side
from lab.runs.record import Verdict
from lab.runs.verdict import verdict as judge
from tests.support.panels import ANNOTATIONS, VARIABLES, Address, by_address, queries
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
    ("Load test", "Slowest traces", ""): "TraceQL: asked of a real Tempo",
    ("Load test", "Failed traces", ""): "TraceQL: asked of a real Tempo",
}
WINDOW = "5s"
# The values of the dashboards' variables.
CHOSEN = {
    "testid": RUN,
    "against": OTHER,
    "scenario": ".+",
    "slow": "0",
    "__rate_interval": WINDOW,
}


def question(address: Address, expected: Samples, at: str = AT, **variables: str) -> Asked:
    return queries()[address].filled(**(CHOSEN | variables)), expected, at


OTHER_VUS = f'k6_vus{{testid="{OTHER}"}}'
GET, POST = "GET /owners", "POST /owners"
# A run of twenty seconds, with two scenarios and two operations, and another that overlaps it.
# All that one operation and side took lies in one bucket, each in another.
CLIENT, SERVER, DATABASE = 0, -1, -2
POSTS = 3  # a POST takes eight times as long
WORLD: dict[str, str] = {
    mark(STARTED): "100 stale",
    mark(ENDED): "_x3 120 stale",
    mark(PLANNED): "30 stale",
    mark(PASSED): "_x4 0",
    mark(THRESHOLD_PASSED, metric="http_req_failed{name:POST /owners}", threshold="rate<0.01"): "0",
    mark(THRESHOLD_PASSED, metric="http_req_failed{name:GET /owners}", threshold="rate<0.01"): "1",
    f'k6_vus{{testid="{RUN}"}}': "2 4 4 3 stale",
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


def operations(get: float, post: float) -> Samples:
    return by("operation", {GET: get, POST: post})


def runs(run: float | None, other: float | None) -> Samples:
    given = {RUN: run, OTHER: other}
    return by("testid", {name: value for name, value in given.items() if value is not None})


def marked(run: float, other: float | None = None, **labels: str) -> Samples:
    """Label a run's value by its marks, and the other's."""

    def labelled(testid: str, profile: str) -> str:
        named = {"testid": testid, "profile": profile, "journey": "book"} | labels
        return "{" + ",".join(f'{key}="{value}"' for key, value in named.items()) + "}"

    return {labelled(RUN, "load"): run} | (
        {} if other is None else {labelled(OTHER, "stress"): other}
    )


# The columns of every list of runs.
RUN_LIST: dict[str, Samples] = {
    "Started": marked(100_000, 105_000),
    "Duration": runs(20, 20),
    "Ended early by": runs(10, None),
    "Requests": runs(81, 30),
    # Of 81 requests the 76.95th: 16.95 of the 21 POSTs are faster.
    "Client p95": runs(quantile(16.95 / 21, CLIENT + POSTS), quantile(0.95, CLIENT + 1)),
    "Failed": runs(5 / 81, 0),
    "Verdict": runs(0, 1),
    "from": runs(90_000, 95_000),
    "to": runs(150_000, 155_000),
}
# The list on the dashboard of one run, which shows its totals below.
THIS_RUN = {
    column: {labels: value for labels, value in samples.items() if RUN in labels}
    for column, samples in RUN_LIST.items()
    if column in {"Started", "Duration", "Ended early by", "from", "to"}
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


ALL_P95 = total(quantile(16.95 / 21, CLIENT + POSTS))
TOTALS: dict[Address, Samples] = {
    **by_address("Home", {"Runs": RUN_LIST}),
    **by_address(
        "Load test",
        {
            "Run": THIS_RUN,
            # 80 were answered, 79 have a trace; 16 rows were promised by a 201, 14 written.
            "Completeness": {
                "sent": total(81),
                "traced": total(79),
                "promised": total(16),
                "written": total(14),
            },
            "Verdict": {"": total(VERDICT_CODES["failed"])},
            "Requests": {"": total(81)},
            "Rate": {"": total(81 / 20)},
            "Failed": {"": total(5 / 81)},
            "Client p95": {"": ALL_P95},
            "Missing": {"traces": total(1), "rows": total(2)},
            "Operations": {
                "Requests": operations(60, 21),
                "req/s": operations(60 / 20, 21 / 20),
                "Client p50": both_quantiles(0.5, CLIENT),
                "Client p95": both_quantiles(0.95, CLIENT),
                "Client p99": both_quantiles(0.99, CLIENT),
                "Server p95": both_quantiles(0.95, SERVER),
                "Database p95": both_quantiles(0.95, DATABASE),
                "In server": operations((24 - 12) / 48, (42 - 21) / 84),
                "In database": operations(12 / 48, 21 / 84),
                "Failed": operations(0, 5 / 21),
            },
            "Thresholds": {
                "Result": {
                    '{metric="http_req_failed{name:POST /owners}",threshold="rate<0.01"}': 0,
                    '{metric="http_req_failed{name:GET /owners}",threshold="rate<0.01"}': 1,
                }
            },
            "Errors": {
                "Errors": {
                    '{operation="POST /owners",kind="status"}': 4,
                    '{operation="POST /owners",kind="timeout"}': 1,
                }
            },
            # 20 of the 79 with a trace are slower: of the 80 measured the 59.75th is one of the
            # 60 GETs.
            VARIABLES: {"slow": total(1000 * quantile(80 * (1 - 20 / 79) / 60, SERVER))},
        },
    ),
    **by_address(
        "Runs",
        {
            "Runs": RUN_LIST,
            "The two runs": RUN_LIST,
            "Comparable": {"": total(MISMATCH_CODES["aborted"])},
            "Client": {
                "req/s, this run": operations(60 / 20, 21 / 20),
                "req/s, other run": only_get(30 / 20),
                "p95, this run": both_quantiles(0.95, CLIENT),
                "p95, other run": only_get(quantile(0.95, CLIENT + 1)),
                "p95, ratio": only_get(1 / 2),
                "Failed, this run": operations(0, 5 / 21),
                "Failed, other run": only_get(0),
            },
            "Server and database": {
                "Server p95, this run": both_quantiles(0.95, SERVER),
                "Server p95, other run": only_get(quantile(0.95, SERVER)),
                "Server p95, ratio": only_get(1),
                "Database p95, this run": both_quantiles(0.95, DATABASE),
                "Database p95, other run": only_get(quantile(0.95, DATABASE)),
                "Database p95, ratio": only_get(1),
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
            ANNOTATIONS: {
                "Run starts": marked(100_000, 105_000),
                "Run ends": marked(120_000, 125_000),
            },
        },
    )

# By the time since the run began: before 0 s there is nothing; at 15 s five seconds of requests
# were added, and nothing to the histograms.
OVER_TIME: dict[Address, dict[str, Samples]] = by_address(
    "Load test",
    {
        "Load": {
            "requests": {"0s": total(19 / 5), "15s": total(22 / 5), "60s": total(0)},
            "failed": {"0s": total(0), "5s": total(2 / 5), "15s": total(3 / 5)},
            "virtual users": {"0s": total(2), "10s": total(4), "60s": {}},
            "dropped iterations": {"0s": {}, "5s": total(2 / 5), "15s": total(0)},
        },
        # Of 80 spans the 76th: 16 of the 20 POSTs are faster.
        "p95 by side": {
            "client": {"0s": ALL_P95, "15s": {}},
            "server": {"0s": total(quantile(16 / 20, SERVER + POSTS)), "15s": {}},
            "database": {"0s": total(quantile(16 / 20, DATABASE + POSTS)), "15s": {}},
        },
        "Where the time goes": {
            "in database": {"0s": total(33 / 81), "15s": {}},
            "in server": {"0s": total(33 / 81), "15s": {}},
            "outside server": {"0s": total(66 / 81), "15s": {}},
        },
        "Errors by kind": {
            "{{kind}}": {
                "0s": {},
                "5s": by("kind", {"status": 2 / 5}),
                "15s": by("kind", {"status": 2 / 5, "timeout": 1 / 5}),
            }
        },
        **{
            f"{title} p95 by operation": {
                "{{operation}}": {"0s": both_quantiles(0.95, side), "15s": {}}
            }
            for title, side in (("Client", CLIENT), ("Server", SERVER), ("Database", DATABASE))
        },
        "Connections and event loop": {
            "in use": {"5s": total(7), "10s": total(3)},
            "pool size": {"0s": total(10)},
        },
    },
)


def test_every_query_has_a_known_answer() -> None:
    asked = {address for address in queries() if address[0] in DASHBOARDS}

    assert asked == {*TOTALS, *OVER_TIME, LAG, *NOT_BY_PROMTOOL}


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


# `rate` needs two samples in its window.
LAG = ("Load test", "Connections and event loop", "event-loop delay p95")


def test_event_loop_delay() -> None:
    late = total(quantile(0.95, -4))
    hold(WORLD, [question(LAG, late, "5s", __rate_interval="20s")])


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
                ("Load test", "Operations", "Server p95"), only_get(quantile(0.95, SERVER)), **alone
            ),
            question(("Load test", "Load", "requests"), total(1), "15s", **alone),
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
            question(("Load test", "Operations", "Client p95"), only_get(quantile(0.5, 1))),
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
    series = {requests(GET): "101 151 201 251 301 351 401 417 stale"}

    hold(
        series,
        [
            question(("Load test", "Requests", ""), total(417)),
            question(("Load test", "Completeness", "sent"), total(417)),
            question(("Load test", "Operations", "Requests"), only_get(417)),
            question(("Runs", "Runs", "Requests"), by("testid", {RUN: 417})),
            question(("Load test", "Load", "requests"), total(101 / 5), "0s"),
        ],
    )


@pytest.mark.parametrize(
    ("passed", "ended", "at", "verdict"),
    [
        (1, 160, 1200, "passed"),
        (1, 159.5, 1200, "passed"),
        (0, 160, 1200, "failed"),
        (0, 121.6, 1200, "failed"),
        (1, 121.6, 1200, "aborted"),
        (None, 121.6, 1200, "aborted"),
        (None, None, 34, "running"),
        (None, None, 36, "aborted"),
        (None, 160, 20, "none"),
    ],
)
def test_dashboards_and_records_agree_on_the_verdict(
    passed: int | None, ended: float | None, at: int, verdict: Verdict
) -> None:
    """The run starts at 100 s and is planned for 60 s; its last push arrives at 15 s."""
    marks = {STARTED: 100, PLANNED: 60, ENDED: ended, PASSED: passed}
    series = {mark(name): f"{value}" for name, value in marks.items() if value is not None}
    series[f'k6_vus{{testid="{RUN}"}}'] = "1x3 _x300"
    code = VERDICT_CODES[verdict]

    assert verdict == judge(
        passed=passed,
        seconds=None if ended is None else ended - 100,
        planned=60,
        silent_for=at - 15,
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
        [question(("Load test", "Verdict", ""), total(VERDICT_CODES["none"]))],
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


def test_a_running_run_shows_what_it_has() -> None:
    """After 20 s of a planned minute it has no end, and its rate is over the 20 s."""
    series = {
        mark(STARTED): "100 _x300",
        mark(PLANNED): "60 _x300",
        f'k6_vus{{testid="{RUN}"}}': "1x3 _x300",
        requests(GET): "10 20 30 40 _x300",
    }
    hold(
        series,
        [
            question(("Load test", "Requests", ""), total(40), "20s"),
            question(("Load test", "Rate", ""), total(40 / 20), "20s"),
            question(("Load test", "Missing", "traces"), {}, "20s"),
            question(("Load test", "Missing", "traces"), total(40), "1m"),
            question(("Load test", "Run", "Duration"), {}, "20s"),
            question(("Load test", "Run", "to"), by("testid", {RUN: 190_000}), "20s"),
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
            question(("Load test", "Verdict", ""), total(VERDICT_CODES["unknown run"])),
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
