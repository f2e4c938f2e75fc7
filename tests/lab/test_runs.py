"""Runs: started by k6 against a fake API, and read from a real Prometheus with known series."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import click
import psutil
import pytest

from lab import slo
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.promql import load_run
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import RunSelector, Side
from lab.runs import k6
from lab.runs.reader import (
    describe_lag,
    describe_missing,
    find_period,
    read_completeness,
    read_metrics,
    wait_for_spans,
)
from lab.runs.record import Completeness, Verdict, VerdictReason
from lab.runs.run_list import UnknownRunError
from lab.runs.start import resolve_target
from lab.runs.verdict import Marks, judge
from lab.stack.config import StackConfig
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import Feed, feed_a_run, run_id
from tests.support.programs import NOWHERE, PROJECT, ask, command

stack = pytest.mark.stack

# Reading a run


@stack
def test_a_record_has_the_metrics_of_the_run(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    record = read_metrics(prometheus, run)

    assert record.period.seconds == pytest.approx(20, abs=0.01)
    operations = ["POST /owners", "GET /owners", "GET /zoo"]
    assert [row.operation for row in record.operations] == operations
    posts, gets, zoo = record.operations
    assert (posts.requests, gets.requests, zoo.requests) == (100, 1134, 40)
    assert posts.rate == pytest.approx(5, abs=0.01)
    assert posts.client_p95 == pytest.approx(2**-6 * 2**0.95)
    assert posts.server_p95 == pytest.approx(2**-6 * 2**0.5)
    assert posts.database_p95 == pytest.approx(2**-7 * 2**0.95)
    assert posts.failed_share == pytest.approx(0.03)
    assert gets.failed_share == 0
    assert (gets.server_p95, zoo.client_p95) == (None, None)
    assert record.total.requests == 1274
    assert record.total.failed_share == pytest.approx(3 / 1274)
    assert record.completeness == Completeness(1274, 0, 1271, 97, 0)
    assert record.completeness.missing == 3
    assert record.failed_statuses == [503]


@stack
def test_report_prints_the_table(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    # The first characters of the id are enough.
    report = ask(prometheus.url, NOWHERE, "report", run[:-1])

    assert report.returncode == 0, report.stderr
    assert f"Run {run}  " in report.stdout
    rows = [line.split() for line in report.stdout.splitlines()]
    assert ["POST", "/owners", "100", "5.0", "30.2", "22.1", "15.1", "3.00"] in rows
    assert ["GET", "/owners", "1,134", "56.7", "22.1", "-", "-", "0.00"] in rows
    assert ["All", "1,274", "63.7", "29.3", "22.1", "15.1", "0.24"] in rows
    assert "1,274 requests sent, 1,271 traced" in report.stdout
    assert "The traces of 3 of 1,274 requests are missing." in report.stdout
    assert f"The trace store does not answer at {NOWHERE}" in report.stdout


@stack
def test_unanswered_requests_need_no_span(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests("GET /owners", 10)
    feed.requests("GET /owners", 2, 0)
    feed.spans("GET /owners", 10)
    feed.send(prometheus)

    completeness = read_metrics(prometheus, feed.run).completeness

    assert completeness == Completeness(12, 2, 10)
    assert completeness.missing == 0


@pytest.mark.parametrize(
    ("counts", "beginning"),
    [
        (Completeness(1005, 5, 1005), ""),
        (Completeness(1005, 5, 1000), "The traces of 0 to 5 of 1,005 requests are missing"),
        (Completeness(1005, 5, 996), "The traces of 4 to 9 of 1,005 requests are missing"),
        (Completeness(1005, 0, 996), "The traces of 9 of 1,005 requests are missing"),
    ],
)
def test_a_traced_request_without_a_response_hides_no_missing_trace(
    counts: Completeness, beginning: str
) -> None:
    sentences = describe_missing(counts)

    assert len(sentences) == bool(beginning)
    assert "".join(sentences).startswith(beginning)


def test_a_running_run_says_how_far_the_server_side_is_behind() -> None:
    assert describe_lag(6.4) == ["The server side is 6 s behind."]
    assert describe_lag(0.4) == []


@stack
def test_the_sides_of_a_timeline_are_those_that_the_responses_stated(
    prometheus: Prometheus,
) -> None:
    """Spans of the first seconds that arrive later do not move into a later interval."""
    feed = Feed(run_id(), time.time() - 100)
    first, last = feed.ended - feed.seconds + 4, feed.ended
    for at, slow in ((first, {-6: 100}), (last, {-6: 100, -3: 100})):
        feed.requests("GET /owners", sum(slow.values()), at=at)
        for metric in ("k6_http_req_duration", "k6_server_duration"):
            feed.client_seconds("GET /owners", slow, at=at, metric=metric)
    feed.span_seconds("GET /owners", {-6: 100}, at=first + 8)
    feed.send(prometheus)

    timeline = read_metrics(prometheus, feed.run).timeline

    assert timeline.server_p95 == timeline.client_p95
    assert [value is not None for value in timeline.server_p95] == [True, False, False, True]


@stack
def test_unknown_run_id_is_answered_with_similar_ones(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    report = ask(prometheus.url, NOWHERE, "report", f"{run}x")

    assert report.returncode == 1
    assert f"There is no run '{run}x'. Similar ids: {run}" in report.stderr


@stack
def test_reading_waits_for_the_last_spans(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time())
    feed.requests("GET /owners", 50)
    feed.spans("GET /owners", 30)
    feed.send(prometheus)
    period = find_period(prometheus, feed.run)
    traced: list[int] = []

    def send_late() -> None:
        time.sleep(1.5)
        feed.ended += 5
        feed.spans("GET /owners", 50)
        feed.send(prometheus)

    thread = threading.Thread(target=send_late)
    thread.start()
    wait_for_spans(prometheus, feed.run, period, lambda counts: traced.append(counts.traced))
    thread.join()

    assert traced[0] == 30
    assert read_completeness(prometheus, feed.run, period).missing == 0


@stack
def test_reading_waits_for_the_durations_of_spans(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 9)
    feed.requests("GET /owners", 50)
    feed.spans("GET /owners", 50)
    feed.span_seconds("GET /owners", {-6: 40}, at=feed.ended + 2)
    feed.send(prometheus)
    period = find_period(prometheus, feed.run)
    traced: list[int] = []

    wait_for_spans(prometheus, feed.run, period, lambda counts: traced.append(counts.traced), 5.0)

    assert set(traced) == {50}


@stack
@pytest.mark.parametrize(("age", "waits"), [(0, True), (300, False)])
def test_waiting_has_a_limit_and_only_new_runs_are_waited_for(
    prometheus: Prometheus, age: float, *, waits: bool
) -> None:
    feed = Feed(run_id(), time.time() - age)
    feed.requests("GET /owners", 50)
    feed.send(prometheus)
    period = find_period(prometheus, feed.run)
    traced: list[int] = []

    wait_for_spans(prometheus, feed.run, period, lambda counts: traced.append(counts.traced), 2.0)

    assert bool(traced) is waits


@stack
def test_a_run_without_samples_is_unknown(prometheus: Prometheus) -> None:
    with pytest.raises(UnknownRunError):
        find_period(prometheus, run_id("none"))


def test_report_without_prometheus_fails(tmp_path: Path) -> None:
    report = ask(NOWHERE, NOWHERE, "report", CLINIC_RESULTS_DIR=str(tmp_path))

    assert report.returncode == 1
    assert report.stderr.strip() == (
        f"Error: Prometheus does not answer at {NOWHERE}. Run `just up`."
    )


def test_another_program_is_not_taken_for_prometheus() -> None:
    with (
        FakeClinic() as other,
        Prometheus(other.url) as client,
        pytest.raises(PrometheusError, match=other.url),
    ):
        client.number("up", 0)


LONG_AGO, NOW = 100.0, 3.0


@pytest.mark.parametrize(
    ("verdict", "reason", "marks"),
    [
        ("passed", "", Marks(passed=1, started=0, ended=60, silent_for=LONG_AGO)),
        ("failed", "", Marks(passed=0, started=0, ended=20, missing=40, silent_for=LONG_AGO)),
        ("aborted", "interrupted", Marks(passed=1, started=0, ended=9, missing=51, silent_for=NOW)),
        (
            *("aborted", "interrupted"),
            Marks(passed=1, started=0, ended=9, interrupted=1, silent_for=LONG_AGO),
        ),
        ("aborted", "killed", Marks(started=0, silent_for=LONG_AGO)),
        ("running", "", Marks(started=0, silent_for=NOW)),
        ("running", "", Marks(silent_for=NOW)),
        ("none", "no_thresholds", Marks(thresholds=0, started=0, ended=60, silent_for=LONG_AGO)),
        ("none", "not_reported", Marks(started=0, ended=60, silent_for=LONG_AGO)),
        ("none", "other_generator", Marks(silent_for=LONG_AGO)),
    ],
)
def test_verdict(verdict: Verdict, reason: VerdictReason, marks: Marks) -> None:
    assert judge(marks) == (verdict, reason)


# Starting a run


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PROFILE": "foo"}, "PROFILE is 'foo'; expected one of smoke, load, stress"),
        ({"PROFILE": "stress"}, "PROFILE is stress, but the command runs load: use `just stress`"),
        ({"JOURNEY": "foo"}, "Invalid value for '--journey'"),
        ({"K6_VUS": "7"}, "K6_VUS is set: it replaces the load of the profile"),
        ({"K6_STAGES": "1m:5"}, "K6_STAGES is set"),
        ({"K6_NO_THRESHOLDS": "true"}, "K6_NO_THRESHOLDS is set: the run would not be judged"),
        ({"K6_THRESHOLDS": "http_reqs:count>1"}, "K6_THRESHOLDS is set"),
        ({"K6_NO_SETUP": "1"}, "K6_NO_SETUP is set"),
        ({"K6_NO_TEARDOWN": "T"}, "K6_NO_TEARDOWN is set"),
        ({"K6_NO_SUMMARY": "true"}, "K6_NO_SUMMARY is set"),
        ({"K6_SUMMARY_MODE": "disabled"}, "K6_SUMMARY_MODE is disabled"),
        ({"K6_PAUSED": "true"}, "K6_PAUSED is set: k6 would wait forever"),
        ({"K6_LINGER": "True"}, "K6_LINGER is set: k6 would wait forever"),
        ({"K6_THROW": "yes"}, "K6_THROW is set"),
        ({"K6_INCLUDE_SYSTEM_ENV_VARS": "false"}, "K6_INCLUDE_SYSTEM_ENV_VARS is false"),
        ({"K6_SYSTEM_TAGS": "url,name"}, "K6_SYSTEM_TAGS lacks status, scenario, "),
        ({"K6_FEATURES": "native-histograms"}, "K6_FEATURES lacks merge-run-tags"),
        ({"K6_FEATURES": "merge-run-tags"}, "K6_FEATURES lacks native-histograms"),
        ({"K6_OUT": "json=a,experimental-prometheus-rw=https://b"}, "which k6 ignores: set K6_PRO"),
        ({"RUN": "my run"}, "RUN is 'my run'; expected 1 to 64 of the characters"),
        ({"K6_TAGS": "testid=x"}, "K6_TAGS sets 'testid'"),
    ],
)
def test_wrong_settings_are_rejected_before_any_request(
    settings: dict[str, str], words: str
) -> None:
    with FakeClinic() as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "load", BASE_URL=clinic.url, **settings)

    assert answer.returncode in {1, 2}
    assert words in answer.stderr
    assert not clinic.requests


@pytest.mark.parametrize(
    "given",
    [
        {"K6_NO_THRESHOLDS": "false", "K6_PAUSED": "0", "K6_LINGER": ""},
        {"K6_SYSTEM_TAGS": f"url, {k6.default_settings()['K6_SYSTEM_TAGS']}"},
        {"K6_FEATURES": "merge-run-tags", "K6_PROMETHEUS_RW_SERVER_URL": "https://elsewhere"},
        {"K6_OUT": "experimental-prometheus-rw,json=samples.json", "K6_SUMMARY_MODE": "full"},
        {"K6_DISCARD_RESPONSE_BODIES": "true", "K6_RPS": "50", "K6_USER_AGENT": "me"},
        k6.default_settings(),
    ],
)
def test_variables_of_k6_that_a_run_allows_are_accepted(given: dict[str, str]) -> None:
    k6.check_variables(given)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://a?x=1"])
def test_a_target_without_a_scheme_is_not_called_remote(url: str) -> None:
    answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=url)

    assert answer.returncode == 1
    assert "BASE_URL is not an address such as http://localhost:8000" in answer.stderr


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://localhost:8123", True),
        ("http://LOCALHOST:8123//", True),
        ("http://127.0.0.1:8123/", True),
        ("http://127.1.2.3:8123", True),
        ("http://localhost:8124", False),
        ("http://localhost:8123/clinic", False),
        ("https://localhost:8123", False),
        ("http://localhost.example:8123", False),
    ],
)
def test_the_stacks_api_has_one_address_however_it_is_written(url: str, *, own: bool) -> None:
    config = StackConfig(Path("/nonexistent"), clinic_port=8123)

    assert (resolve_target(config, url) == config.api_url) == own


def test_an_api_that_is_not_ready_gets_no_load() -> None:
    with FakeClinic(ready=503) as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url)

    assert answer.returncode == 1
    assert "GET /readyz returned 503, expected 200" in answer.stderr
    assert not clinic.load


@pytest.mark.parametrize(
    ("confirmed", "words"),
    [
        ("", "Set CONFIRM_TARGET=1"),
        ("1", "The API does not answer at http://clinic.invalid:8000"),
    ],
)
def test_a_remote_target_must_be_confirmed(confirmed: str, words: str) -> None:
    target = "http://clinic.invalid:8000"

    answer = ask(*(NOWHERE, NOWHERE, "run", "smoke"), BASE_URL=target, CONFIRM_TARGET=confirmed)

    assert answer.returncode == 1
    assert words in answer.stderr


@stack
def test_a_used_run_id_is_rejected(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)
    with FakeClinic() as clinic:
        answer = ask(prometheus.url, NOWHERE, "run", "smoke", BASE_URL=clinic.url, RUN=run)

    assert answer.returncode == 1
    assert f"Prometheus already has a run {run}" in answer.stderr
    assert not clinic.load


@stack
def test_no_load_is_sent_without_prometheus() -> None:
    with FakeClinic() as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url)

    assert answer.returncode == 1
    assert "Prometheus does not answer" in answer.stderr
    assert not clinic.load


@stack
def test_metrics_for_another_prometheus_need_no_local_one() -> None:
    with FakeClinic() as clinic, FakeClinic(override=lambda _: (200, {})) as cloud:
        answer = ask(
            *(NOWHERE, NOWHERE, "run", "smoke"),
            BASE_URL=clinic.url,
            DURATION="3s",
            RUN="by-hand",
            K6_TAGS="env=qa,owner=me",
            K6_OUT="experimental-prometheus-rw",
            K6_PROMETHEUS_RW_SERVER_URL=f"{cloud.url}/api/prom/push?key=secret",
        )

    assert answer.returncode == 0, answer.stderr
    assert f"Its metrics went to {cloud.url}, not to the stack's" in answer.stdout
    assert "Completeness" not in answer.stdout
    assert [request for request in cloud.requests if request.path == "/api/prom/push?key=secret"]
    assert "k6.test_run_id=by-hand,k6.scenario=smoke" in clinic.load[0].headers["baggage"]


def interrupt(clinic: FakeClinic, words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Press Ctrl-C once each operation has been sent, and again while the run waits for spans."""
    process = subprocess.Popen(
        words,
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = ""
    while " against " not in output and (line := process.stdout.readline()):
        output += line
    time.sleep(5)  # until the generator's process is measured
    while not {request.operation for request in clinic.load} >= {*slo.OPERATIONS[:6]}:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in its foreground
    while "k6 ended with" not in output and (line := process.stdout.readline()):
        output += line
    with suppress(psutil.NoSuchProcess):
        while process.poll() is None and not psutil.Process(process.pid).net_connections():
            time.sleep(0.1)  # until it reads the run
    time.sleep(2)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, output + rest


@stack
def test_ctrl_c_ends_a_run_with_its_summary_and_its_report(prometheus: Prometheus) -> None:
    with FakeClinic() as clinic:
        words, environment = command(prometheus.url, NOWHERE, "run", "smoke", BASE_URL=clinic.url)
        status, output = interrupt(clinic, words, environment)
        sent = len(clinic.load)

    assert status == k6.INTERRUPTED
    assert "http_req_duration" in output
    assert "k6 ended with status 105: the run was interrupted." in output
    assert f"{sent} requests sent, 0 traced" in output
    assert all(f"\n {name} " in output for name in slo.OPERATIONS[:6])
    assert "Traceback" not in output
    run_id = output.split()[output.split().index("Run") + 1]
    generator = f'{{__name__=~"(k6_process|machine)_.+",testid="{run_id}",job="k6-process"}}'
    measured = prometheus.by_label(f"last_over_time({generator}[1m])", "__name__", time.time() + 1)
    assert measured["k6_process_cpu_time_seconds_total"] > 0
    assert measured["machine_cpus"] >= 1


@stack
def test_a_run_without_prometheus_prints_only_k6s_summary() -> None:
    with FakeClinic() as clinic:
        words, environment = command(
            NOWHERE, NOWHERE, "run", "smoke", "--without-prometheus", BASE_URL=clinic.url
        )
        status, output = interrupt(clinic, words, environment)

    assert status == k6.INTERRUPTED
    assert "http_req_duration" in output
    assert "Completeness" not in output
    assert "Prometheus" not in output


# k6's settings and status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "all thresholds passed"),
        (99, "a threshold failed"),
        (-9, "SIGKILL"),
        (42, "status 42"),
    ],
)
def test_exit_status_is_explained(status: int, words: str) -> None:
    assert words in k6.describe_status(status)


@pytest.mark.parametrize("tags", ["env=qa, owner=me", "env:qa,owner:me", "env=qa,,owner = me"])
def test_tags_are_accepted_in_either_form(tags: str) -> None:
    assert k6.parse_tags(tags) == {"env": "qa", "owner": "me"}
    settings = k6.run_settings("r", "smoke", "http://clinic", None, {"K6_TAGS": tags})
    assert settings["K6_TAGS"] == "env:qa,owner:me"


@pytest.mark.parametrize("tags", ["env", "env=a:b", "2nd=x", "testid=x", "__name__=x"])
def test_tags_that_cannot_be_labels_are_rejected(tags: str) -> None:
    with pytest.raises(click.ClickException, match="K6_TAGS"):
        k6.parse_tags(tags)


STACK_URL = "http://127.0.0.1:9090/api/v1/write"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, STACK_URL),
        ({"K6_OUT": "experimental-prometheus-rw"}, STACK_URL),
        ({"K6_OUT": "json=a.json,experimental-prometheus-rw"}, STACK_URL),
        ({"K6_PROMETHEUS_RW_SERVER_URL": "https://cloud/push"}, "https://cloud/push"),
        ({"K6_OUT": "json=a.json"}, None),
        ({"K6_OUT": "cloud", "K6_PROMETHEUS_RW_SERVER_URL": "https://cloud/push"}, None),
    ],
)
def test_given_outputs_override_the_defaults(given: dict[str, str], url: str | None) -> None:
    assert k6.remote_write_url(given, STACK_URL) == url
    settings = k6.run_settings("r", "smoke", "http://clinic", url, given)
    assert all(settings[name] == value for name, value in given.items() if name in settings)
    assert settings.get("K6_PROMETHEUS_RW_SERVER_URL") == url


def test_defaults_come_from_k6_env() -> None:
    settings = k6.run_settings("r", "smoke", "http://clinic", STACK_URL, {})

    assert settings["K6_OUT"] == "experimental-prometheus-rw"
    assert "native-histograms" in settings["K6_FEATURES"].split(",")
    assert settings["K6_PROMETHEUS_RW_PUSH_INTERVAL"] == f"{PUSH_SECONDS}s"
    assert settings["RUN_ID"] == "r"


def test_a_run_without_prometheus_has_no_output() -> None:
    assert k6.run_settings("r", "smoke", "http://clinic", None, {})["K6_OUT"] == ""


@stack
def test_a_histogram_that_loses_resolution_has_not_restarted(prometheus: Prometheus) -> None:
    """Prometheus counts a reset when an exponential histogram halves its resolution."""
    ended = time.time() - 30
    feed = Feed(run_id(), ended)
    feed.spans("GET /owners", 30)
    feed.send(prometheus)
    steps = (
        (-15, {-900: 5, -899: 5}, 8),
        (-10, {-450: 10, -449: 5}, 7),
        (-5, {-113: 10, -112: 15}, 5),
        (0, {-113: 10, -112: 20}, 5),
    )
    for seconds, buckets, scale in steps:
        feed.span_seconds("GET /owners", buckets, at=ended + seconds, scale=scale)
        feed.send(prometheus)
    run = RunSelector(feed.run, "10m")
    count = f"histogram_count({load_run.span_durations(Side.SERVER, run)})"

    assert prometheus.number(count, time.time()) == 30
