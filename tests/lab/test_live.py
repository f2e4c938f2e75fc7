"""A run that can be watched while it lasts, and what is left of that afterwards."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from lab.clients.prometheus import Prometheus
from lab.findings.summary import find
from lab.promql import published
from lab.promql.selectors import RETENTION, RunSelector
from lab.reports import run_html
from lab.runs import k6
from lab.stack.config import StackConfig
from lab.stack.docker_k6 import container_addresses, published_ports
from tests.support.factories import make_record
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import run_id
from tests.support.programs import NOWHERE, PROJECT, ask, command

REFRESH = '<meta http-equiv="refresh" content="5">'
T = TypeVar("T")


def until(answer: Callable[[], T | None], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def page_with(address: str, text: str) -> str | None:
    page = httpx.get(address).text
    return page if text in page else None


@pytest.mark.stack
def test_a_live_run_keeps_its_page_current_until_ctrl_c_ends_it(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    run, output = run_id("smoke"), tmp_path / "output"
    address = f"{prometheus.url}/user/{run}.html"
    with FakeClinic() as clinic, output.open("wb") as file:
        settings = {"BASE_URL": clinic.url, "RUN": run, "DURATION": "2m"}
        words, environment = command(
            prometheus.url, NOWHERE, "run", "smoke", "--live", **settings, GRAFANA_PORT="1"
        )
        process = subprocess.Popen(
            words, env=environment, cwd=PROJECT, stdout=file, stderr=file, start_new_session=True
        )
        try:
            until(lambda: address in output.read_text() and "dashboard: " in output.read_text(), 30)
            assert REFRESH in httpx.get(address).text
            page = until(lambda: page_with(address, "… Running"), 40)
            [dashboard] = re.findall(r"own dashboard: (\S+)", output.read_text())
            assert httpx.get(dashboard, follow_redirects=True).status_code == httpx.codes.OK
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()

    assert REFRESH in page
    assert "POST /owners" in page
    assert process.returncode == k6.INTERRUPTED
    final = httpx.get(address).text
    assert "■ Aborted: it was interrupted" in final
    assert REFRESH not in final
    newest = published.newest(published.INFO, RunSelector(run, RETENTION))
    [(info, _)] = prometheus.series(newest, time.time() + 1)
    assert info["report"] == address


@pytest.mark.stack
def test_a_live_run_without_metrics_leaves_no_page(prometheus: Prometheus) -> None:
    run = run_id("smoke")
    with FakeClinic(override=lambda request: (401, {}) if request.path != "/readyz" else None) as c:
        answer = ask(
            *(prometheus.url, NOWHERE, "run", "smoke", "--live"),
            BASE_URL=c.url,
            RUN=run,
            GRAFANA_PORT="1",
        )

    assert answer.returncode == 108
    assert httpx.get(f"{prometheus.url}/user/{run}.html").status_code == httpx.codes.NOT_FOUND


@pytest.mark.stack
def test_a_run_says_how_it_can_be_watched(prometheus: Prometheus) -> None:
    """In Grafana at a time range that follows it, where that answers."""
    with FakeClinic() as clinic, FakeClinic(override=lambda _: (200, {})) as grafana:
        answers = [
            ask(
                *(prometheus.url, NOWHERE, "run", "smoke"),
                BASE_URL=clinic.url,
                DURATION="2s",
                GRAFANA_PORT=port,
            )
            for port in ("1", grafana.url.rsplit(":", 1)[1])
        ]

    head, *_ = answers[0].stdout.partition("In a browser")
    assert "To watch a run without Grafana, start it with --live." in head
    [link] = re.findall(r"In Grafana: (\S+refresh=5s)", answers[1].stdout)
    assert re.search(r"var-testid=\S+-smoke&from=\d{13}&to=now&refresh=5s$", link)
    assert answers[1].stdout.index(link) < answers[1].stdout.index("Completeness")


def test_only_the_page_of_a_running_run_is_loaded_again() -> None:
    running, passed = make_record(verdict="running", thresholds=[]), make_record()

    assert REFRESH in run_html.render(running, find(running))
    assert REFRESH not in run_html.render(passed, find(passed))


def test_k6s_own_dashboard_in_docker_can_be_reached_from_this_machine_alone() -> None:
    config = StackConfig(Path())
    settings = {"BASE_URL": config.api_url} | k6.dashboard_settings({})
    port = settings["K6_WEB_DASHBOARD_PORT"]

    assert published_ports(settings) == (f"--publish=127.0.0.1:{port}:{port}",)
    assert container_addresses(config, settings)["K6_WEB_DASHBOARD_HOST"] == "0.0.0.0"  # noqa: S104 - of the container
    assert published_ports({}) == ()
    assert k6.dashboard_address(settings) == f"http://127.0.0.1:{port}/"


def test_a_given_port_of_k6s_own_dashboard_counts() -> None:
    settings = k6.dashboard_settings({"K6_WEB_DASHBOARD_PORT": "7000"})

    assert k6.dashboard_address(settings) == "http://127.0.0.1:7000/"
