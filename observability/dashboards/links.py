"""The address of a run's page, for those who have only the run."""

from urllib.parse import urlencode

import httpx

UID = "load-test"
# A page shows a little of before, and the last flush of every part.
BEFORE, AFTER = 10, 30


def page_of(grafana: str, run: str, started: float, ended: float) -> str | None:
    """Give the address of a run's page where that Grafana has it, else nothing."""
    try:
        found = httpx.get(f"{grafana}/api/dashboards/uid/{UID}", timeout=2.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return address(grafana, run, started, ended) if found.is_success else None


def address(grafana: str, run: str, started: float, ended: float) -> str:
    """Give the address of a run's page at the run's own times."""
    begin, end = round((started - BEFORE) * 1000), round((ended + AFTER) * 1000)
    return f"{grafana}/d/{UID}?{urlencode({'var-testid': run, 'from': begin, 'to': end})}"
