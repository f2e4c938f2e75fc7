"""The record and the page of a run, read from a real Prometheus with known series."""

import json
import time
from pathlib import Path

import msgspec
import pytest

from lab.clients.prometheus import Prometheus
from lab.findings.nearest_limit import Interval, find_nearest_limit, operation_points
from lab.findings.summary import find
from lab.promql import load_run
from lab.promql.selectors import OPERATION, RunSelector
from lab.reports import run_html
from lab.reports.run_report import report as write_report
from lab.runs import reader, record
from lab.runs.record import Environment, Machine, Record
from lab.runs.run_list import UnknownRunError
from lab.stack.config import StackConfig
from tests.support.fake_series import Feed, run_id
from tests.support.html import Elements
from tests.support.programs import NOWHERE, ask, results

stack = pytest.mark.stack

SLOW, FINE = "POST /owners", "GET /owners"
# Buckets from 1/64 s to 1/32 s, and from 1/2 s to 1 s.
FAST_BUCKET, SLOW_BUCKET = -6, -1
FAILED_THRESHOLD = ("http_req_duration{name:POST /owners}", "p(95)<300")
PASSED_THRESHOLD = ("http_req_failed{name:POST /owners}", "rate<0.01")


def feed_slowing_run(prometheus: Prometheus) -> Feed:
    """Feed a minute with ten requests of each operation a second, one slow from 35 s on."""
    feed = Feed(run_id("load"), time.time() - 200, seconds=60.0)
    started = feed.ended - feed.seconds
    for push in range(1, 13):
        at = started + 5 * push - 0.2
        done, slow = 50 * push, 50 * max(0, push - 7)
        feed.users(5, at)
        for name, sluggish in ((SLOW, slow), (FINE, 0)):
            feed.requests(name, done, 201 if name == SLOW else 200, at=at)
            buckets = {FAST_BUCKET: done - sluggish, SLOW_BUCKET: sluggish}
            total = 0.02 * (done - sluggish) + 0.8 * sluggish
            feed.client_seconds(name, {k: v for k, v in buckets.items() if v}, total, at)
            feed.span_seconds(
                name, {k: v for k, v in buckets.items() if v}, took=total * 0.9, at=at
            )
            feed.span_seconds(name, {FAST_BUCKET: done}, "CLIENT", total * 0.6, at)
    for name, status in ((SLOW, 201), (FINE, 200)):
        feed.spans(name, 600, status)
    feed.rows(SLOW, 598)
    feed.errors(SLOW, "slow", 7)
    feed.marks("load", thresholds={FAILED_THRESHOLD: False, PASSED_THRESHOLD: True})
    feed.send(prometheus)
    return feed


@pytest.fixture(scope="module")
def slowed(prometheus: Prometheus) -> Record:
    run = feed_slowing_run(prometheus).run
    return reader.read_metrics(prometheus, run)


@stack
def test_a_record_has_the_values_that_were_fed(slowed: Record) -> None:
    posts, gets = slowed.operations

    assert (slowed.profile, slowed.journey, slowed.planned) == ("load", "book", 60)
    assert slowed.period.seconds == pytest.approx(60)
    assert (posts.operation, posts.requests, gets.requests) == (SLOW, 600, 600)
    assert posts.client_p50 == pytest.approx(2**-6 * 2 ** (300 / 350))
    assert posts.client_p95 == pytest.approx(2**-1 * 2**0.88)
    assert posts.client_p99 == pytest.approx(2**-1 * 2**0.976)
    assert gets.client_p95 == pytest.approx(2**-6 * 2**0.95)
    # Only k6 and the trace store have sent metrics.
    assert posts.time_shares == {"api_pool": 0, "unknown": 1}
    assert slowed.bottleneck.cause == "unknown"
    assert (posts.limit_p95, gets.limit_p95) == (0.3, 0.2)
    assert slowed.total.client_p50 == pytest.approx(2**-6 * 2 ** (600 / 950))
    assert [(error.operation, error.kind, error.count) for error in slowed.errors] == [
        (SLOW, "slow", 7)
    ]


@stack
def test_the_timeline_adds_up_to_the_totals(slowed: Record) -> None:
    slow = operation_points(slowed, SLOW)

    assert slowed.timeline.at == [5.0 * number for number in range(1, 13)]
    assert slowed.timeline.rate == pytest.approx([20.0] * 12, rel=1e-3)
    assert slowed.timeline.virtual_users == pytest.approx([5] * 12)
    assert [point.requests for point in slow] == [50] * 12
    assert [point.mean for point in slow] == pytest.approx([0.02] * 7 + [0.8] * 5)
    assert slow[6].p95 == pytest.approx(2**-6 * 2**0.95)
    assert slow[7].p95 == pytest.approx(2**-1 * 2**0.95)
    fine = [point.p95 for point in operation_points(slowed, FINE)]
    assert fine == pytest.approx([2**-6 * 2**0.95] * 12)


@stack
def test_the_verdict_is_that_of_k6(slowed: Record) -> None:
    assert slowed.verdict == "failed"
    assert [(one.metric, one.threshold, one.passed) for one in slowed.thresholds] == [
        (*FAILED_THRESHOLD, False),
        (*PASSED_THRESHOLD, True),
    ]


@stack
def test_promised_rows_that_were_not_written_are_reported(slowed: Record) -> None:
    assert (slowed.completeness.created, slowed.completeness.rows_written) == (600, 598)
    [text] = reader.describe_missing(slowed.completeness)
    assert "600" in text
    assert "598" in text


@stack
def test_the_operation_nearest_its_limit_and_its_times_are_found(slowed: Record) -> None:
    nearest = find_nearest_limit(slowed)

    assert nearest is not None
    assert (nearest.stats.operation, nearest.main_part) == (SLOW, "unknown")
    assert (nearest.exceeded, nearest.until_end) == ([Interval(35, 60)], True)


@stack
def test_the_page_shows_the_same_values(slowed: Record) -> None:
    html = run_html.render(slowed, find(slowed))

    rows = Elements(html).table()
    assert [SLOW, "600", "10.0", "✗ 920", "300"] in [row[:5] for row in rows]
    durations = next(row for row in rows if row[0] == SLOW and "28.3" in row)
    assert {"28.3", "920", "984"} <= set(durations)
    assert [SLOW, "p95 < 300 ms", "✗ 920 ms"] in [row[:3] for row in rows]
    assert "✗ Failed: 1 of 2 thresholds" in html
    assert "from 0:35 until the end" in html
    assert "Exceeded its limit of 300 ms: 0:35-1:00." in html
    assert "598" in html
    assert "2 missing" in html


@stack
def test_just_report_writes_page_and_record(prometheus: Prometheus) -> None:
    run = feed_slowing_run(prometheus).run

    output = ask(prometheus.url, NOWHERE, "report", run)
    saved = record.load(Path(results()) / f"{run}.json")
    html = (Path(results()) / f"{run}.html").read_text()

    assert output.returncode == 0, output.stderr
    assert f"{results()}/{run}.html\n{results()}/{run}.json\n" in output.stdout
    assert saved.total.requests == 1200
    assert f"The trace store does not answer at {NOWHERE}" in saved.missing[-1]
    assert "The trace store does not answer" in html
    assert "No traces of this run." in html


@stack
def test_a_run_that_expired_from_prometheus_is_read_from_its_record(
    prometheus: Prometheus, slowed: Record
) -> None:
    saved = msgspec.structs.replace(slowed, run_id=run_id("saved"))
    path = Path(results()) / f"{saved.run_id}.json"
    path.write_bytes(msgspec.json.encode(saved))

    for url in (prometheus.url, NOWHERE):
        output = ask(url, NOWHERE, "report", saved.run_id)

        assert output.returncode == 0, output.stderr
        assert "This is the saved record of the run:" in output.stdout
        assert "POST /owners" in output.stdout
        assert path.with_suffix(".html").exists()
    assert record.load(path) == saved


@stack
def test_a_new_run_is_not_mistaken_for_one_whose_id_starts_alike(prometheus: Prometheus) -> None:
    feed = Feed(f"{run_id('load')}-2", time.time() - 100)
    feed.marks("load")
    feed.requests("GET /owners", 10)
    feed.send(prometheus)
    port = int(prometheus.url.rsplit(":", 1)[1])
    environment = Environment(
        target="",
        machine=Machine(cores=1, cpu="", platform="", memory=1),
        programs={},
        settings={},
        options={},
    )

    with pytest.raises(UnknownRunError):
        write_report(
            StackConfig(Path("/nonexistent"), prometheus_port=port),
            feed.run.removesuffix("-2"),
            environment,
        )


@stack
def test_a_running_run_is_reported_so_far(prometheus: Prometheus) -> None:
    feed = Feed(run_id("soak"), time.time() - 1)
    feed.requests(FINE, 100)
    feed.spans(FINE, 90)
    feed.marks("soak", ended=False, planned=3600)
    feed.send(prometheus)

    output = ask(prometheus.url, NOWHERE, "report", feed.run)
    html = (Path(results()) / f"{feed.run}.html").read_text()

    assert "The run is still running: this covers its first 0:20." in output.stdout
    assert "… Running" in html
    assert "10 not yet stored" in html
    assert "missing</small>" not in html


@stack
@pytest.mark.parametrize(("planned", "verdict"), [(20.0, "passed"), (60.0, "aborted")])
def test_a_run_that_ended_early_was_aborted(
    prometheus: Prometheus, planned: float, verdict: str
) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests(FINE, 100)
    feed.marks("load", planned=planned, thresholds={PASSED_THRESHOLD: True})
    feed.send(prometheus)

    assert reader.read_metrics(prometheus, feed.run).verdict == verdict


@stack
def test_a_run_of_one_generator_says_nothing_of_generators(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests(FINE, 100)
    feed.marks("load", ended=False)
    feed.send(prometheus)

    record = reader.read_metrics(prometheus, feed.run)

    assert (record.verdict, record.verdict_reason, record.generators) == ("aborted", "killed", [])
    assert reader.read_disagreement(prometheus, record) == []


@stack
def test_ten_thousand_operations_can_be_reported(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    for number in range(10_000):
        name = f"GET /made/up/{number}"
        feed.requests(name, 10 + number % 50)
        feed.client_seconds(name, {FAST_BUCKET: 10 + number % 50})
        feed.spans(name, 10 + number % 50)
        feed.span_seconds(name, {FAST_BUCKET: 10 + number % 50})
        feed.span_seconds(name, {FAST_BUCKET: 10 + number % 50}, "CLIENT")
        if number % 1000 == 999:
            feed.send(prometheus)

    output = ask(prometheus.url, NOWHERE, "report", feed.run)
    html = Path(results()) / f"{feed.run}.html"

    assert output.returncode == 0, output.stderr
    assert "… and 9,960 more" in output.stdout
    assert html.stat().st_size < 1_000_000
    assert "… and 9,960 more operations with fewer requests" in html.read_text()
    assert len(record.load(html.with_suffix(".json")).operations) == 10_000


@stack
def test_operations_are_selected_by_their_exact_names(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    hostile = 'GET /a.c"}{x}|(y)+[z]\\d'
    for name, count in ((hostile, 3), ("GET /abc", 5), (FINE, 7)):
        feed.requests(name, count)
    feed.send(prometheus)
    run = RunSelector(feed.run, "10m", operations=(hostile, FINE))

    counted = prometheus.by_label(load_run.requests(run, OPERATION), OPERATION, time.time())

    assert counted == {hostile: 3, FINE: 7}


def test_the_schema_of_a_record_is_printed() -> None:
    output = ask(NOWHERE, NOWHERE, "schema")

    schema = json.loads(output.stdout)
    assert set(schema["$defs"]["Record"]["properties"]) == set(Record.__struct_fields__)
