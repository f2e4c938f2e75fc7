"""Real restarts: what was stored before counts, and the first failures after are seen."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from lab.clients.prometheus import Prometheus
from lab.paths import PROJECT, RESULTS_VARIABLE
from lab.promql.selectors import SPAN_CALLS
from lab.rules.slo import BAD_REQUEST_RATE
from lab.runs import record
from lab.runs.record import Record
from tests.support.native_stack import NativeStack, until

pytestmark = pytest.mark.stack

RUN = "20261126-restart-smoke"


@pytest.fixture(scope="module")
def stack() -> Iterator[NativeStack]:
    with TemporaryDirectory(prefix="clinic-") as folder:
        stack = NativeStack(Path(folder))
        folders = os.environ["PATH"].split(os.pathsep)
        stack.environment |= {
            "PATH": os.pathsep.join(f for f in folders if not (Path(f) / "tempo").exists()),
            RESULTS_VARIABLE: f"{folder}/results",
        }
        try:
            up = stack.run("up")
            assert up.returncode == 0, up.stdout + up.stderr
            yield stack
        finally:
            stack.run("down")


@pytest.fixture(scope="module")
def prometheus(stack: NativeStack) -> Iterator[Prometheus]:
    with Prometheus(stack.config.prometheus_url) as client:
        yield client


@pytest.fixture(scope="module")
def saved(stack: NativeStack, prometheus: Prometheus) -> Record:
    """Run the smoke profile and kill the trace store once it has counted spans of the run."""
    spans = f'sum({SPAN_CALLS}{{k6_test_run_id="{RUN}"}})'
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "run", "smoke"],
        cwd=PROJECT,
        env={**stack.environment, "RUN": RUN},
        stdout=subprocess.DEVNULL,
    ):
        until(lambda: prometheus.number(spans, time.time()), 60)
        os.kill(stack.supervisor.process("jaeger").pid, signal.SIGKILL)
    return record.load(Path(stack.environment[RESULTS_VARIABLE]) / f"{RUN}.json")


def test_spans_of_before_and_after_the_restart_count(saved: Record, prometheus: Prometheus) -> None:
    counts = saved.completeness
    spans = f'last_over_time({SPAN_CALLS}{{k6_test_run_id="{RUN}"}}[10m])'
    starts = prometheus.series(f"count by (trace_store_start) ({spans})", time.time())

    assert len(starts) == 2
    assert counts.traced + counts.missing == counts.sent - counts.unanswered
    assert counts.traced > counts.sent / 3
    assert any("The trace store restarted once" in sentence for sentence in saved.missing)


def test_no_number_of_the_run_is_negative(saved: Record) -> None:
    timeline = saved.timeline
    columns = (timeline.rate, timeline.server_p95, timeline.database_p95, timeline.client_p95)

    assert all(value is None or value >= 0 for column in columns for value in column)
    assert sum(point.requests for point in saved.operation_timeline) == pytest.approx(
        saved.total.requests, abs=saved.total.requests / 50
    )
    for histogram in saved.histograms:
        assert min(map(min, histogram.segments)) >= 0
    assert all(row.server_p95 and math.isfinite(row.server_p95) for row in saved.operations)


def test_first_requests_of_a_process_that_all_fail_are_seen_by_the_rules(
    stack: NativeStack, prometheus: Prometheus
) -> None:
    asyncio.run(fail_inserts(stack))
    stack.supervisor.call("stopProcess", "api")
    stack.supervisor.call("startProcess", "api")
    with httpx.Client(base_url=stack.config.api_url) as client:
        until(lambda: ready(client))
        for number in range(12):
            owner = {"name": "Ana", "email": f"ana-{number}@example.org"}
            assert (
                client.post("/owners", json=owner).status_code == httpx.codes.INTERNAL_SERVER_ERROR
            )

    matchers = 'operation="POST /owners",slo="availability"'
    bad = f"max_over_time({BAD_REQUEST_RATE}{{{matchers}}}[2m])"
    until(lambda: (prometheus.number(bad, time.time()) or 0) > 12 / 60 / 2, 60)


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def fail_inserts(stack: NativeStack) -> None:
    connection = await asyncpg.connect(stack.config.database_url.replace("+asyncpg", ""))
    await connection.execute(
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'a fault'; END $$; "
        "CREATE TRIGGER fault BEFORE INSERT ON owner FOR EACH ROW EXECUTE FUNCTION fault()"
    )
    await connection.close()
