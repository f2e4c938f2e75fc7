"""A run read back from a real Prometheus that was fed known series."""

import os
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path

import click
import pytest

from lab.clients.prometheus import Prometheus, PrometheusError
from lab.runs import start
from lab.runs.reader import (
    FLOW,
    UnknownRunError,
    newest_run,
    period_of,
    read_completeness,
    read_record,
    wait_for_spans,
)
from lab.runs.timeline import PUSH_INTERVAL
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import Feed, feed_a_run, run_id
from tests.support.programs import NOWHERE, PROJECT, ask, command

stack = pytest.mark.stack


@stack
def test_a_runs_numbers_are_those_that_were_fed(prometheus: Prometheus) -> None:
    run = run_id()
    ended = time.time() - 100
    feed_a_run(prometheus, run, ended)

    period = period_of(prometheus, run)
    numbers = read_record(prometheus, run, period)

    assert period.seconds == pytest.approx(20, abs=0.01)
    assert [row.operation for row in numbers.operations] == [
        "POST /owners",
        "GET /owners",
        "GET /zoo",
    ]
    posts, gets, zoo = numbers.operations
    assert (posts.requests, gets.requests, zoo.requests) == (100, 1134, 40)
    assert posts.rate == pytest.approx(5, abs=0.01)
    assert posts.client_p95 == pytest.approx(2**-6 * 2**0.95)
    assert posts.server_p95 == pytest.approx(2**-6 * 2**0.5)
    assert posts.database_p95 == pytest.approx(2**-7 * 2**0.95)
    assert posts.failed_share == pytest.approx(0.03)
    assert gets.failed_share == 0
    assert (gets.server_p95, zoo.client_p95) == (None, None)
    assert numbers.total.requests == 1274
    assert numbers.total.failed_share == pytest.approx(3 / 1274)
    assert (
        numbers.completeness.sent,
        numbers.completeness.traced,
        numbers.completeness.missing,
    ) == (1274, 1271, 3)
    assert numbers.failed_statuses == [503]


@stack
def test_the_table_shows_them_in_the_order_of_the_flow(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    report = ask(prometheus.url, NOWHERE, "report", run)

    assert report.returncode == 0
    rows = [line.split() for line in report.stdout.splitlines()]
    assert ["POST", "/owners", "100", "5.0", "30.2", "22.1", "15.1", "3.00"] in rows
    assert ["GET", "/owners", "1,134", "56.7", "22.1", "-", "-", "0.00"] in rows
    assert ["All", "1,274", "63.7", "29.3", "22.1", "15.1", "0.24"] in rows
    assert "Completeness: 1,274 requests sent, 1,271 traced." in report.stdout
    assert "3 of 1,274 requests have no stored span." in report.stdout
    assert f"The trace store does not answer at {NOWHERE}: is the stack up?" in report.stderr


@stack
def test_a_request_without_an_answer_need_have_no_span(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time() - 100)
    feed.requests("GET /owners", 10)
    feed.requests("GET /owners", 2, 0)
    feed.spans("GET /owners", 10)
    feed.send(prometheus)

    completeness = read_completeness(prometheus, feed.run, period_of(prometheus, feed.run))

    assert (
        completeness.sent,
        completeness.unanswered,
        completeness.traced,
        completeness.missing,
    ) == (12, 2, 10, 0)


@stack
def test_an_unknown_run_is_answered_with_the_nearest(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    report = ask(prometheus.url, NOWHERE, "report", f"{run}x")

    assert report.returncode == 1
    assert f"Prometheus holds no run called '{run}x'. The nearest: {run}" in report.stderr
    assert "Traceback" not in report.stderr


@stack
def test_what_a_runs_id_begins_with_is_enough(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)

    report = ask(prometheus.url, NOWHERE, "report", run[:-1])

    assert report.returncode == 0, report.stderr
    assert f"Run {run}  " in report.stdout


@stack
def test_the_newest_run_is_the_one_with_the_latest_time_in_its_id(prometheus: Prometheus) -> None:
    for run in ("20991231-235958-load", "zzz-by-hand", "20991231-235959-smoke"):
        feed = Feed(run, time.time() - 100)
        feed.requests("GET /owners", 1)
        feed.send(prometheus)

    assert newest_run(prometheus) == "20991231-235959-smoke"


@stack
def test_a_run_is_waited_for_until_its_last_span(prometheus: Prometheus) -> None:
    feed = Feed(run_id(), time.time())
    feed.requests("GET /owners", 50)
    feed.spans("GET /owners", 30)
    feed.send(prometheus)
    period = period_of(prometheus, feed.run)
    seen: list[int] = []

    def late() -> None:
        time.sleep(1.5)
        feed.ended += 5
        feed.spans("GET /owners", 50)
        feed.send(prometheus)

    thread = threading.Thread(target=late)
    thread.start()
    began = time.monotonic()
    wait_for_spans(
        prometheus, feed.run, period, lambda completeness: seen.append(completeness.traced)
    )
    took = time.monotonic() - began
    thread.join()

    assert 1 < took < 10
    assert seen[0] == 30
    assert read_completeness(prometheus, feed.run, period).missing == 0


@stack
def test_waiting_has_a_limit_and_a_run_of_old_is_not_waited_for(prometheus: Prometheus) -> None:
    began = time.monotonic()
    for ago, limit in ((0, 2.0), (300, 30.0)):
        feed = Feed(run_id(), time.time() - ago)
        feed.requests("GET /owners", 50)
        feed.send(prometheus)
        period = period_of(prometheus, feed.run)
        wait_for_spans(prometheus, feed.run, period, lambda _: None, limit)

    assert 1.5 < time.monotonic() - began < 8


def test_prometheus_away_is_one_sentence(tmp_path: Path) -> None:
    report = ask(NOWHERE, NOWHERE, "report", CLINIC_RESULTS_DIR=str(tmp_path))

    assert report.returncode == 1
    assert report.stderr.strip() == (
        f"Error: Prometheus does not answer at {NOWHERE}: is the stack up? `just up`"
    )


def test_what_is_no_prometheus_is_said() -> None:
    with (
        FakeClinic() as other,
        Prometheus(other.url) as client,
        pytest.raises(PrometheusError, match="not of the Prometheus API"),
    ):
        client.number("up", 0)


@stack
def test_an_empty_prometheus_is_said(prometheus: Prometheus) -> None:
    with pytest.raises(UnknownRunError, match=r"none called|called 'none"):
        period_of(prometheus, "none" + secrets.token_hex(8))


# Starting a run


def test_an_unready_clinic_gets_no_load() -> None:
    with FakeClinic(ready=503) as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url)

    assert answer.returncode == 1
    assert "is not ready (GET /readyz gave 503, expected 200)" in answer.stderr
    assert not clinic.load


def test_settings_that_would_replace_the_profile_are_refused() -> None:
    with FakeClinic() as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "load", BASE_URL=clinic.url, K6_VUS="7")

    assert answer.returncode == 1
    assert "K6_VUS in the environment would replace the profile's scenario" in answer.stderr
    assert not clinic.requests


def test_a_target_elsewhere_must_be_confirmed() -> None:
    answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL="http://clinic.invalid:8000")
    confirmed = ask(
        *(NOWHERE, NOWHERE, "run", "smoke"),
        BASE_URL="http://clinic.invalid:8000",
        CONFIRM_TARGET="1",
    )

    assert answer.returncode == confirmed.returncode == 1
    assert "is not this machine, and a load can bring it down" in answer.stderr
    assert "The clinic does not answer at http://clinic.invalid:8000" in confirmed.stderr


def test_a_run_id_by_hand_is_checked() -> None:
    with FakeClinic() as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url, RUN="my run")

    assert answer.returncode == 1
    assert "RUN is 'my run'; expected 1 to 64 of the characters" in answer.stderr
    assert not clinic.requests


@stack
def test_a_run_id_that_was_used_is_refused(prometheus: Prometheus) -> None:
    run = run_id()
    feed_a_run(prometheus, run, time.time() - 100)
    with FakeClinic() as clinic:
        answer = ask(prometheus.url, NOWHERE, "run", "smoke", BASE_URL=clinic.url, RUN=run)

    assert answer.returncode == 1
    assert f"Prometheus already holds a run called {run}" in answer.stderr
    assert not clinic.load


@stack
def test_numbers_sent_elsewhere_need_nothing_local() -> None:
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
    assert f"Its numbers went to {cloud.url}/api/prom/push, not to the stack's" in answer.stdout
    assert "Completeness" not in answer.stdout
    assert [request for request in cloud.requests if request.path == "/api/prom/push?key=secret"]
    assert "k6.test_run_id=by-hand,k6.scenario=smoke" in clinic.load[0].headers["baggage"]


@stack
def test_no_load_is_sent_while_prometheus_is_away() -> None:
    with FakeClinic() as clinic:
        answer = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url)

    assert answer.returncode == 1
    assert "Prometheus does not answer" in answer.stderr
    assert not clinic.load


def interrupted(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Press Ctrl-C on a run some seconds after its start, and again while it waits for spans."""
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
    said = ""
    while " against " not in said and (line := process.stdout.readline()):
        said += line
    time.sleep(5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in its foreground
    while "k6 ended with" not in said and (line := process.stdout.readline()):
        said += line
    time.sleep(2)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, said + rest


@stack
def test_ctrl_c_ends_a_run_with_its_summary_and_its_table(prometheus: Prometheus) -> None:
    with FakeClinic() as clinic:
        words, environment = command(prometheus.url, NOWHERE, "run", "smoke", BASE_URL=clinic.url)
        status, said = interrupted(words, environment)
        sent = len(clinic.load)

    assert status == start.INTERRUPTED
    assert "http_req_duration" in said
    assert "k6 ended with status 105: the run was interrupted." in said
    assert f"Completeness: {sent} requests sent, 0 traced." in said
    assert all(f"\n {name} " in said for name in FLOW[:6])
    assert "Traceback" not in said


@stack
def test_a_run_without_prometheus_is_k6s_summary_alone() -> None:
    with FakeClinic() as clinic:
        words, environment = command(
            NOWHERE, NOWHERE, "run", "smoke", "--without-prometheus", BASE_URL=clinic.url
        )
        status, said = interrupted(words, environment)

    assert status == start.INTERRUPTED
    assert "http_req_duration" in said
    assert "Completeness" not in said
    assert "Prometheus" not in said


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "every threshold held"),
        (99, "a threshold was crossed"),
        (-9, "SIGKILL"),
        (42, "status 42"),
    ],
)
def test_k6s_status_is_said_in_words(status: int, words: str) -> None:
    assert words in start.say_status(status)


@pytest.mark.parametrize("tags", ["env=qa, owner=me", "env:qa,owner:me", "env=qa,,owner = me"])
def test_tags_are_labels_in_either_form(tags: str) -> None:
    assert start.labels(tags) == {"env": "qa", "owner": "me"}
    given = start.k6_settings("r", "smoke", "http://clinic", None, {"K6_TAGS": tags})
    assert given["K6_TAGS"] == "env:qa,owner:me"


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ("env", "expected names and values such as env=qa,owner=me"),
        ("env=a:b", "without colons in a value"),
        ("2nd=x", "expected names and values"),
        ("testid=x", "a label that the run's own numbers carry"),
        ("__name__=x", "a label that the run's own numbers carry"),
    ],
)
def test_tags_that_cannot_be_labels_are_refused(tags: str, sentence: str) -> None:
    with pytest.raises(click.ClickException, match=sentence):
        start.labels(tags)


BUNDLES = "http://127.0.0.1:9090/api/v1/write"


@pytest.mark.parametrize(
    ("given", "goes_to"),
    [
        ({}, BUNDLES),
        ({"K6_OUT": "experimental-prometheus-rw"}, BUNDLES),
        ({"K6_OUT": "json=a.json,experimental-prometheus-rw"}, BUNDLES),
        ({"K6_PROMETHEUS_RW_SERVER_URL": "https://cloud/push"}, "https://cloud/push"),
        ({"K6_OUT": "json=a.json"}, None),
        ({"K6_OUT": "cloud", "K6_PROMETHEUS_RW_SERVER_URL": "https://cloud/push"}, None),
    ],
)
def test_what_the_user_says_of_outputs_wins(given: dict[str, str], goes_to: str | None) -> None:
    assert start.remote_write(given, BUNDLES) == goes_to
    told = start.k6_settings("r", "smoke", "http://clinic", goes_to, given)
    assert all(told[name] == value for name, value in given.items() if name in told)
    assert told.get("K6_PROMETHEUS_RW_SERVER_URL") == goes_to


def test_where_numbers_went_is_said_without_a_password() -> None:
    url = "https://123:glc_secret@prometheus.example.net/api/prom/push"
    told = start.k6_settings("r", "smoke", "http://clinic", url, {})

    assert start.place(told) == "https://prometheus.example.net/api/prom/push"
    assert start.place({"K6_OUT": "json=a.json"}) == "json=a.json"


def test_k6_gets_the_settings_of_k6_env_and_the_address() -> None:
    settings = start.k6_settings(
        "r", "smoke", "http://clinic", "http://prometheus/api/v1/write", {}
    )

    assert settings["K6_OUT"] == "experimental-prometheus-rw"
    assert "native-histograms" in settings["K6_FEATURES"].split(",")
    assert settings["K6_PROMETHEUS_RW_PUSH_INTERVAL"] == f"{PUSH_INTERVAL:.0f}s"
    assert settings["RUN_ID"] == "r"


def test_a_run_without_prometheus_has_no_output() -> None:
    assert start.k6_settings("r", "smoke", "http://clinic", None, {})["K6_OUT"] == ""
