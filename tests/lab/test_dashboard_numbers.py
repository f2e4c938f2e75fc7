"""Known series in, known numbers out: what the pages of runs show, by the JSON's own queries."""

import math

import pytest

from lab.promql.selectors import ENDED, PASSED, PLANNED, SPAN_CALLS, STARTED, THRESHOLD_PASSED, Side
from tests.support.panels import target, targets
from tests.support.promtool import (
    AT,
    JAEGER,
    OTHER,
    RUN,
    TEMPO,
    Asked,
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

OF_RUNS = ("home", "load-test", "runs")
NOT_BY_PROMTOOL = {
    ("load-test", "scenario"): "a list of labels: a real run is asked for it",
    ("load-test", "401 A"): "TraceQL: a real Tempo is asked for it",
    ("load-test", "402 A"): "TraceQL: a real Tempo is asked for it",
}
# Each query is asked once with its page's variables in place.
VARIABLES = {"testid": RUN, "against": OTHER, "scenario": ".+", "slow": "0"}
EACH = "5s"


def question(page: str, place: str, expected: Samples, at: str = AT, **variables: str) -> Asked:
    chosen = VARIABLES | {"__rate_interval": EACH} | variables
    return target(page, place).filled(**chosen), expected, at


def histogram(count: int, total: float, offset: int) -> str:
    """Write observations that all lie between 2^(offset-1) and 2^offset seconds."""
    return f"{{{{schema:0 count:{count} sum:{total} buckets:[{count}] offset:{offset}}}}}"


def quantile(share: float, offset: int) -> float:
    """Give a quantile of them: that share of the way, by ratio."""
    return math.exp2(offset - 1 + share)


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


def by(label: str, values: dict[str, float]) -> Samples:
    return {f'{{{label}="{value}"}}': number for value, number in values.items()}


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


# A list of runs, and of those of a page alone.
ALL_RUNS: list[Samples] = [
    marked(100_000, 105_000),
    runs(20, 20),
    runs(10, None),
    runs(81, 30),
    # Of 81 requests the 76.95th: 16.95 of the 21 POSTs are faster.
    runs(quantile(16.95 / 21, CLIENT + POSTS), quantile(0.95, CLIENT + 1)),
    runs(5 / 81, 0),
    runs(0, 1),
    runs(90_000, 95_000),
    runs(150_000, 155_000),
]


def of_runs(page: str, panel: int) -> dict[tuple[str, str], Samples]:
    letters = zip("ABCDEFGHI", ALL_RUNS, strict=True)
    return {(page, f"{panel} {letter}"): samples for letter, samples in letters}


def of_this_run() -> dict[tuple[str, str], Samples]:
    """Give the same for the page of one run, which shows the judgement elsewhere."""
    shown = [*ALL_RUNS[:3], *ALL_RUNS[-2:]]
    return {
        ("load-test", f"101 {letter}"): {
            labels: value for labels, value in samples.items() if RUN in labels
        }
        for letter, samples in zip("ABCDE", shown, strict=True)
    }


def change(get: float) -> Samples:
    return by("operation", {GET: get})


TWICE = 2.0
TOTALS: dict[tuple[str, str], Samples] = {
    **of_runs("home", 102),
    **of_this_run(),
    ("load-test", "102 A"): {"{}": 0},
    ("load-test", "103 A"): {"{}": 81},
    ("load-test", "104 A"): {"{}": 81 / 20},
    ("load-test", "105 A"): {"{}": 5 / 81},
    ("load-test", "106 A"): {"{}": quantile(16.95 / 21, CLIENT + POSTS)},
    # 80 were answered, 79 have a trace; 16 rows were promised, 14 written.
    ("load-test", "107 A"): {"{}": 81},
    ("load-test", "107 B"): {"{}": 79},
    ("load-test", "107 C"): {"{}": 16},
    ("load-test", "107 D"): {"{}": 14},
    ("load-test", "108 A"): {"{}": 1},
    ("load-test", "108 B"): {"{}": 2},
    ("load-test", "201 A"): operations(60, 21),
    ("load-test", "201 B"): operations(60 / 20, 21 / 20),
    ("load-test", "201 C"): operations(quantile(0.5, CLIENT), quantile(0.5, CLIENT + POSTS)),
    ("load-test", "201 D"): operations(quantile(0.95, CLIENT), quantile(0.95, CLIENT + POSTS)),
    ("load-test", "201 E"): operations(quantile(0.99, CLIENT), quantile(0.99, CLIENT + POSTS)),
    ("load-test", "201 F"): operations(quantile(0.95, SERVER), quantile(0.95, SERVER + POSTS)),
    ("load-test", "201 G"): operations(quantile(0.95, DATABASE), quantile(0.95, DATABASE + POSTS)),
    ("load-test", "201 H"): operations(24 / 48, 42 / 84),
    ("load-test", "201 I"): operations(12 / 48, 21 / 84),
    ("load-test", "201 J"): operations(0, 5 / 21),
    ("load-test", "501 A"): {
        '{metric="http_req_failed{name:POST /owners}",threshold="rate<0.01"}': 0,
        '{metric="http_req_failed{name:GET /owners}",threshold="rate<0.01"}': 1,
    },
    ("load-test", "502 A"): {
        '{operation="POST /owners",kind="status"}': 4,
        '{operation="POST /owners",kind="timeout"}': 1,
    },
    # 20 of the 79 with a trace are slower: of the 80 measured the 59.75th is among the 60 GETs.
    ("load-test", "slow"): {"{}": 1000 * quantile(80 * (1 - 20 / 79) / 60, SERVER)},
    **of_runs("runs", 101),
    **of_runs("runs", 201),
    ("runs", "202 A"): operations(60 / 20, 21 / 20),
    ("runs", "202 B"): change(30 / 20),
    ("runs", "202 C"): operations(quantile(0.95, CLIENT), quantile(0.95, CLIENT + POSTS)),
    ("runs", "202 D"): change(quantile(0.95, CLIENT + 1)),
    ("runs", "202 E"): change(1 / TWICE - 1),
    ("runs", "202 F"): change(1 / TWICE - 1),
    ("runs", "202 G"): operations(0, 5 / 21),
    ("runs", "202 H"): change(0),
    ("runs", "202 I"): change(0),
    ("runs", "203 A"): operations(quantile(0.95, SERVER), quantile(0.95, SERVER + POSTS)),
    ("runs", "203 B"): change(quantile(0.95, SERVER)),
    ("runs", "203 C"): change(0),
    ("runs", "203 D"): change(0),
    ("runs", "203 E"): operations(quantile(0.95, DATABASE), quantile(0.95, DATABASE + POSTS)),
    ("runs", "203 F"): change(quantile(0.95, DATABASE)),
    ("runs", "203 G"): change(0),
    ("runs", "203 H"): change(0),
    ("load-test", "testid"): {
        '{testid="20261123-053250-stress",profile="stress",journey="book",'
        'run="2026-11-23 05:32:50 · stress · book"}': 105,
        '{testid="20261123-053249-load",profile="load",journey="book",'
        'run="2026-11-23 05:32:49 · load · book"}': 100,
    },
    ("runs", "against"): {
        '{testid="20261123-053250-stress",profile="stress",journey="book",'
        'run="2026-11-23 05:32:50 · stress · book"}': 105,
    },
}
for page_of_runs in OF_RUNS:
    TOTALS[page_of_runs, "testid"] = TOTALS["load-test", "testid"]
    TOTALS[page_of_runs, "Runs begin"] = marked(100_000, 105_000)
    TOTALS[page_of_runs, "Runs end"] = marked(120_000, 125_000)

# By when, since the run began: at 0 s nothing was before, at 15 s the requests of five seconds
# were added, and of the histograms nothing.
FIVE_SECONDS = float(EACH[:-1])
COURSE: dict[tuple[str, str], dict[str, Samples]] = {
    ("load-test", "301 A"): {"0s": {"{}": 19 / 5}, "15s": {"{}": 22 / 5}, "60s": {"{}": 0}},
    ("load-test", "301 B"): {"0s": {"{}": 0}, "5s": {"{}": 2 / 5}, "15s": {"{}": 3 / 5}},
    ("load-test", "301 C"): {"0s": {"{}": 2}, "10s": {"{}": 4}, "60s": {}},
    ("load-test", "301 D"): {"0s": {}, "5s": {"{}": 2 / 5}, "15s": {"{}": 0}},
    ("load-test", "302 A"): {"0s": TOTALS["load-test", "106 A"], "15s": {}},
    # Of 80 the 76th: 16 of the 20 POSTs are faster.
    ("load-test", "302 B"): {"0s": {"{}": quantile(16 / 20, SERVER + POSTS)}, "15s": {}},
    ("load-test", "302 C"): {"0s": {"{}": quantile(16 / 20, DATABASE + POSTS)}, "15s": {}},
    ("load-test", "303 A"): {"0s": {"{}": 33 / 81}, "15s": {}},
    ("load-test", "303 B"): {"0s": {"{}": 33 / 81}, "15s": {}},
    ("load-test", "303 C"): {"0s": {"{}": 66 / 81}, "15s": {}},
    ("load-test", "304 A"): {
        "0s": {},
        "5s": by("kind", {"status": 2 / 5}),
        "15s": by("kind", {"status": 2 / 5, "timeout": 1 / 5}),
    },
    ("load-test", "305 A"): {
        "0s": by("name", {GET: quantile(0.95, CLIENT), POST: quantile(0.95, CLIENT + POSTS)}),
        "15s": {},
    },
    ("load-test", "306 A"): {
        "0s": by(
            "clinic_operation",
            {GET: quantile(0.95, SERVER), POST: quantile(0.95, SERVER + POSTS)},
        ),
        "15s": {},
    },
    ("load-test", "308 A"): {"5s": {"{}": 7}, "10s": {"{}": 3}},
    ("load-test", "308 B"): {"0s": {"{}": 10}},
    ("load-test", "307 A"): {
        "0s": by(
            "clinic_operation",
            {GET: quantile(0.95, DATABASE), POST: quantile(0.95, DATABASE + POSTS)},
        ),
        "15s": {},
    },
}


def test_every_query_of_these_pages_has_a_known_answer_or_a_reason_why_not() -> None:
    asked_for = {one.key for one in targets() if one.page in OF_RUNS}

    assert asked_for == {*TOTALS, *COURSE, LAG, *NOT_BY_PROMTOOL}
    assert not {*TOTALS, *COURSE} & {*NOT_BY_PROMTOOL}


def test_the_pages_show_what_the_series_say() -> None:
    hold(WORLD, [question(*key, expected) for key, expected in TOTALS.items()])


def test_the_pages_show_a_run_over_its_time() -> None:
    hold(
        WORLD,
        [
            question(*key, expected, at)
            for key, times in COURSE.items()
            for at, expected in times.items()
        ],
    )


# A rate, unlike what is added, needs two samples.
LAG = ("load-test", "308 C")


def test_the_page_shows_the_delay_of_the_event_loop() -> None:
    late = {"{}": quantile(0.95, -4)}
    hold(WORLD, [question(*LAG, late, "5s", __rate_interval="20s")])


def test_a_wrong_number_would_be_found() -> None:
    outcome = asked(WORLD, [question("load-test", "103 A", {"{}": 82})])

    assert outcome.returncode != 0
    assert "got" in outcome.stdout + outcome.stderr


def test_a_page_can_show_one_scenario_alone() -> None:
    alone = {"scenario": "browse"}
    hold(
        WORLD,
        [
            question("load-test", "103 A", {"{}": 20}, **alone),
            question("load-test", "107 B", {"{}": 20}, **alone),
            question("load-test", "108 A", {"{}": 0}, **alone),
            question("load-test", "201 A", change(20), **alone),
            question("load-test", "201 F", change(quantile(0.95, SERVER)), **alone),
            question("load-test", "301 A", {"{}": 1}, "15s", **alone),
        ],
    )


def test_a_percentile_is_of_several_scenarios_at_once() -> None:
    """Ninety below a second in one, ten above in the other: the 95th lies among the ten."""
    series = {
        client_seconds(GET, scenario="browse"): histogram(90, 67.5, 0),
        client_seconds(GET, scenario="book"): histogram(10, 15, 1),
    }
    both, browse = {"{}": quantile(0.5, 1)}, {"{}": quantile(0.95, 0)}
    hold(
        series,
        [
            question("load-test", "106 A", both),
            question("load-test", "106 A", both, scenario="browse|book"),
            question("load-test", "106 A", browse, scenario="browse"),
            question("load-test", "201 D", change(quantile(0.5, 1))),
        ],
    )


def test_the_failed_share_is_that_of_requests_not_of_series() -> None:
    """15 of 1,020 failed, all in one of 203 series: 1.47 %, where a mean of series says 0.49 %."""
    series = {
        **{requests(f"GET /{i}"): f"{5 if i < 197 else 4} stale" for i in range(202)},
        requests(GET, failed=True, status=503): "15 stale",
    }
    share = 15 / 1020

    hold(series, [question("load-test", "105 A", {"{}": share})])
    hold(series, [question("runs", "101 F", by("testid", {RUN: share}))])
    assert round(share * 100, 2) == 1.47


# The first push brings 101 requests of 417; increase() would give 316.
PUSHES_OF_417 = "101 151 201 251 301 351 401 417 stale"


def test_the_first_push_is_counted() -> None:
    series = {requests(GET): PUSHES_OF_417}

    hold(
        series,
        [
            question("load-test", "103 A", {"{}": 417}),
            question("load-test", "107 A", {"{}": 417}),
            question("load-test", "201 A", change(417)),
            question("runs", "101 D", by("testid", {RUN: 417})),
            question("load-test", "301 A", {"{}": 101 / 5}, "0s"),
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
            question("load-test", "102 A", {"{}": 2}, "15s"),
            question("load-test", "102 A", {"{}": 3}, "20m"),
            question("load-test", "103 A", {"{}": 40}, "20s"),
            question("load-test", "104 A", {"{}": 40 / 20}, "20s"),
            question("load-test", "108 A", {}, "20s"),
            question("load-test", "108 A", {"{}": 40}, "1m"),
            question("load-test", "101 B", {}, "20s"),
            question("load-test", "101 E", by("testid", {RUN: 190_000}), "20s"),
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
            question("load-test", "102 A", {"{}": 1}),
            question("load-test", "105 A", {"{}": 0}),
            question("load-test", "108 A", {"{}": 0}),
            question("load-test", "108 B", {"{}": 0}),
            question("load-test", "201 J", change(0)),
        ],
    )


def test_a_run_that_is_no_longer_kept_says_so() -> None:
    others = {name: values for name, values in WORLD.items() if RUN not in name}
    hold(
        others,
        [
            question("load-test", "102 A", {"{}": 4}),
            question("load-test", "101 A", {}),
            question("load-test", "103 A", {}),
            question("load-test", "slow", {"{}": 0}),
        ],
    )


def test_all_of_a_run_without_traces_is_missed() -> None:
    hold({requests(GET): "40 stale"}, [question("load-test", "108 A", {"{}": 40})])


def test_few_requests_are_all_among_the_slowest() -> None:
    """Of ten, none is left out: the threshold is where the lowest bucket begins."""
    series = {
        span_metric(TEMPO, GET): f"{histogram(10, 4, SERVER)}x5",
        span_metric(SPAN_CALLS, GET): "10x5",
    }
    hold(series, [question("load-test", "slow", {"{}": 1000 * quantile(0, SERVER)})])
    hold({}, [question("load-test", "slow", {"{}": 0})])


def no_numbers(series: Series, at: str) -> None:
    """Assert that no query gives infinity, or what is no number."""
    questions: list[Asked] = []
    for one in targets():
        if one.is_promql and one.page in OF_RUNS:
            expression, _, _ = question(*one.key, {})
            found = f"({expression}) != ({expression}) or abs({expression}) == Inf"
            questions.append((f"count({found})", {}, at))
    hold(series, questions)


@pytest.mark.parametrize("at", ["0s", "15s", "60s", "20m"])
def test_nothing_is_divided_by_zero(at: str) -> None:
    no_numbers(WORLD, at)


def test_an_idle_system_shows_no_wrong_numbers() -> None:
    no_numbers({}, AT)
    no_numbers({requests(GET): "0x300", span_metric(SPAN_CALLS, GET): "0x300"}, AT)
