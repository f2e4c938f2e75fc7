"""Where the report page of a run is: Prometheus serves the folder of results below `/user`."""

from urllib.parse import quote

import httpx

from lab.clients.prometheus import Prometheus, PrometheusError
from lab.runs.record import result_file
from lab.stack.config import StackConfig

TIMEOUT = 2.0


def address(config: StackConfig, run_id: str) -> str:
    """Return the address of a run's report page; empty where Prometheus does not serve it."""
    path = f"/user/{quote(result_file(run_id, '.html').name)}"
    try:
        with Prometheus(config.prometheus_url) as prometheus:
            response = prometheus.request("GET", path, timeout=TIMEOUT)
    except PrometheusError:
        return ""
    return f"{config.prometheus_url}{path}" if response.status_code == httpx.codes.OK else ""
