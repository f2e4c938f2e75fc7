"""Known series in, known numbers out: the dashboards about runs, by the queries in their JSON."""

from collections.abc import Mapping

import pytest

from lab.promql.selectors import ENDED, PASSED, PLANNED, SPAN_CALLS, STARTED, THRESHOLD_PASSED, Side
from tests.support.panels import ANNOTATIONS, VARIABLES, Address, queries
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
    f'k6_vus{{testid="{OTHER}"}}': "_ 90 90 90 90 stale",
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
    "Began": marked(100_000, 105_000),
    "Lasted": runs(20, 20),
    "Short by": runs(10, None),
    "Requests": runs(81, 30),
    # Of 81 requests the 76.95th: 16.95 of the 21 POSTs are faster.
    "Client p95": runs(quantile(16.95 / 21, CLIENT + POSTS), quantile(0.95, CLIENT + 1)),
    "Failed": runs(5 / 81, 0),
    "Thresholds": runs(0, 1),
    "from": runs(90_000, 95_000),
    "to": runs(150_000, 155_000),
}
# The list on the dashboard of one run, which shows its totals below.
THIS_RUN = {
    column: {labels: value for labels, value in samples.items() if RUN in labels}
    for column, samples in RUN_LIST.items()
    if column in {"Began", "Lasted", "Short by", "from", "to"}
}


def table(dashboard: str, panel: str, columns: Mapping[str, Samples]) -> dict[Address, Samples]:
    return {(dashboard, panel, column): samples for column, samples in columns.items()}


def change(get: float) -> Samples:
    return by("operation", {GET: get})


TWICE = 2.0
TOTALS: dict[Address, Samples] = {
    **table("Home", "Runs", RUN_LIST),
    **table("Load test", "Run", THIS_RUN),
    ("Load test", "Thresholds", ""): total(0),
    ("Load test", "Requests", ""): total(81),
    ("Load test", "Rate", ""): total(81 / 20),
    ("Load test", "Failed", ""): total(5 / 81),
    ("Load test", "Client p95", ""): total(quantile(16.95 / 21, CLIENT + POSTS)),
    # 80 were answered, 79 have a trace; 16 rows were promised, 14 written.
    ("Load test", "Completeness", "sent"): total(81),
    ("Load test", "Completeness", "traced"): total(79),
    ("Load test", "Completeness", "promised"): total(16),
    ("Load test", "Completeness", "written"): total(14),
    ("Load test", "Lost", "traces"): total(1),
    ("Load test", "Lost", "rows"): total(2),
    ("Load test", "Operations", "Requests"): operations(60, 21),
    ("Load test", "Operations", "Rate /s"): operations(60 / 20, 21 / 20),
    ("Load test", "Operations", "Client p50"): operations(
        quantile(0.5, CLIENT), quantile(0.5, CLIENT + POSTS)
    ),
    ("Load test", "Operations", "Client p95"): operations(
        quantile(0.95, CLIENT), quantile(0.95, CLIENT + POSTS)
    ),
    ("Load test", "Operations", "Client p99"): operations(
        quantile(0.99, CLIENT), quantile(0.99, CLIENT + POSTS)
    ),
    ("Load test", "Operations", "Server p95"): operations(
        quantile(0.95, SERVER), quantile(0.95, SERVER + POSTS)
    ),
    ("Load test", "Operations", "Database p95"): operations(
        quantile(0.95, DATABASE), quantile(0.95, DATABASE + POSTS)
    ),
    ("Load test", "Operations", "In server"): operations(24 / 48, 42 / 84),
    ("Load test", "Operations", "In database"): operations(12 / 48, 21 / 84),
    ("Load test", "Operations", "Failed"): operations(0, 5 / 21),
    ("Load test", "Thresholds", "Verdict"): {
        '{metric="http_req_failed{name:POST /owners}",threshold="rate<0.01"}': 0,
        '{metric="http_req_failed{name:GET /owners}",threshold="rate<0.01"}': 1,
    },
    ("Load test", "Errors", "Errors"): {
        '{operation="POST /owners",kind="status"}': 4,
        '{operation="POST /owners",kind="timeout"}': 1,
    },
    # 20 of the 79 with a trace are slower: of the 80 measured the 59.75th is among the 60 GETs.
    ("Load test", VARIABLES, "slow"): total(1000 * quantile(80 * (1 - 20 / 79) / 60, SERVER)),
    **table("Runs", "Runs", RUN_LIST),
    **table("Runs", "The two runs", RUN_LIST),
    ("Runs", "What k6 saw", "Rate /s run"): operations(60 / 20, 21 / 20),
    ("Runs", "What k6 saw", "Rate /s against"): change(30 / 20),
    ("Runs", "What k6 saw", "p95 run"): operations(
        quantile(0.95, CLIENT), quantile(0.95, CLIENT + POSTS)
    ),
    ("Runs", "What k6 saw", "p95 against"): change(quantile(0.95, CLIENT + 1)),
    ("Runs", "What k6 saw", "p95 change"): change(1 / TWICE - 1),
    ("Runs", "What k6 saw", "p95 is"): change(1 / TWICE - 1),
    ("Runs", "What k6 saw", "Failed run"): operations(0, 5 / 21),
    ("Runs", "What k6 saw", "Failed against"): change(0),
    ("Runs", "What k6 saw", "Failed change"): change(0),
    ("Runs", "Where it changed", "Server p95 run"): operations(
        quantile(0.95, SERVER), quantile(0.95, SERVER + POSTS)
    ),
    ("Runs", "Where it changed", "Server p95 against"): change(quantile(0.95, SERVER)),
    ("Runs", "Where it changed", "Server p95 change"): change(0),
    ("Runs", "Where it changed", "Server p95 is"): change(0),
    ("Runs", "Where it changed", "Database p95 run"): operations(
        quantile(0.95, DATABASE), quantile(0.95, DATABASE + POSTS)
    ),
    ("Runs", "Where it changed", "Database p95 against"): change(quantile(0.95, DATABASE)),
    ("Runs", "Where it changed", "Database p95 change"): change(0),
    ("Runs", "Where it changed", "Database p95 is"): change(0),
    ("Load test", VARIABLES, "testid"): {
        '{testid="20261123-053250-stress",profile="stress",journey="book",'
        'run="2026-11-23 05:32:50 · stress · book"}': 105,
        '{testid="20261123-053249-load",profile="load",journey="book",'
        'run="2026-11-23 05:32:49 · load · book"}': 100,
    },
    ("Runs", VARIABLES, "against"): {
        '{testid="20261123-053250-stress",profile="stress",journey="book",'
        'run="2026-11-23 05:32:50 · stress · book"}': 105,
    },
}
for dashboard in DASHBOARDS:
    TOTALS[dashboard, VARIABLES, "testid"] = TOTALS["Load test", VARIABLES, "testid"]
    TOTALS[dashboard, ANNOTATIONS, "Runs begin"] = marked(100_000, 105_000)
    TOTALS[dashboard, ANNOTATIONS, "Runs end"] = marked(120_000, 125_000)

# By the time since the run began: before 0 s there is nothing; at 15 s five seconds of requests
# were added, and nothing to the histograms.
OVER_TIME: dict[Address, dict[str, Samples]] = {
    ("Load test", "Load", "requests"): {
        "0s": total(19 / 5),
        "15s": total(22 / 5),
        "60s": total(0),
    },
    ("Load test", "Load", "failed"): {"0s": total(0), "5s": total(2 / 5), "15s": total(3 / 5)},
    ("Load test", "Load", "virtual users"): {"0s": total(2), "10s": total(4), "60s": {}},
    ("Load test", "Load", "iterations not started"): {
        "0s": {},
        "5s": total(2 / 5),
        "15s": total(0),
    },
    ("Load test", "p95 by side", "client"): {
        "0s": TOTALS["Load test", "Client p95", ""],
        "15s": {},
    },
    # Of 80 the 76th: 16 of the 20 POSTs are faster.
    ("Load test", "p95 by side", "server"): {
        "0s": total(quantile(16 / 20, SERVER + POSTS)),
        "15s": {},
    },
    ("Load test", "p95 by side", "database"): {
        "0s": total(quantile(16 / 20, DATABASE + POSTS)),
        "15s": {},
    },
    ("Load test", "Where the time goes", "database"): {"0s": total(33 / 81), "15s": {}},
    ("Load test", "Where the time goes", "server"): {"0s": total(33 / 81), "15s": {}},
    ("Load test", "Where the time goes", "outside the server"): {"0s": total(66 / 81), "15s": {}},
    ("Load test", "Errors by kind", "{{kind}}"): {
        "0s": {},
        "5s": by("kind", {"status": 2 / 5}),
        "15s": by("kind", {"status": 2 / 5, "timeout": 1 / 5}),
    },
    ("Load test", "Client p95 by operation", "{{operation}}"): {
        "0s": by("operation", {GET: quantile(0.95, CLIENT), POST: quantile(0.95, CLIENT + POSTS)}),
        "15s": {},
    },
    ("Load test", "Server p95 by operation", "{{operation}}"): {
        "0s": by(
            "operation",
            {GET: quantile(0.95, SERVER), POST: quantile(0.95, SERVER + POSTS)},
        ),
        "15s": {},
    },
    ("Load test", "Connections and event loop", "in use"): {"5s": total(7), "10s": total(3)},
    ("Load test", "Connections and event loop", "allowed"): {"0s": total(10)},
    ("Load test", "Database p95 by operation", "{{operation}}"): {
        "0s": by(
            "operation",
            {GET: quantile(0.95, DATABASE), POST: quantile(0.95, DATABASE + POSTS)},
        ),
        "15s": {},
    },
}


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
LAG = ("Load test", "Connections and event loop", "event loop p95")


def test_event_loop_delay() -> None:
    late = total(quantile(0.95, -4))
    hold(WORLD, [question(LAG, late, "5s", __rate_interval="20s")])


def test_a_page_can_show_one_scenario_alone() -> None:
    alone = {"scenario": "browse"}
    hold(
        WORLD,
        [
            question(("Load test", "Requests", ""), total(20), **alone),
            question(("Load test", "Completeness", "traced"), total(20), **alone),
            question(("Load test", "Lost", "traces"), total(0), **alone),
            question(("Load test", "Operations", "Requests"), change(20), **alone),
            question(
                ("Load test", "Operations", "Server p95"), change(quantile(0.95, SERVER)), **alone
            ),
            question(("Load test", "Load", "requests"), total(1), "15s", **alone),
        ],
    )


def test_a_percentile_is_of_several_scenarios_at_once() -> None:
    """Ninety below a second in one, ten above in the other: the 95th lies among the ten."""
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
            question(("Load test", "Operations", "Client p95"), change(quantile(0.5, 1))),
        ],
    )


def test_the_failed_share_is_that_of_requests_not_of_series() -> None:
    """15 of 1,020 failed, all in one of 203 series: 1.47 %, where a mean of series says 0.49 %."""
    series = {
        **{requests(f"GET /{i}"): f"{5 if i < 197 else 4} stale" for i in range(202)},
        requests(GET, failed=True, status=503): "15 stale",
    }
    share = 15 / 1020

    hold(series, [question(("Load test", "Failed", ""), total(share))])
    hold(series, [question(("Runs", "Runs", "Failed"), by("testid", {RUN: share}))])
    assert round(share * 100, 2) == 1.47


# The first push brings 101 requests of 417; increase() would give 316.
PUSHES_OF_417 = "101 151 201 251 301 351 401 417 stale"


def test_the_first_push_is_counted() -> None:
    series = {requests(GET): PUSHES_OF_417}

    hold(
        series,
        [
            question(("Load test", "Requests", ""), total(417)),
            question(("Load test", "Completeness", "sent"), total(417)),
            question(("Load test", "Operations", "Requests"), change(417)),
            question(("Runs", "Runs", "Requests"), by("testid", {RUN: 417})),
            question(("Load test", "Load", "requests"), total(101 / 5), "0s"),
        ],
    )


def test_a_run_that_is_still_on_shows_what_it_has() -> None:
    """After 20 s of a planned minute: no verdict and no end, and its rate is of the 20 s."""
    series = {
        mark(STARTED): "100 _x300",
        mark(PLANNED): "60 _x300",
        f'k6_vus{{testid="{RUN}"}}': "1x3 _x300",
        requests(GET): "10 20 30 40 _x300",
    }
    hold(
        series,
        [
            question(("Load test", "Thresholds", ""), total(2), "15s"),
            question(("Load test", "Thresholds", ""), total(3), "20m"),
            question(("Load test", "Requests", ""), total(40), "20s"),
            question(("Load test", "Rate", ""), total(40 / 20), "20s"),
            question(("Load test", "Lost", "traces"), {}, "20s"),
            question(("Load test", "Lost", "traces"), total(40), "1m"),
            question(("Load test", "Run", "Lasted"), {}, "20s"),
            question(("Load test", "Run", "to"), by("testid", {RUN: 190_000}), "20s"),
        ],
    )


def test_a_run_that_nothing_failed_in_lost_nothing() -> None:
    series = {
        requests(GET): "40 stale",
        span_metric(SPAN_CALLS, GET): "40x5",
        mark(PASSED): "1",
    }
    hold(
        series,
        [
            question(("Load test", "Thresholds", ""), total(1)),
            question(("Load test", "Failed", ""), total(0)),
            question(("Load test", "Lost", "traces"), total(0)),
            question(("Load test", "Lost", "rows"), total(0)),
            question(("Load test", "Operations", "Failed"), change(0)),
        ],
    )


def test_a_run_that_is_no_longer_kept_says_so() -> None:
    others = {name: values for name, values in WORLD.items() if RUN not in name}
    hold(
        others,
        [
            question(("Load test", "Thresholds", ""), total(4)),
            question(("Load test", "Run", "Began"), {}),
            question(("Load test", "Requests", ""), {}),
            question(("Load test", VARIABLES, "slow"), total(0)),
        ],
    )


def test_all_of_a_run_without_traces_is_missed() -> None:
    hold({requests(GET): "40 stale"}, [question(("Load test", "Lost", "traces"), total(40))])


def test_few_requests_are_all_among_the_slowest() -> None:
    """Of ten, none is left out: the threshold is where the lowest bucket begins."""
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
