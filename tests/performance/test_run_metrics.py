"""The run's own metrics in Prometheus, and runs of several generators."""

import itertools
import json
import re
import secrets
import ssl
import time
from pathlib import Path

import pytest

from lab import slo
from lab.clients.prometheus import Prometheus
from lab.paths import PERFORMANCE
from lab.promql.load_run import ITERATIONS
from lab.runs import k6, reader
from tests.support.fake_clinic import FakeClinic
from tests.support.k6 import (
    ABORTED,
    LIST_PETS,
    SCRIPT_FAILED,
    STEPS,
    THRESHOLDS_FAILED,
    Script,
    fail,
    fail_one_in_twenty,
    output_of,
    start_k6,
)
from tests.support.protected import Certificate

pytestmark = pytest.mark.stack

# How long a clinic takes whose durations are spread.
SECONDS = [0.02 * 1.02**step for step in range(100)]


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


def test_the_verdict_has_the_tags_that_the_command_line_gives(
    prometheus: Prometheus, run_id: str
) -> None:
    with FakeClinic() as clinic:
        settings = environment(prometheus, run_id, clinic.url, DURATION="2s")
        process = start_k6("--tag", "env=qa", "--tag", "owner=me", settings=settings)
        output = output_of(process)
    assert process.returncode == 0, output

    ((passed, _),) = samples(prometheus, "k6_run_passed", run_id)
    assert {passed["env"], passed["owner"]} == {"qa", "me"}
    assert not [name for name in passed if name.startswith("k6_feature")]


def a_receiver(folder: Path, *, asks_for_a_certificate: bool) -> FakeClinic:
    """Return a receiver of remote write behind TLS, with a certificate that it has made."""
    made = Certificate.make(folder)
    context = made.server_context()
    if asks_for_a_certificate:
        context.load_verify_locations(made.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return FakeClinic(override=lambda _: (200, {}), tls=context)


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({}, ""),
        (
            {
                "K6_PROMETHEUS_RW_CLIENT_CERTIFICATE": "certificate.pem",
                "K6_PROMETHEUS_RW_CLIENT_CERTIFICATE_KEY": "key.pem",
            },
            "",
        ),
        (
            {"K6_PROMETHEUS_RW_INSECURE_SKIP_TLS_VERIFY": "true", "SSL_CERT_FILE": "/dev/null"},
            "Set SSL_CERT_FILE to the certificate of the receiver",
        ),
        (
            {
                "K6_PROMETHEUS_RW_SIGV4_REGION": "eu-west-1",
                "K6_PROMETHEUS_RW_SIGV4_ACCESS_KEY": "a",
                "K6_PROMETHEUS_RW_SIGV4_SECRET_KEY": "b",
            },
            "cannot sign requests for AWS",
        ),
    ],
    ids=["authority", "certificate", "no verification", "sigv4"],
)
def test_the_verdict_goes_where_the_metrics_go_or_the_run_says_that_it_cannot(
    tmp_path: Path, options: dict[str, str], warning: str
) -> None:
    asks = "K6_PROMETHEUS_RW_CLIENT_CERTIFICATE" in options
    with FakeClinic() as clinic, a_receiver(tmp_path, asks_for_a_certificate=asks) as receiver:
        url = f"{receiver.url}/write"
        settings = {"SSL_CERT_FILE": str(tmp_path / "certificate.pem"), **options}
        settings |= k6.run_settings("a-run", "smoke", clinic.url, url, {})
        paths = {name: str(tmp_path / path) for name, path in options.items() if ".pem" in path}
        process = start_k6(settings=settings | paths | {"DURATION": "2s"})
        output = output_of(process)

    assert process.returncode == 0, output
    assert "was not written" not in output
    assert warning in output
    senders = [request.headers["user-agent"] for request in receiver.requests]
    by_output = [sender for sender in senders if not sender.startswith("Grafana k6/")]
    assert len(by_output) == len(senders) - (not warning), senders


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"K6_DISCARD_RESPONSE_BODIES": "true"}, 0, ""),
        ({"K6_NO_SETUP": "true"}, ABORTED, "unset K6_NO_SETUP"),
        ({"K6_OUT": "experimental-prometheus-rw=https://x"}, SCRIPT_FAILED, "which k6 ignores"),
        ({"K6_TAGS": "operation:mine"}, ABORTED, "The tag operation is a label"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_variables_of_k6_are_honoured_or_refused_in_a_sentence(
    options: dict[str, str], status: int, words: str
) -> None:
    with FakeClinic() as clinic:
        settings = {"BASE_URL": clinic.url, "PROFILE": "smoke", "DURATION": "2s", **options}
        process = start_k6(settings=settings)
        output = output_of(process)

    assert process.returncode == status, output
    assert words in output
    assert bool(clinic.load) == (status == 0)


def test_the_script_and_just_reserve_the_same_tags() -> None:
    text = (PERFORMANCE / "lib" / "tags.js").read_text()
    words = "".join(re.findall(r"^  '(.*)'", text.partition("RESERVED =")[2], re.MULTILINE))

    assert set(words.split()) == k6.RESERVED_TAGS


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


def raw_durations(file: Path) -> list[float]:
    """Return the seconds of every request of the load, from k6's JSON output."""
    points = (json.loads(line) for line in file.read_text().splitlines())
    return [
        point["data"]["value"] / 1000
        for point in points
        if (point["type"], point["metric"]) == ("Point", "http_req_duration")
        and point["data"]["tags"].get("scenario")
    ]


def test_two_generators_are_judged_and_measured_as_one(
    prometheus: Prometheus, run_id: str, tmp_path: Path
) -> None:
    """A third of the requests is slow, all of them those of the smaller generator."""
    durations = itertools.cycle(SECONDS)
    with (
        FakeClinic() as sound,
        FakeClinic(override=lambda _: time.sleep(next(durations))) as slow,
    ):
        processes = []
        for clinic, name, rate in ((sound, "a", "6"), (slow, "b", "3")):
            settings = environment(prometheus, run_id, clinic.url, GENERATOR=name, RATE=rate)
            json_output = f"json={tmp_path / name}"
            outputs = ("--out", k6.REMOTE_WRITE, "--out", json_output)
            processes.append(start_k6(*outputs, settings=settings))
        for process in processes:
            output = output_of(process)
            assert process.returncode in {0, THRESHOLDS_FAILED}, output
        sent = [len(sound.load), len(slow.load)]

    record = reader.read_metrics(prometheus, run_id, finished=True)
    raw = sorted(raw_durations(tmp_path / "a") + raw_durations(tmp_path / "b"))
    total = record.total
    assert total.requests == len(raw) == sum(sent)
    assert [(one.name, one.requests) for one in record.generators] == [
        ("a", sent[0]),
        ("b", sent[1]),
    ]
    for quantile, reported in ((0.5, total.client_p50), (0.9, total.client_p90)):
        position = round(quantile * len(raw))
        assert reported is not None
        # A bucket is up to 9 % wide; the neighbours allow for how a quantile is defined.
        assert raw[position - 2] / 1.1 <= reported <= raw[position + 1] * 1.1
    reached = {one.metric: one.reached for one in record.thresholds}
    p95 = reached["http_req_duration{scenario:smoke}"]
    assert p95 is not None
    assert p95 / 1000 == pytest.approx(total.client_p95, rel=0.1)
    passed = all(one.passed for one in record.thresholds)
    assert (record.verdict, record.verdict_reason) == ("passed" if passed else "failed", "")


def test_a_generator_that_is_killed_makes_the_run_aborted(
    prometheus: Prometheus, run_id: str
) -> None:
    options = {"PROFILE": "stress", "DURATION": "15s", "VUS": "10"}
    with FakeClinic() as clinic:
        processes = [
            start_k6(
                *k6.segment_arguments(number, 2),
                settings=environment(
                    prometheus, run_id, clinic.url, GENERATOR=str(number), **options
                ),
            )
            for number in (1, 2)
        ]
        deadline = time.monotonic() + 60
        while not any(
            labels["instance"] == "2" for labels, _ in samples(prometheus, ITERATIONS, run_id)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        processes[1].kill()
        for process in processes:
            output_of(process)

    record = reader.read_metrics(prometheus, run_id, finished=True)
    first, second = record.generators
    assert (first.passed, second.passed) == (True, None)
    assert first.ended
    assert second.ended is None
    assert second.requests
    assert (record.verdict, record.verdict_reason) == ("aborted", "killed")
    assert all(threshold.passed for threshold in record.thresholds)
    [sentence] = reader.read_disagreement(prometheus, record)
    assert sentence.startswith("1 of 2 generators did not report the end (2)")


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
