"""What k6 measures while Prometheus is away: real k6, real Prometheus, and a proxy between them."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lab.clients.prometheus import Prometheus
from lab.runs import record
from performance.torture.fault_proxy import Fault, FaultProxy
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import run_id
from tests.support.native_stack import until
from tests.support.programs import NOWHERE, ask, results

pytestmark = pytest.mark.stack

AWAY_SECONDS = 12


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.UNAVAILABLE])
def test_the_next_push_brings_what_was_counted_meanwhile(
    prometheus: Prometheus, fault: Fault
) -> None:
    run = run_id("soak")
    with (
        FakeClinic() as clinic,
        FaultProxy(httpx.URL(prometheus.url).port or 0) as proxy,
        ThreadPoolExecutor(1) as executor,
    ):
        started = executor.submit(
            ask,
            f"http://127.0.0.1:{proxy.port}",
            NOWHERE,
            *("run", "soak"),
            **{"BASE_URL": clinic.url, "RUN": run, "DURATION": "25s", "RATE": "3"},
        )
        until(lambda: len(clinic.load) > 20, 60)
        proxy.set(fault)
        time.sleep(AWAY_SECONDS)
        proxy.set(Fault.NONE)
        finished = started.result()

    assert finished.returncode == 0, finished.stdout + finished.stderr
    saved = record.load(Path(results()) / f"{run}.json")
    assert saved.total.requests == len(clinic.load)
    print(saved.verdict, saved.verdict_reason, saved.missing, finished.stdout[-1500:])
    assert saved.verdict == "passed"


def test_a_run_whose_end_prometheus_missed_says_so(prometheus: Prometheus) -> None:
    run = run_id("smoke")
    port = httpx.URL(prometheus.url).port or 0
    with FakeClinic() as clinic, FaultProxy(port) as proxy, ThreadPoolExecutor(1) as executor:
        url = f"http://127.0.0.1:{proxy.port}"
        settings = {"BASE_URL": clinic.url, "RUN": run, "DURATION": "15s"}
        started = executor.submit(ask, url, NOWHERE, "run", "smoke", **settings)
        until(lambda: len(clinic.load) > 150, 60)
        proxy.set(Fault.AWAY)
        finished = started.result()
        proxy.set(Fault.NONE)
        until(lambda: "is still running" not in ask(url, NOWHERE, "report", run).stdout, 60)

    assert finished.returncode == 0
    assert "Traceback" not in finished.stdout + finished.stderr
    saved = record.load(Path(results()) / f"{run}.json")
    assert saved.total.requests < len(clinic.load)
    assert saved.verdict == "aborted"
    assert any("last metrics of k6 did not arrive" in sentence for sentence in saved.missing)
