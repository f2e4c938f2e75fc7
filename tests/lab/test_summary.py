"""What is said of a run: its slowest operation, its knee, its failures."""

from typing import Any

import pytest

from lab.findings import summary
from lab.runs.record import Completeness, Record, Threshold
from tests.support.factories import a_record, a_row, a_timeline, points


def said_of(run: Record) -> str:
    slow = summary.slowest_operation(run)
    assert slow is not None
    return summary.say_slowest(slow)


def with_p95(**outside: float) -> Record:
    """Make a run whose operation takes 400 ms, of 300 allowed, in the steps of that range."""
    first, last = outside["first"], outside["last"]
    parts = points(p95=lambda step: 0.4 if first <= step <= last else 0.05)
    return a_record(operations=[a_row(client_p95=0.35)], operation_timeline=parts)


def test_an_operation_is_slow_by_its_own_objective() -> None:
    rows = [
        a_row("POST /owners", client_p95=0.25, limit_p95=0.3),
        a_row("GET /owners", client_p95=0.19, limit_p95=0.2),
        a_row("GET /unjudged", client_p95=9.0, limit_p95=None),
    ]

    assert said_of(a_record(operations=rows)).startswith(
        "Every operation kept its objective; nearest to it: GET /owners, p95 190 ms where 200 ms"
    )


@pytest.mark.parametrize(
    ("shares", "side"),
    [
        ((0.7, 0.2, 0.1), "70 % of its time went outside the server: network, queues, k6."),
        ((0.1, 0.6, 0.3), "60 % of its time went in the server."),
        ((0.1, 0.2, 0.7), "70 % of its time went in the database."),
    ],
)
def test_the_side_is_the_one_that_took_most(shares: tuple[float, ...], side: str) -> None:
    outside, server, database = shares
    row = a_row(outside_server=outside, in_server=server, in_database=database)

    assert side in said_of(a_record(operations=[row]))


def test_a_run_without_spans_has_no_side() -> None:
    row = a_row(outside_server=None, in_server=None, in_database=None)

    assert "of its time" not in said_of(a_record(operations=[row]))


@pytest.mark.parametrize(
    ("first", "last", "when"),
    [
        (6, 11, "It left its objective at 0:30 and did not come back."),
        (4, 7, "It was outside its objective from 0:20 to 0:40."),
        (3, 3, "It was outside its objective from 0:15 to 0:20."),
    ],
)
def test_since_when_is_said(first: int, last: int, when: str) -> None:
    assert said_of(with_p95(first=first, last=last)).endswith(when)


def test_a_moment_inside_the_objective_does_not_end_the_time_outside() -> None:
    parts = points(p95=lambda step: 0.4 if step >= 4 and step != 7 else 0.05)
    run = a_record(operation_timeline=parts)

    assert summary.stretches(run, run.operations[0]) == [(20.0, 60.0)]


def growing(**changes: Any) -> Record:
    return a_record(**{"profile": "stress", "operation_timeline": points(steps=20), **changes})


def test_without_a_knee_it_is_said_up_to_which_load() -> None:
    timeline = a_timeline(20, users=lambda i: 5.0 * (i + 1), rate=lambda i: 18.0 * (i + 1))

    assert summary.say_knee(growing(timeline=timeline)) == (
        "No knee up to 100 virtual users and 360 requests a second: no operation left its "
        "objective for more than a moment, and throughput grew with the load."
    )


def test_the_knee_is_where_throughput_stops_growing() -> None:
    timeline = a_timeline(20, users=lambda i: 5.0 * (i + 1), rate=lambda i: 18.0 * min(i + 1, 9))

    assert summary.say_knee(growing(timeline=timeline)) == (
        "The knee is at 45 virtual users and 162 requests a second (0:45): up to 95 users "
        "throughput stayed at 162 a second at the most."
    )


def test_arrivals_that_level_off_by_plan_are_no_knee() -> None:
    timeline = a_timeline(20, users=lambda i: 5.0 * (i + 1), rate=lambda i: 18.0 * min(i + 1, 9))
    by_plan = growing(timeline=timeline, profile="load")
    for_want_of_users = growing(timeline=timeline, profile="load", dropped_iterations=50)

    assert summary.knees(by_plan) == []
    assert [knee.users for knee in summary.knees(for_want_of_users)] == [45]


def test_the_knee_is_where_an_operation_leaves_its_objective() -> None:
    timeline = a_timeline(20, users=lambda i: 5.0 * (i + 1), rate=lambda i: 18.0 * (i + 1))
    parts = points(steps=20, p95=lambda step: 0.4 if step >= 12 else 0.05)

    assert summary.say_knee(growing(timeline=timeline, operation_timeline=parts)) == (
        "The knee is at 65 virtual users and 234 requests a second (1:05): the p95 of POST /owners "
        "left its 300 ms."
    )


def test_one_slow_step_is_no_knee() -> None:
    timeline = a_timeline(20, users=lambda i: 5.0 * (i + 1), rate=lambda i: 18.0 * (i + 1))
    parts = points(steps=20, p95=lambda step: 0.4 if step == 12 else 0.05)

    assert summary.say_knee(growing(timeline=timeline, operation_timeline=parts)).startswith(
        "No knee"
    )


def test_going_down_again_is_no_knee() -> None:
    timeline = a_timeline(
        20, users=lambda i: 10.0 * min(i + 1, 20 - i), rate=lambda i: 30.0 * min(i + 1, 20 - i)
    )

    assert summary.knees(growing(timeline=timeline)) == []


def test_a_steady_load_is_not_looked_at_for_a_knee() -> None:
    assert not summary.varies(a_record())
    assert summary.varies(a_record(timeline=a_timeline(rate=lambda i: 2.0 + i)))


def test_failures_are_counted_and_named() -> None:
    rows = [
        a_row("GET /owners", failed_share=0.0),
        a_row("POST /owners", failed_share=0.05),
    ]
    total = a_row("All", requests=1200, failed_share=0.025)
    completeness = Completeness(sent=1200, unanswered=4, traced=1196)
    run = a_record(
        operations=rows, total=total, failed_statuses=[409, 503], completeness=completeness
    )

    assert summary.say_failed(run) == (
        "30 of 1,200 requests failed, most of them POST /owners (5.0 % of its own); the server "
        "answered 409, 503; 4 had no answer."
    )
    assert summary.say_failed(a_record()) == "No request failed."


@pytest.mark.parametrize(
    ("metric", "threshold", "said"),
    [
        ("http_req_duration{name:GET /owners}", "p(95)<200", ("GET /owners", "p95 < 200 ms")),
        ("http_req_failed{scenario:stress}", "rate<0.01", ("every request", "failed < 1 %")),
        ("errors", "count<10", ("errors", "count<10")),
        ("http_req_duration{name:a}", "avg<200", ("http_req_duration{name:a}", "avg<200")),
    ],
)
def test_thresholds_are_said_as_people_do(
    metric: str, threshold: str, said: tuple[str, str]
) -> None:
    assert summary.say_threshold(Threshold(metric, threshold, passed=True)) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (65, "1:05"), (3725, "1:02:05"), (59.7, "1:00")]
)
def test_a_time_of_the_run_is_said_as_on_a_clock(seconds: float, said: str) -> None:
    assert summary.clock(seconds) == said
