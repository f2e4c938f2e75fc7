"""What a run shows: the operation nearest its limit, saturation, and how reports word them."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from lab.findings.limits import find_limits
from lab.findings.nearest_limit import (
    Interval,
    NearestLimit,
    exceeded_intervals,
    find_nearest_limit,
)
from lab.findings.saturation import LatencySaturation, ThroughputSaturation, find_saturation
from lab.findings.summary import find
from lab.reports import sentences
from lab.runs.record import (
    Completeness,
    PartName,
    Record,
    Resource,
    Threshold,
    Timeline,
    TimelinePoint,
)
from tests.support.factories import (
    ENVIRONMENT,
    make_points,
    make_record,
    make_stats,
    make_timeline,
)


def nearest_limit(record: Record) -> NearestLimit:
    found = find_nearest_limit(record)
    assert found is not None
    return found


def text(record: Record) -> str:
    return " ".join(sentence.text for sentence in sentences.sentences(record, find(record)))


def record_over_limit(first: int, last: int, **changes: Any) -> Record:
    """Make a run whose operation takes 400 ms of the allowed 300 from one interval to another."""
    points = make_points(p95=lambda step: 0.4 if first <= step <= last else 0.05)
    return make_record(operation_timeline=points, **changes)


# The operation nearest its limit


def test_the_operation_nearest_its_own_limit_is_found() -> None:
    operations = [
        make_stats("POST /owners", client_p95=0.25, limit_p95=0.3),
        make_stats("GET /owners", client_p95=0.19, limit_p95=0.2),
        make_stats("GET /without/limit", client_p95=9.0, limit_p95=None),
    ]
    record = make_record(operations=operations)

    assert nearest_limit(record).stats.operation == "GET /owners"
    assert "All operations met their SLO" in text(record)
    assert "GET /owners, p95 190 ms (limit 200 ms)" in text(record)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"network": 0.7, "api_working": 0.3}, "70 % of its time in the network or a proxy"),
        ({"network": 0.1, "unknown": 0.9}, "90 % of its time that no metric explains"),
        ({}, "(limit 300 ms). "),
    ],
)
def test_the_part_that_took_most_of_the_time_is_named(
    shares: dict[PartName, float], words: str
) -> None:
    record = make_record(operations=[make_stats(time_shares=shares)])

    assert words in text(record)


@pytest.mark.parametrize(
    ("first", "last", "interval", "until_end", "words"),
    [
        (6, 11, (30, 60), True, "from 0:30 until the end"),
        (0, 11, (0, 60), True, "for the whole run"),
        (4, 7, (20, 40), False, "from 0:20 to 0:40"),
        (3, 3, (15, 20), False, "from 0:15 to 0:20"),
    ],
)
def test_the_time_over_the_limit_is_known(
    first: int,
    last: int,
    interval: tuple[float, float],
    until_end: bool,  # noqa: FBT001 - a parameter of the test
    words: str,
) -> None:
    found = nearest_limit(record := record_over_limit(first, last))

    assert (found.exceeded, found.until_end) == ([Interval(*interval)], until_end)
    assert f"It exceeded its limit {words}." in text(record)


def test_a_short_pause_within_the_limit_does_not_end_the_excess() -> None:
    points = make_points(p95=lambda step: 0.4 if step >= 4 and step != 7 else 0.05)
    record = make_record(operation_timeline=points)

    assert exceeded_intervals(record, record.operations[0]) == [Interval(20, 60)]


def test_the_slowest_interval_is_named_with_its_requests() -> None:
    points = make_points(p95=lambda step: 0.2 if step == 3 else 0.05)
    record = make_record(operation_timeline=points)

    found = nearest_limit(record)
    assert (found.slowest_interval, found.slowest_requests) == (Interval(15, 20), 53)
    assert "Slowest interval: 0:15-0:20 (53 requests)." in text(record)


def test_operations_over_their_limit_are_counted() -> None:
    operations = [make_stats("GET /a", client_p95=0.4), make_stats("GET /b", client_p95=0.6)]
    worst = make_record(operations=operations)
    failing = make_record(operations=[make_stats(failed_share=0.02)])

    assert "2 of 2 operations exceeded their p95 limit. Worst: GET" in text(worst)
    assert "All operations met their p95 limits." in text(failing)


# Saturation


def rising(**changes: Any) -> Record:
    """Make a run of 100 s in which 5 more users every 5 s get 18 req/s more through."""
    defaults = {
        "profile": "stress",
        "timeline": rising_users(lambda i: 18.0 * (i + 1)),
        "operation_timeline": make_points(steps=20),
    }
    return make_record(**(defaults | changes))


def rising_users(rate: Callable[[int], float]) -> Timeline:
    return make_timeline(20, users=lambda i: 5.0 * (i + 1), rate=rate)


def points_over_limit(over: Callable[[int], bool]) -> list[TimelinePoint]:
    return make_points(steps=20, p95=lambda i: 0.4 if over(i) else 0.05)


def test_a_clinic_saturates_where_throughput_stops_growing() -> None:
    saturation = find_saturation(rising(timeline=LEVELLED))

    assert saturation is not None
    [found] = saturation.saturations
    assert isinstance(found, ThroughputSaturation)
    assert (found.load.users, found.load.rate, found.load.interval) == (45, 162, Interval(40, 45))
    assert (found.max_users, found.max_rate) == (100, 162)


def test_a_clinic_saturates_where_an_operation_exceeds_its_limit() -> None:
    saturation = find_saturation(rising(operation_timeline=points_over_limit(lambda i: i > 11)))

    assert saturation is not None
    [found] = saturation.saturations
    assert isinstance(found, LatencySaturation)
    assert found.stats.operation == "POST /owners"
    assert (found.load.users, found.load.rate, found.load.interval) == (65, 234, Interval(60, 65))


LEVELLED = rising_users(lambda i: 18.0 * min(i + 1, 9))
DECLINING = rising_users(lambda i: [*(18.0 * n for n in range(1, 16)), 306, 306, 270, 270, 270][i])
# 12 steps of 15 s, each with more iterations/s; in the last three all users are busy.
STAIRCASE = make_timeline(
    36,
    users=lambda i: [4, 8, 11, 15, 20, 26, 33, 40, 149, 149, 149, 149][i // 3],
    rate=lambda i: [80, 160, 240, 320, 400, 480, 560, 640, 839, 690, 690, 690][i // 3],
)
UP_AND_DOWN = make_timeline(
    20, users=lambda i: 10.0 * min(i + 1, 20 - i), rate=lambda i: 30.0 * min(i + 1, 20 - i)
)
GREW = "throughput grew with the load"
AT_START = "POST /owners exceeded the p95 limit before the load grew."


@pytest.mark.parametrize(
    ("changes", "expected", "unexpected"),
    [
        ({"timeline": LEVELLED}, ["Saturated at 45 virtual users, 162 req/s (0:40-0:45)"], "No s"),
        (
            {"operation_timeline": points_over_limit(lambda i: i > 11)},
            ["Saturated at 65 virtual users, 234 req/s (1:00-1:05)", "limit of 300 ms"],
            "No saturation",
        ),
        (
            {"timeline": LEVELLED, "profile": "load", "dropped_iterations": 50},
            ["Saturated at 162 req/s (0:40-0:45)", "50 iterations were dropped"],
            "No saturation",
        ),
        (
            {"timeline": STAIRCASE, "profile": "breakpoint", "dropped_iterations": 122},
            ["Saturated at 839 req/s", "throughput then fell to 690 req/s with 149 virtual users"],
            "No saturation",
        ),
        ({}, ["No saturation found up to 100 virtual users, 351 req/s", GREW], "Saturated"),
        ({"timeline": UP_AND_DOWN}, ["No saturation found"], "Saturated"),
        (
            {"timeline": LEVELLED, "profile": "load"},
            ["No saturation found up to 162 req/s", "no iteration was dropped"],
            GREW,
        ),
        (
            {"timeline": DECLINING},
            ["Saturated at 90 virtual", "throughput per virtual user fell from 4.5 to 2.9 req/s"],
            GREW,
        ),
        (
            {"operation_timeline": points_over_limit(lambda i: i == 12)},
            ["No saturation found", "for more than one interval"],
            "Saturated",
        ),
        ({"operation_timeline": points_over_limit(lambda _: True)}, ["No s", AT_START], "grew w"),
        ({"operation_timeline": points_over_limit(lambda i: i != 12)}, [AT_START], "Saturated"),
        ({"timeline": make_timeline(20)}, [], "aturat"),
    ],
    ids=[
        *("throughput stops growing", "limit exceeded", "no free users", "past its peak"),
        "no saturation",
        *("load goes down again", "planned arrivals level off", "throughput declines"),
        *("one slow interval", "slow from the start", "slow from the start but once", "steady"),
    ],
)
def test_saturation_is_claimed_only_where_the_load_causes_it(
    changes: dict[str, Any], expected: list[str], unexpected: str
) -> None:
    words = text(rising(**changes))

    assert [phrase for phrase in expected if phrase not in words] == []
    assert unexpected not in words


# Failures, thresholds and other programs


def test_failures_are_counted_and_located() -> None:
    record = make_record(
        operations=[make_stats("GET /owners"), make_stats("POST /owners", failed_share=0.05)],
        total=make_stats("All", requests=1200, failed_share=0.025),
        failed_statuses=[409, 503],
        completeness=Completeness(sent=1200, unanswered=4, traced=1196),
    )

    for words in ("30 of 1,200", "POST /owners (5.0 % ", "409, 503", "4 requests got no response"):
        assert words in text(record)
    assert "No requests failed." in text(make_record())


@pytest.mark.parametrize(
    ("metric", "threshold", "reached", "texts"),
    [
        (
            "http_req_duration{name:GET /a}",
            "p(95)<200",
            856.4,
            ("GET /a", "p95 < 200 ms", "856 ms"),
        ),
        (
            "http_req_failed{scenario:stress}",
            "rate<0.01",
            0.0123,
            ("all requests", "failed < 1 %", "1.23 %"),
        ),
        ("errors", "count<10", 52.0, ("errors", "count < 10", "52")),
        (
            "http_req_failed",
            "rate<0.01",
            0.001548856289446121,
            ("http_req_failed", "rate < 1 %", "0.15 %"),
        ),
        (
            "http_req_waiting",
            "max<=5000",
            856.40123,
            ("http_req_waiting", "max <= 5000 ms", "856 ms"),
        ),
        (
            "http_req_duration{name:a}",
            "avg<200",
            None,
            ("http_req_duration{name:a}", "avg < 200 ms", "-"),
        ),
    ],
)
def test_thresholds_are_worded_with_their_units(
    metric: str, threshold: str, reached: float | None, texts: tuple[str, str, str]
) -> None:
    record = make_record(thresholds=[Threshold(metric, threshold, passed=True, reached=reached)])

    [limit] = find_limits(record)

    words = (limit.subject, sentences.condition_text(limit), sentences.reached_text(limit))
    assert words == texts


def test_failed_thresholds_come_first_by_how_much_they_were_exceeded() -> None:
    thresholds = [
        Threshold("http_req_duration{name:POST /owners}", "p(95)<300", passed=True, reached=40.0),
        Threshold("http_req_duration{name:GET /owners}", "p(95)<200", passed=False, reached=230.0),
        Threshold("http_req_failed{name:POST /owners}", "rate<0.01", passed=False, reached=0.05),
        Threshold("errors", "count<10", passed=False, reached=21.0),
    ]

    limits = find_limits(make_record(thresholds=thresholds))

    assert [(one.subject, one.met, round(one.ratio, 2)) for one in limits] == [
        ("POST /owners", False, 5.0),
        ("errors", False, 2.1),
        ("GET /owners", False, 1.15),
        ("POST /owners", True, 0.13),
    ]


def test_a_threshold_without_a_reached_value_has_that_of_its_operation() -> None:
    thresholds = [
        Threshold("http_req_duration{name:POST /owners}", "p(95)<300", passed=False),
        Threshold("http_req_failed{scenario:load}", "rate<0.01", passed=False),
    ]
    operations = [make_stats(client_p95=0.6)]
    record = make_record(
        thresholds=thresholds, operations=operations, total=make_stats("All", failed_share=0.03)
    )

    assert [one.reached for one in find_limits(record)] == [0.03, 0.6]


def test_a_run_without_thresholds_is_held_against_the_slo() -> None:
    operations = [make_stats(client_p95=0.6), make_stats("GET /a", failed_share=0.01)]
    record = make_record(
        verdict="none",
        thresholds=[],
        operations=operations,
        total=make_stats("All", limit_p95=None, limit_failed_share=None),
    )

    exceeded = [(one.subject, one.quantity) for one in find_limits(record) if not one.met]

    assert exceeded == [("POST /owners", "p95"), ("GET /a", "failed")]


def duration_threshold(operation: str, reached: float, *, passed: bool = False) -> Threshold:
    name = f"http_req_duration{{name:{operation}}}"
    return Threshold(name, "p(95)<300", passed=passed, reached=reached)


def test_what_failed_is_said_first_the_furthest_over_its_limit_at_the_head() -> None:
    thresholds = [
        duration_threshold("GET /owners", 310),
        duration_threshold("POST /owners", 856),
        duration_threshold("GET /fine", 20, passed=True),
    ]
    run = make_record(verdict="failed", thresholds=thresholds)

    assert [one.text for one in sentences.sentences(run, find(run))][:3] == [
        "✗ Failed: 2 of 3 thresholds.",
        "✗ POST /owners p95 < 300 ms: 856 ms",
        "✗ GET /owners p95 < 300 ms: 310 ms",
    ]


def test_of_many_failed_thresholds_the_worst_are_listed() -> None:
    thresholds = [duration_threshold(f"GET /{i}", 300 + i) for i in range(8)]
    run = make_record(verdict="failed", thresholds=thresholds)
    texts = [one.text for one in sentences.sentences(run, find(run)) if one.subject == "threshold"]

    assert texts[0] == "✗ GET /7 p95 < 300 ms: 307 ms"
    assert texts[5:] == ["✗ … and 3 more."]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "✓ Passed: 1 threshold."),
        (
            {"verdict": "aborted", "verdict_reason": "interrupted", "planned": 420.0},
            "■ Aborted: it was interrupted, after 1 min of 7 min.",
        ),
        (
            {"verdict": "none", "verdict_reason": "no_thresholds", "thresholds": []},
            "– No verdict: k6 ran without thresholds.",  # noqa: RUF001 - a dash
        ),
        ({"verdict": "running", "thresholds": []}, "… Running."),
    ],
)
def test_the_verdict_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    run = make_record(**changes)

    assert sentences.sentences(run, find(run))[0].text == sentence


@pytest.mark.parametrize(("cpu", "said"), [(1.9, True), (1.2, False), (None, True)])
def test_other_programs_are_named_where_the_cpus_were_busy(
    cpu: float | None,
    said: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    machine = Resource(name="machine", cpu_mean=0.9, cpu_max=cpu, cores=2.0)
    environment = replace(ENVIRONMENT, other_cpu_share=0.3)
    record = make_record(environment=environment, resources=[machine])

    assert ("Other programs used 30 %" in text(record)) is said
