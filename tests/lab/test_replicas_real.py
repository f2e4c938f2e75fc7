"""Two replicas of the API behind one address."""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.clients.prometheus import Prometheus
from lab.paths import RESULTS_VARIABLE
from lab.promql import api
from lab.runs import record
from lab.stack.service import StartedStack
from tests.support.native_stack import NativeStack, temporary_stack, until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux distributes connections"),
]

REPLICAS = ("api-1", "api-2")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    with temporary_stack() as stack:
        stack.environment[RESULTS_VARIABLE] = str(tmp_path_factory.mktemp("results"))
        up = stack.run("up", CLINIC_REPLICAS="2")
        assert up.returncode == 0, up.stdout + up.stderr
        yield stack


def pids(stack: NativeStack) -> set[int]:
    return {stack.supervisor.process(name).pid for name in REPLICAS}


def test_no_request_of_a_run_fails_or_is_lost_while_replicas_restart(stack: NativeStack) -> None:
    before = pids(stack)
    with ThreadPoolExecutor() as pool:
        run = pool.submit(stack.run, "run", "soak", DURATION="25s", RATE="8")
        time.sleep(8)
        restarted = stack.run("restart", "api")
        finished = run.result()

    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    assert not before & pids(stack)
    match = re.search(r"^Run (\S+) against", finished.stdout, re.MULTILINE)
    assert match, finished.stdout + finished.stderr
    saved = record.load(Path(stack.environment[RESULTS_VARIABLE], f"{match[1]}.json"))
    sent = saved.completeness.sent
    assert saved.total.failed_share == 0
    assert sent == saved.completeness.traced > 500
    assert saved.completeness.created == saved.completeness.rows_written == sent / 2


def test_each_replica_is_a_service_with_a_log_and_metrics_of_its_own(stack: NativeStack) -> None:
    status = stack.run("status").stdout
    assert all(re.search(rf"^ *{name} .* up ", status, re.MULTILINE) for name in REPLICAS)
    both, one = stack.run("logs", "api").stdout, stack.run("logs", "api-2").stdout
    assert all(f" {name}: " in both for name in REPLICAS)
    assert one
    assert "api-1" not in one
    with Prometheus(stack.config.prometheus_url) as prometheus:
        running, expected = api.running_processes(), api.expected_processes()
        # Until the replaced processes have left the window.
        until(lambda: prometheus.series(running, time.time())[0][1] == 2, 120)
        assert prometheus.series(expected, time.time())[0][1] == 2


def test_the_number_of_replicas_stays_until_another_is_asked_for(stack: NativeStack) -> None:
    unchanged = stack.run("up")
    fewer = stack.run("up", CLINIC_REPLICAS="1")

    assert "nothing changed" in unchanged.stdout
    assert fewer.returncode == 0, fewer.stdout + fewer.stderr
    assert "api-2" in fewer.stdout
    assert not StartedStack.load(stack.config).services.keys() & set(REPLICAS)
    assert "api" in StartedStack.load(stack.config).services
