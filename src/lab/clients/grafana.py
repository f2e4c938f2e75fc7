"""Grafana: the address of a run's dashboard."""

from urllib.parse import urlencode

from lab.clients.http import HttpClient
from lab.errors import UserError
from lab.promql.run_range import SECONDS_AFTER, SECONDS_BEFORE

RUN_DASHBOARD = "clinic-load-test"


def find_run_dashboard(grafana: str, run_id: str, started: float, ended: float) -> str | None:
    """Return the address of a run's dashboard, or None where that Grafana does not have it."""
    return run_dashboard_url(grafana, run_id, started, ended) if _has_dashboard(grafana) else None


def find_live_dashboard(grafana: str, run_id: str, started: float) -> str | None:
    """Return the address of the dashboard that follows a run, or None as above."""
    if not _has_dashboard(grafana):
        return None
    begin = round((started - SECONDS_BEFORE) * 1000)
    query = urlencode({"var-testid": run_id, "from": begin, "to": "now", "refresh": "5s"})
    return f"{grafana}/d/{RUN_DASHBOARD}?{query}"


def _has_dashboard(grafana: str) -> bool:
    with HttpClient("Grafana", grafana) as http:
        try:
            response = http.request("GET", f"/api/dashboards/uid/{RUN_DASHBOARD}", timeout=2.0)
        except UserError:
            return False
    return response.is_success


def run_dashboard_url(grafana: str, run_id: str, started: float, ended: float) -> str:
    """Return the address of a run's dashboard with the run's own time range."""
    begin, end = round((started - SECONDS_BEFORE) * 1000), round((ended + SECONDS_AFTER) * 1000)
    query = urlencode({"var-testid": run_id, "from": begin, "to": end})
    return f"{grafana}/d/{RUN_DASHBOARD}?{query}"
