"""What a run shows: the operation nearest its limit, saturation, and how reports word them."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.findings.nearest_limit import (
    Interval,
    NearestLimit,
    exceeded_intervals,
    find_nearest_limit,
)
from lab.findings.saturation import LatencySaturation, ThroughputSaturation, find_saturation
from lab.findings.summary import find
from lab.reports import sentences
from lab.runs.record import Completeness, Record, Threshold, Timeline, TimelinePoint
from tests.support.factories import make_points, make_record, make_stats, make_timeline


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
    ("shares", "side", "words"),
    [
        ((0.7, 0.2, 0.1), "outside_server", "70 % of its time outside the server"),
        ((0.1, 0.6, 0.3), "in_server", "60 % of its time in the server, excluding the database"),
        ((0.1, 0.2, 0.7), "in_database", "70 % of its time in the database"),
        ((None, None, None), None, "(limit 300 ms). "),
    ],
)
def test_the_main_side_took_most_of_the_time(
    shares: tuple[float | None, ...], side: str | None, words: str
) -> None:
    outside, server, database = shares
    stats = make_stats(outside_server=outside, in_server=server, in_database=database)
    record = make_record(operations=[stats])

    assert nearest_limit(record).main_side == side
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

    assert text(worst).startswith("2 of 2 operations exceeded their p95 limit. Furthest over: GET")
    assert text(failing).startswith("All operations met their p95 limits.")


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
    assert (found.max_users, found.max_rate) == (95, 162)


def test_a_clinic_saturates_where_an_operation_exceeds_its_limit() -> None:
    saturation = find_saturation(rising(operation_timeline=points_over_limit(lambda i: i > 11)))

    assert saturation is not None
    [found] = saturation.saturations
    assert isinstance(found, LatencySaturation)
    assert found.stats.operation == "POST /owners"
    assert (found.load.users, found.load.rate, found.load.interval) == (65, 234, Interval(60, 65))


LEVELLED = rising_users(lambda i: 18.0 * min(i + 1, 9))
DECLINING = rising_users(lambda i: [*(18.0 * n for n in range(1, 16)), 306, 306, 270, 270, 270][i])
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
        ({}, ["No saturation found up to 100 virtual users, 351 req/s", GREW], "Saturated"),
        ({"timeline": UP_AND_DOWN}, ["No saturation found"], "Saturated"),
        (
            {"timeline": LEVELLED, "profile": "load"},
            ["No saturation found up to 162 req/s", "no iteration was dropped"],
            GREW,
        ),
        (
            {"timeline": DECLINING},
            ["No saturation", "peaked at 306 req/s (1:15-1:20) and fell to 270 req/s"],
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
        *("throughput stops growing", "limit exceeded", "no free users", "no saturation"),
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
    ("metric", "threshold", "texts"),
    [
        ("http_req_duration{name:GET /owners}", "p(95)<200", ("GET /owners", "p95 < 200 ms")),
        ("http_req_failed{scenario:stress}", "rate<0.01", ("all requests", "failed < 1 %")),
        ("errors", "count<10", ("errors", "count<10")),
        ("http_req_duration{name:a}", "avg<200", ("http_req_duration{name:a}", "avg<200")),
    ],
)
def test_thresholds_are_worded_unless_they_are_custom(
    metric: str, threshold: str, texts: tuple[str, str]
) -> None:
    assert sentences.threshold_texts(Threshold(metric, threshold, passed=True)) == texts
