"""Grafana: the address of a run's dashboard."""

from urllib.parse import urlencode

from lab.clients.http import HttpClient
from lab.errors import UserError
from lab.promql.run_list import SECONDS_AFTER, SECONDS_BEFORE

RUN_DASHBOARD = "load-test"


def find_run_dashboard(grafana: str, run_id: str, started: float, ended: float) -> str | None:
    """Return the address of a run's dashboard, or None where that Grafana does not have it."""
    with HttpClient("Grafana", grafana) as http:
        try:
            response = http.request("GET", f"/api/dashboards/uid/{RUN_DASHBOARD}", timeout=2.0)
        except UserError:
            return None
    return run_dashboard_url(grafana, run_id, started, ended) if response.is_success else None


def run_dashboard_url(grafana: str, run_id: str, started: float, ended: float) -> str:
    """Return the address of a run's dashboard with the run's own time range."""
    begin, end = round((started - SECONDS_BEFORE) * 1000), round((ended + SECONDS_AFTER) * 1000)
    query = urlencode({"var-testid": run_id, "from": begin, "to": end})
    return f"{grafana}/d/{RUN_DASHBOARD}?{query}"
