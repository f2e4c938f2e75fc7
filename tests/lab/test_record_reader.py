"""The record of a run, read from a real Prometheus: what goes beyond counts and percentiles."""

import time

import pytest

from lab.clients.prometheus import Prometheus
from lab.runs.reader import describe_disturbances, find_period, read_metrics
from lab.runs.record import Check, DatabaseError, ErrorCount, PostgreSQL
from tests.support.fake_series import Feed, feed_a_run, run_id

pytestmark = pytest.mark.stack

POST = "POST /owners"


def test_the_heatmap_counts_every_request_in_its_interval(prometheus: Prometheus) -> None:
    ended = time.time() - 100
    feed = Feed(run_id(), ended)
    feed.marks("load")
    feed.requests(POST, 60)
    feed.requests("GET /owners", 7)
    # Cumulative: bucket -7 is from 1/128 to 1/64 s.
    feed.client_seconds(POST, {-7: 20}, at=ended - 17)
    feed.client_seconds(POST, {-7: 30, -5: 10}, at=ended - 7)
    feed.client_seconds(POST, {-7: 30, -5: 25, 0: 5})
    feed.client_seconds("GET /owners", {-6: 7}, at=ended - 12)
    feed.send(prometheus)

    record = read_metrics(prometheus, feed.run, finished=True)

    assert record.heatmap is not None
    assert record.heatmap.first == -12
    columns = [
        {record.heatmap.first + i: count for i, count in enumerate(counts) if count}
        for counts in record.heatmap.counts
    ]
    assert columns == [{-12: 20}, {-10: 7}, {-12: 10, -8: 10}, {-8: 15, 2: 5}]
    assert len(columns) == len(record.timeline.at)
    total = sum(sum(column.values()) for column in columns)
    assert total == record.total.requests


def test_requests_after_the_last_interval_are_in_its_column(prometheus: Prometheus) -> None:
    ended = time.time() - 100
    feed = Feed(run_id(), ended, seconds=22)
    feed.marks("load")
    feed.requests(POST, 60)
    feed.client_seconds(POST, {-7: 50}, at=ended - 3)
    feed.client_seconds(POST, {-7: 60})
    feed.send(prometheus)

    record = read_metrics(prometheus, feed.run, finished=True)

    assert record.heatmap is not None
    assert len(record.heatmap.counts) == len(record.timeline.at) == 4
    assert sum(map(sum, record.heatmap.counts)) == 60


def test_what_k6_sent_is_in_the_record(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.marks("load")
    feed.requests(POST, 10)
    feed.client_seconds(POST, {-7: 10})
    for phase in ("blocked", "waiting"):
        feed.k6_seconds(f"k6_http_req_{phase}", {-7: 10}, took=0.1, name=POST)
    feed.k6_seconds("k6_iteration_duration", {0: 4}, took=6)
    feed.k6_counter("k6_iterations", 4)
    feed.k6_counter("k6_data_sent", 1000)
    feed.k6_counter("k6_data_received", 5000)
    feed.k6_gauge("k6_run_request_min_seconds", 0.0081, name=POST)
    feed.k6_gauge("k6_run_request_max_seconds", 0.0149, name=POST)
    feed.send(prometheus)

    record = read_metrics(prometheus, feed.run, finished=True)

    assert list(record.phases) == ["blocked", "waiting"]
    assert record.phases["waiting"].mean == pytest.approx(0.01)
    assert record.phases["waiting"].p95 == pytest.approx(2**-7 * 2**0.95)
    assert record.iterations
    assert (record.iterations.count, record.iterations.mean) == (4, 1.5)
    assert record.iterations.p95 == pytest.approx(2**0.95)
    assert (record.bytes_sent, record.bytes_received) == (1000, 5000)
    [row] = record.operations
    assert (row.client_min, row.client_max) == (0.0081, 0.0149)
    assert (record.total.client_min, record.total.client_max) == (0.0081, 0.0149)
    assert row.client_p90 == pytest.approx(2**-7 * 2**0.9)
    assert row.over_limit_share == 0


def test_checks_that_failed_are_first(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests(POST, 10)
    for check, result, count in (
        ("a", "passed", 9),
        ("a", "failed", 0),
        ("it answers", "passed", 8),
        ("it answers", "failed", 1),
    ):
        feed.k6_gauge("k6_run_checks", count, check=check, result=result)
    feed.send(prometheus)

    record = read_metrics(prometheus, feed.run, finished=True)

    assert record.checks == [Check("it answers", 8, 1), Check("a", 9, 0)]


def test_errors_have_what_is_known_of_the_response(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests(POST, 10, 500)
    title = {"status": "500", "title": "Internal Server Error"}
    feed.k6_counter("k6_errors", 7, operation=POST, kind="status", **title)
    refused = {"status": "0", "error_code": "1212"}
    feed.k6_counter("k6_errors", 9, operation=POST, kind="no response", **refused)
    feed.errors(POST, "body", 1)
    feed.statements(POST, 7, sqlstate="P0001")
    feed.statements(POST, 80)
    feed.send(prometheus)

    record = read_metrics(prometheus, feed.run, finished=True)

    assert record.errors == [
        ErrorCount(POST, "no response", 9, 0, error_code=1212),
        ErrorCount(POST, "status", 7, 500, "Internal Server Error"),
        ErrorCount(POST, "body", 1),
    ]
    assert record.database_errors == [DatabaseError(POST, "P0001", 7)]


def test_what_nothing_measured_is_not_in_the_record(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    record = read_metrics(prometheus, run, finished=True)

    assert record.resources == []
    assert record.postgresql == PostgreSQL()
    assert (record.phases, record.checks, record.iterations) == ({}, [], None)
    assert (record.bytes_sent, record.bytes_received) == (None, None)
    assert (record.timeline.cpu, record.timeline.memory) == ({}, {})


def test_the_time_in_which_no_metrics_of_k6_arrived_is_stated(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100, seconds=90)
    feed.marks("load", ended=False)
    feed.requests(POST, 60)
    for second in range(10, 25, 5):
        feed.users(5, feed.ended - 90 + second)
    feed.send(prometheus)
    period = find_period(prometheus, feed.run)

    [sentence] = describe_disturbances(prometheus, feed.run, period)

    assert sentence.startswith("For 65 s of the run no metrics of k6 arrived")
