"""A run against two processes of the API: everything adds up to what k6 sent."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.clients.prometheus import Prometheus
from lab.paths import RESULTS_VARIABLE
from lab.promql.api import CLINIC, INSTANCE, LOAD_RUNS, REQUEST_SECONDS
from lab.runs import record
from lab.runs.record import Record
from tests.support.native_stack import NativeStack, temporary_stack

pytestmark = pytest.mark.stack

COUNTED = f"sum by ({INSTANCE}) (histogram_count({REQUEST_SECONDS}{{{CLINIC},{LOAD_RUNS}}}))"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    with temporary_stack() as stack:
        stack.environment |= {
            "CLINIC_WORKERS": "2",
            RESULTS_VARIABLE: str(tmp_path_factory.mktemp("results")),
        }
        up = stack.run("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield stack


def processes(stack: NativeStack) -> list[psutil.Process]:
    """Return the API's parent and its workers."""
    port = stack.environment["CLINIC_PORT"]
    every = (it for it in psutil.process_iter(["cmdline"]) if it.info["cmdline"])
    return [
        it
        for it in every
        if it.info["cmdline"][-2:] == ["-m", "clinic"] and it.environ().get("CLINIC_PORT") == port
    ]


def cpu_seconds(found: list[psutil.Process]) -> float:
    return sum(it.cpu_times().user + it.cpu_times().system for it in found)


def load_test(stack: NativeStack) -> Record:
    run = stack.run("run", "soak", DURATION="30s", RATE="15")
    match = re.search(r"^Run (\S+) against", run.stdout, re.MULTILINE)
    assert match, run.stdout + run.stderr
    return record.load(Path(stack.environment[RESULTS_VARIABLE], f"{match[1]}.json"))


def test_a_run_against_two_processes_is_complete(stack: NativeStack) -> None:
    found = processes(stack)
    assert len(found) == 3
    before = cpu_seconds(found)

    saved = load_test(stack)

    sent = saved.completeness.sent
    assert sent == saved.completeness.traced > 2000
    assert saved.completeness.created == saved.completeness.rows_written == sent / 2
    with Prometheus(stack.config.prometheus_url) as prometheus:
        counted = prometheus.by_label(COUNTED, INSTANCE, saved.period.ended + 30)
    assert sum(counted.values()) == sent
    assert len(counted) == 2
    assert min(counted.values()) > 0.1 * sent

    api = saved.resource("api")
    assert api
    used = cpu_seconds(found) - before
    assert (api.cpu_mean or 0) * 30 == pytest.approx(used, rel=0.25)
    if sys.platform == "linux":
        memory = sum(it.memory_full_info().pss for it in found)
        assert api.memory == pytest.approx(memory, rel=0.15)
    pools = {*saved.timeline.connections_allowed} - {None}
    assert pools == {10.0}
    assert sum(saved.total.time_shares.values()) == pytest.approx(1, abs=0.02)
