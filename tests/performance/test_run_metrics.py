"""The run's own metrics in Prometheus, and runs of several generators."""

import re
import secrets
import time

import pytest

from lab import slo
from lab.clients.prometheus import Prometheus
from lab.runs import k6, reader
from tests.support.fake_clinic import FakeClinic
from tests.support.k6 import (
    LIST_PETS,
    STEPS,
    THRESHOLDS_FAILED,
    Script,
    fail,
    fail_one_in_twenty,
    output_of,
    start_k6,
)

pytestmark = pytest.mark.stack


@pytest.fixture
def run_id() -> str:
    return f"20261123-{secrets.token_hex(8)}-smoke"


def environment(prometheus: Prometheus, run_id: str, url: str, **options: str) -> dict[str, str]:
    """Return k6's environment as `just` sets it, for a short run."""
    write = f"{prometheus.url}/api/v1/write"
    short = {"DURATION": "4s", "PROFILE": "smoke"} | options
    return short | k6.run_settings(run_id, short["PROFILE"], url, write, options)


def samples(prometheus: Prometheus, metric: str, run_id: str) -> list[tuple[dict[str, str], float]]:
    return prometheus.series(f'last_over_time({metric}{{testid="{run_id}"}}[10m])', time.time() + 5)


def test_passed_run_writes_its_times_tags_and_verdict(prometheus: Prometheus, run_id: str) -> None:
    with FakeClinic(server_timing="total;dur=1000, db;dur=500") as clinic:
        options = {"K6_TAGS": "env=qa,owner=me", "JOURNEY": "cancel", "CLEANUP": "1"}
        began = time.time()
        process = start_k6(settings=environment(prometheus, run_id, clinic.url, **options))
        output = output_of(process)

    assert process.returncode == 0, output
    period = reader.find_period(prometheus, run_id)
    assert began < period.started < period.ended < time.time()
    assert 3.5 < period.seconds < 30
    ((passed, verdict),) = samples(prometheus, "k6_run_passed", run_id)
    assert verdict == 1
    assert (passed["profile"], passed["journey"]) == ("smoke", "cancel")
    thresholds = samples(prometheus, "k6_run_threshold_passed", run_id)
    limited = 1 + len(set(STEPS["cancel"]))  # all requests and each operation
    assert len(thresholds) == 2 * limited + 1  # duration and failures of each, and the errors
    assert {value for _, value in thresholds} == {1}
    pauses, iterations, requests, server_seconds, database_seconds = (
        prometheus.number(
            f'sum({count}(last_over_time({metric}{{testid="{run_id}",scenario="smoke"}}[10m])))',
            time.time() + 5,
        )
        for metric, count in (
            ("k6_pause_lateness_seconds", "histogram_count"),
            ("k6_iterations_total", ""),
            ("k6_http_reqs_total", ""),
            ("k6_server_duration_seconds", "histogram_sum"),
            ("k6_database_duration_seconds", "histogram_sum"),
        )
    )
    assert pauses == iterations
    assert server_seconds == requests
    assert database_seconds == (requests or 0) / 2
    for tag in ('env!="qa"', 'owner!="me"'):
        untagged = f'count(last_over_time({{testid="{run_id}",{tag}}}[10m]))'
        assert prometheus.number(untagged, time.time() + 5) is None


def test_failed_run_names_the_failed_threshold(prometheus: Prometheus, run_id: str) -> None:
    with FakeClinic(override=fail_one_in_twenty(LIST_PETS)) as clinic:
        options = environment(prometheus, run_id, clinic.url, RATE="10")
        process = start_k6(settings=options)
        output = output_of(process)

    assert process.returncode == THRESHOLDS_FAILED, output
    assert [value for _, value in samples(prometheus, "k6_run_passed", run_id)] == [0]
    thresholds = samples(prometheus, "k6_run_threshold_passed", run_id)
    limit = slo.limits(LIST_PETS, "smoke").failed_share
    assert [(tags["metric"], tags["threshold"]) for tags, value in thresholds if not value] == [
        (f"http_req_failed{{name:{LIST_PETS}}}", f"rate<{limit}")
    ]


@pytest.mark.parametrize(
    ("offset", "warning", "sentence"),
    [
        (0, "", ""),
        (600, "600 s ahead of that of k6", "k6's clock is 600 s behind the API's"),
        (-600, "600 s behind that of k6", "k6's clock is 600 s ahead of the API's"),
    ],
)
def test_clocks_that_differ_are_said_at_the_start_and_in_the_report(
    prometheus: Prometheus, run_id: str, offset: int, warning: str, sentence: str
) -> None:
    def rounded(text: str) -> str:
        return re.sub(r"\b(59\d|60\d) s\b", "600 s", text)

    with FakeClinic(clock_offset=offset) as clinic:
        process = start_k6(settings=environment(prometheus, run_id, clinic.url, DURATION="2s"))
        output = output_of(process)

    assert warning in rounded(output)
    assert ("Synchronise the clocks" in output) == bool(warning)
    period = reader.find_period(prometheus, run_id)
    said = reader.describe_disturbances(prometheus, run_id, period)
    assert [rounded(text).startswith(sentence) for text in said] == ([True] if sentence else [])


def verdict_of(prometheus: Prometheus, run_id: str) -> tuple[str, str]:
    record = reader.read_metrics(prometheus, run_id, finished=True)
    return record.verdict, record.verdict_reason


def test_the_value_that_k6_compared_with_a_threshold_is_written(
    prometheus: Prometheus, run_id: str
) -> None:
    with FakeClinic(override=fail_one_in_twenty(LIST_PETS)) as clinic:
        process = start_k6(settings=environment(prometheus, run_id, clinic.url, RATE="10"))
        output = output_of(process)

    record = reader.read_metrics(prometheus, run_id, finished=True)
    [failed] = [threshold for threshold in record.thresholds if not threshold.passed]
    assert failed.reached is not None
    assert failed.reached == pytest.approx(2 / 40, abs=0.03)
    durations = [one.reached for one in record.thresholds if one.threshold.startswith("p(95)")]
    printed = re.findall(r"' p\(95\)=([\d.]+)(ms|µs)", output)
    milliseconds = [float(number) / (1 if unit == "ms" else 1000) for number, unit in printed]
    assert sorted(filter(None, durations)) == pytest.approx(sorted(milliseconds), rel=0.01)


def test_a_run_without_thresholds_has_no_verdict(prometheus: Prometheus, run_id: str) -> None:
    with FakeClinic() as clinic:
        settings = environment(prometheus, run_id, clinic.url)
        output_of(start_k6("--no-thresholds", settings=settings))

    assert verdict_of(prometheus, run_id) == ("none", "no_thresholds")


def test_an_output_on_the_command_line_has_a_verdict(prometheus: Prometheus, run_id: str) -> None:
    """And the load that k6's own options set is recorded, with the thresholds of the profile."""
    with FakeClinic() as clinic:
        settings = environment(prometheus, run_id, clinic.url) | {"K6_OUT": ""}
        options = ("-o", "experimental-prometheus-rw", "--vus", "2", "--duration", "5s")
        output = output_of(start_k6(*options, settings=settings))
        sent = len(clinic.load)

    record = reader.read_metrics(prometheus, run_id, finished=True)
    assert (record.verdict, record.verdict_reason) == ("passed", ""), output
    assert (record.profile, record.planned, record.total.requests) == ("custom", 5, sent)
    assert "custom, book; 2 virtual users for 5 s (k6's own options; the thresholds of smoke)" in (
        output
    )
    [p95] = [
        threshold.reached
        for threshold in record.thresholds
        if threshold.metric == "http_req_duration{scenario:smoke}"
    ]
    assert p95


def test_fewer_iterations_than_asked_for_are_an_interrupted_run(
    prometheus: Prometheus, run_id: str
) -> None:
    with FakeClinic(override=lambda _: time.sleep(0.1)) as clinic:
        settings = environment(prometheus, run_id, clinic.url)
        process = start_k6("--iterations", "1000", settings=settings)
        time.sleep(4)
        process.send_signal(2)
        output_of(process)

    assert verdict_of(prometheus, run_id) == ("aborted", "interrupted")


def test_limits_of_every_request_hold_for_a_load_of_k6s_own_options(script: Script) -> None:
    with FakeClinic(override=fail(LIST_PETS, (500, {}))) as clinic:
        outcome = script.iterations(20, clinic)

    assert outcome.status == THRESHOLDS_FAILED
    assert "http_req_failed{scenario:load}" in outcome.failed_thresholds()
    assert set(outcome.tags("http_req_failed", "scenario")) == {"load"}


def test_interrupted_run_shows_its_planned_and_actual_length(
    prometheus: Prometheus, run_id: str
) -> None:
    with FakeClinic() as clinic:
        process = start_k6(settings=environment(prometheus, run_id, clinic.url, DURATION="60s"))
        time.sleep(4)
        process.send_signal(2)
        output_of(process)

    assert [value for _, value in samples(prometheus, "k6_run_planned_seconds", run_id)] == [60]
    assert reader.find_period(prometheus, run_id).seconds < 50


def test_unreachable_prometheus_does_not_change_the_exit_code(script: Script) -> None:
    with FakeClinic() as clinic:
        nowhere = "http://127.0.0.1:1/api/v1/write"
        outcome = script.iterations(
            1, clinic, K6_OUT="experimental-prometheus-rw", K6_PROMETHEUS_RW_SERVER_URL=nowhere
        )

    assert outcome.status == 0
    assert "verdict was not written to Prometheus" in outcome.output


def test_counts_and_histograms_of_two_generators_add_up(
    prometheus: Prometheus, run_id: str
) -> None:
    with (
        FakeClinic() as fast,
        FakeClinic(override=lambda _: time.sleep(0.1)) as slow,
    ):
        generators = ((fast, "a", "6"), (slow, "b", "2"))
        processes = [
            start_k6(
                settings=environment(prometheus, run_id, clinic.url, GENERATOR=name, RATE=rate)
            )
            for clinic, name, rate in generators
        ]
        for process in processes:
            output = output_of(process)
            assert process.returncode in {0, THRESHOLDS_FAILED}, output
        sent = len(fast.load) + len(slow.load)

    total = reader.read_metrics(prometheus, run_id).total
    assert total.requests == sent
    # A quarter of the requests takes 100 ms: p95 is one of these, the median is not.
    assert total.client_p95 is not None
    assert total.client_p50 is not None
    assert total.client_p50 < 0.05
    assert 0.095 < total.client_p95 < 0.2


def test_credentials_are_sent_with_metrics_and_verdict(prometheus: Prometheus, run_id: str) -> None:
    with FakeClinic() as clinic, FakeClinic(override=lambda _: (200, {})) as cloud:
        options = {
            "K6_OUT": "experimental-prometheus-rw",
            "K6_PROMETHEUS_RW_SERVER_URL": f"{cloud.url}/api/prom/push",
            "K6_PROMETHEUS_RW_USERNAME": "123",
            "K6_PROMETHEUS_RW_PASSWORD": "glc_secret",
        }
        process = start_k6(settings=environment(prometheus, run_id, clinic.url, **options))
        output = output_of(process)

    assert process.returncode == 0, output
    pushes = [request for request in cloud.requests if request.path == "/api/prom/push"]
    assert len(pushes) >= 2
    assert {push.headers["authorization"] for push in pushes} == {"Basic MTIzOmdsY19zZWNyZXQ="}
