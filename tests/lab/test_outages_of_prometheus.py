"""What k6 measures while Prometheus is away: real k6, gateway and Prometheus, and a proxy."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from lab.clients.prometheus import Prometheus
from lab.runs import k6
from lab.runs.reader import read_metrics
from lab.stack import services
from performance.torture.fault_proxy import Fault, FaultProxy
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import run_id
from tests.support.k6 import start_k6
from tests.support.native_stack import until
from tests.support.trace_stores import running_services, settings

pytestmark = pytest.mark.stack

AWAY_SECONDS = 6


@dataclass
class Pipeline:
    """Where k6 pushes, and the proxy between the gateway and Prometheus."""

    url: str
    proxy: FaultProxy

    @contextmanager
    def load(self, clinic: FakeClinic, run: str) -> Iterator[None]:
        """Run k6; wait at the end until it has ended."""
        variables = k6.run_settings(run, "smoke", clinic.url, self.url, {})
        with start_k6(settings={**variables, "DURATION": "12s"}) as process:
            until(lambda: len(clinic.load) > 10, 60)
            yield
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output


@pytest.fixture
def pipeline(prometheus: Prometheus, tmp_path: Path) -> Iterator[Pipeline]:
    config, internal = settings(tmp_path)
    with FaultProxy(httpx.URL(prometheus.url).port or 0) as proxy:
        through_proxy = replace(internal, prometheus=proxy.port)
        gateway = services.gateway_service(config, through_proxy, "jaeger")
        with running_services(tmp_path, gateway):
            yield Pipeline(config.remote_write_url, proxy)


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.UNAVAILABLE, Fault.SLOW])
def test_an_outage_of_prometheus_costs_no_number_of_a_run(
    prometheus: Prometheus, pipeline: Pipeline, fault: Fault
) -> None:
    """Not the start of the run either, which k6 sends once."""
    run = run_id("smoke")
    with FakeClinic() as clinic, pipeline.load(clinic, run):
        pipeline.proxy.set(fault)
        time.sleep(AWAY_SECONDS)
        pipeline.proxy.set(Fault.NONE)
    until(lambda: read_metrics(prometheus, run, finished=True).verdict == "passed")
    saved = read_metrics(prometheus, run, finished=True)

    assert saved.total.requests == len(clinic.load)


def test_the_end_of_a_run_arrives_after_an_outage(
    prometheus: Prometheus, pipeline: Pipeline
) -> None:
    run = run_id("smoke")
    with FakeClinic() as clinic, pipeline.load(clinic, run):
        pipeline.proxy.set(Fault.AWAY)
    pipeline.proxy.set(Fault.NONE)
    until(lambda: prometheus.label_values("testid", f'k6_vus{{testid="{run}"}}'))
    until(lambda: read_metrics(prometheus, run, finished=True).verdict == "passed")
    saved = read_metrics(prometheus, run, finished=True)

    assert saved.total.requests == len(clinic.load)
