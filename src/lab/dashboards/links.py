"""Addresses in Grafana: of a run's page, for those who have only the run, and of traces."""

import json
import re
from urllib.parse import quote, urlencode

import httpx

UID = "load-test"
# A page shows a little of before, and the last flush of every part.
BEFORE, AFTER = 10, 30

TEMPO = "tempo"
# What a list of traces holds at the most.
TRACES = 30


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


def explore(query: str) -> str:
    """Link to Explore with a TraceQL query and the page's time range; variables are filled in."""
    target = {
        "refId": "A",
        "datasource": {"type": TEMPO, "uid": TEMPO},
        "queryType": "traceql",
        "query": query,
        "limit": TRACES,
        "tableType": "traces",
    }
    over = {"from": "${__from}", "to": "${__to}"}
    pane = {"datasource": TEMPO, "queries": [target], "range": over}
    return f"/explore?schemaVersion=1&orgId=1&panes={_encoded(json.dumps({'a': pane}))}"


def _encoded(text: str) -> str:
    """Encode for an address all but the variables, which Grafana fills in."""
    parts = re.split(r"(\$\{[^}]*\}|\$\w+)", text)
    return "".join(part if at % 2 else quote(part, safe="") for at, part in enumerate(parts))
