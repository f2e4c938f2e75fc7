"""What a run says of itself in Prometheus, and how its generators add up."""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.clients.prometheus import Prometheus
from lab.promql import load_run, run_list
from lab.promql.selectors import THRESHOLD_PASSED, RunList, RunSelector
from lab.runs import reader, start
from lab.stack.ports import free as free_port
from lab.stack.programs import find
from tests.support.fake_clinic import Asked, StandIn
from tests.support.k6 import BOOK, THRESHOLD_CROSSED, Script, one_in_twenty, stated
from tests.support.programs import running

pytestmark = pytest.mark.stack


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").touch()
    url = f"http://127.0.0.1:{free_port()}"
    words: list[str | Path] = [
        find("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--web.enable-remote-write-receiver",
    ]
    with running(words, folder / "log", f"{url}/-/ready"), Prometheus(url) as client:
        yield client


def run_id(profile: str = "smoke") -> str:
    return f"20261123-{secrets.randbelow(10**6):06d}-{profile}-{secrets.token_hex(4)}"


def told(prometheus: Prometheus, run: str, url: str, **settings: str) -> dict[str, str]:
    """Make k6's environment as the wrapper does."""
    write = f"{prometheus.url}/api/v1/write"
    short = {"DURATION": "4s", "PROFILE": "smoke"} | settings
    return short | start.k6_settings(run, short["PROFILE"], url, write, settings)


def run_k6(settings: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [find("k6"), "run", "--quiet", start.SCRIPT],
        env={"PATH": "/usr/bin:/bin", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_k6_itself_says_when_a_run_was_and_that_it_held(prometheus: Prometheus) -> None:
    run = run_id()
    began = time.time()
    with StandIn() as clinic:
        tags = {"K6_TAGS": "env=qa,owner=me", "JOURNEY": "cancel", "CLEANUP": "1"}
        process = run_k6(told(prometheus, run, clinic.url, **tags))
        said, _ = process.communicate(timeout=60)
    now = time.time() + 5

    assert process.returncode == 0, said
    period = reader.period_of(prometheus, run)
    assert began < period.started < period.ended < now
    assert 3.5 < period.seconds < 6
    for label, value in (("profile", "smoke"), ("journey", "cancel"), ("testid", run)):
        passed = load_run.passed(RunList("10m"), label)
        assert prometheus.by_label(passed, label, now)[value] == 1
    assert not prometheus.by_label(run_list.missing_seconds(RunList("10m")), "testid", now)
    assert (
        prometheus.number(f'count(last_over_time({{testid="{run}",env!="qa"}}[10m]))', now) is None
    )
    assert (
        prometheus.number(f'count(last_over_time({{testid="{run}",owner!="me"}}[10m]))', now)
        is None
    )
    every = f'count(last_over_time({THRESHOLD_PASSED}{{testid="{run}"}}[10m]))'
    assert prometheus.number(every, now) == len(stated("smoke", "cancel"))


def test_the_verdict_names_what_was_crossed(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn(override=one_in_twenty(BOOK[4])) as clinic:
        process = run_k6(told(prometheus, run, clinic.url, RATE="10"))
        said, _ = process.communicate(timeout=60)
    now = time.time() + 5

    assert process.returncode == THRESHOLD_CROSSED, said
    assert prometheus.number(load_run.passed(RunSelector(run, "10m")), now) == 0
    thresholds = prometheus.by_label(load_run.thresholds(RunSelector(run, "10m")), "metric", now)
    assert {metric for metric, passed in thresholds.items() if not passed} == {
        f"http_req_failed{{name:{BOOK[4]}}}"
    }


def test_a_run_that_is_broken_off_says_so(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn() as clinic:
        process = run_k6(told(prometheus, run, clinic.url, DURATION="60s"))
        time.sleep(4)
        process.send_signal(2)
        process.communicate(timeout=60)
    now = time.time() + 5

    missing = prometheus.by_label(run_list.missing_seconds(RunList("10m")), "testid", now)
    assert 50 < missing[run] < 60


def test_a_verdict_that_cannot_be_written_is_said_and_changes_nothing(script: Script) -> None:
    with StandIn() as clinic:
        nowhere = "http://127.0.0.1:1/api/v1/write"
        outcome = script.iterations(
            1, clinic, K6_OUT="experimental-prometheus-rw", K6_PROMETHEUS_RW_SERVER_URL=nowhere
        )

    assert outcome.status == 0
    assert "The run's verdict is not in Prometheus" in outcome.said


def test_two_generators_of_one_run_add_up(prometheus: Prometheus) -> None:
    run = run_id("load")

    def slower(_: Asked) -> None:
        time.sleep(0.1)

    with StandIn() as quick, StandIn(override=slower) as slow_one:
        processes = [
            run_k6(told(prometheus, run, clinic.url, GENERATOR=name, RATE=rate))
            for clinic, name, rate in ((quick, "a", "6"), (slow_one, "b", "2"))
        ]
        for process in processes:
            said, _ = process.communicate(timeout=60)
            assert process.returncode in {0, THRESHOLD_CROSSED}, said
        sent = len(quick.load) + len(slow_one.load)
        emails = [
            a.body["email"]
            for c in (quick, slow_one)
            for a in c.load
            if a.path == "/owners" and a.body
        ]

    period = reader.period_of(prometheus, run)
    of_run = reader.read_record(prometheus, run, period)
    assert of_run.total.requests == sent
    assert len(set(emails)) == len(emails)
    # A quarter of the requests takes 100 ms, so the 95th of 100 does, and the median does not.
    median = prometheus.number(
        load_run.client_quantile(0.5, RunSelector(run, period.window)), period.read_at
    )
    assert of_run.total.client_p95 is not None
    assert 0.095 < of_run.total.client_p95 < 0.13
    assert median is not None
    assert median < 0.05


def test_remote_write_carries_a_password(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn() as clinic, StandIn(override=lambda _: (200, {})) as cloud:
        settings = {
            "K6_OUT": "experimental-prometheus-rw",
            "K6_PROMETHEUS_RW_SERVER_URL": f"{cloud.url}/api/prom/push",
            "K6_PROMETHEUS_RW_USERNAME": "123",
            "K6_PROMETHEUS_RW_PASSWORD": "glc_secret",
        }
        process = run_k6(told(prometheus, run, clinic.url, **settings))
        said, _ = process.communicate(timeout=60)
        pushes = [asked for asked in cloud.asked if asked.path == "/api/prom/push"]

    assert process.returncode == 0, said
    assert len(pushes) >= 2
    assert {push.headers["authorization"] for push in pushes} == {"Basic MTIzOmdsY19zZWNyZXQ="}
    assert re.search(r"thresholds|THRESHOLDS", said)
    assert json.dumps(settings)
