"""Real runs compared: a planted slowdown is found, and equal runs are equal."""

import subprocess
import time

import pytest

from lab.clients.prometheus import Prometheus
from lab.findings.comparison import compare
from lab.runs import k6
from lab.runs.reader import read_metrics
from lab.runs.record import Record
from lab.stack.programs import find
from tests.support.fake_clinic import FakeClinic, Request
from tests.support.fake_series import Feed, run_id

pytestmark = pytest.mark.stack


def clinic(seconds: float) -> FakeClinic:
    """Make a clinic that delays every response."""

    def wait(_: Request) -> None:
        time.sleep(seconds)

    return FakeClinic(override=wait)


def smoke(prometheus: Prometheus, run: str, url: str) -> subprocess.Popen[str]:
    settings = k6.run_settings(run, "smoke", url, f"{prometheus.url}/api/v1/write", {})
    return subprocess.Popen(
        [find("k6"), "run", "--quiet", k6.SCRIPT],
        env={"PATH": "/usr/bin:/bin", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read(prometheus: Prometheus, run: str) -> Record:
    return read_metrics(prometheus, run)


def test_a_slowdown_of_a_fifth_is_a_regression(prometheus: Prometheus) -> None:
    runs = [run_id("smoke") for _ in range(3)]
    with clinic(0.040) as first, clinic(0.048) as slower, clinic(0.040) as again:
        # At the same time, so that all have the same machine.
        processes = [
            smoke(prometheus, run, place.url)
            for run, place in zip(runs, (first, slower, again), strict=True)
        ]
        output = [process.communicate(timeout=90)[0] for process in processes]
    before, worse, same = (read(prometheus, run) for run in runs)

    assert [process.returncode for process in processes] == [0, 0, 0], output
    assert not compare(before, worse).problems
    regressions = compare(before, worse, 0.1).regressions()
    assert ("All", "client p50") in {(one.operation, one.metric.name) for one in regressions}
    assert compare(before, same, 0.1).regressions() == []
    assert compare(worse, before, 0.0).regressions() == []


def test_the_segments_of_a_run_add_up_to_its_total(prometheus: Prometheus) -> None:
    feed = Feed(run_id("load"), time.time() - 100, seconds=40.0)
    feed.marks("load")
    began = feed.ended - feed.seconds
    feed.requests("GET /owners", 100)
    # Bucket -6 is from a 64th of a second to a 32nd: the fifth doubling below one.
    for at, quick, slow in ((9, 10, 0), (19, 40, 0), (29, 40, 10), (39, 90, 10)):
        feed.client_seconds("GET /owners", {-6: quick, -5: slow}, at=began + at)
    feed.span_seconds("GET /owners", {-7: 100})
    feed.send(prometheus)

    client, server = read(prometheus, feed.run).histograms

    assert (client.operation, client.side, server.side) == ("GET /owners", "client", "server")
    assert client.first == -40
    assert [(part[0], part[-1]) for part in client.segments] == [(10, 0), (30, 0), (0, 10), (50, 0)]
    assert sum(map(sum, server.segments)) == 100


def test_a_run_of_a_few_seconds_has_no_segments(prometheus: Prometheus) -> None:
    feed = Feed(run_id("load"), time.time() - 100, seconds=10.0)
    feed.marks("load")
    feed.requests("GET /owners", 100)
    feed.client_seconds("GET /owners", {-6: 100})
    feed.send(prometheus)

    short = read(prometheus, feed.run)

    assert short.histograms == []
    assert "too short" in compare(short, short).problems[0]
