"""Links to Grafana's Explore."""

import json
import re
from urllib.parse import quote

TEMPO = "tempo"
# The dashboard's variables of data sources; in links, what passes them on.
METRICS, TRACE_STORE = "metrics", "traces"
SOURCES = f"var-{METRICS}=${{{METRICS}}}&var-{TRACE_STORE}=${{{TRACE_STORE}}}"
# How many traces a search returns.
TRACES = 30


def explore_url(query: str) -> str:
    """Link to a TraceQL search over the dashboard's time range; Grafana fills in variables."""
    target = {
        "refId": "A",
        "datasource": {"type": TEMPO, "uid": f"${{{TRACE_STORE}}}"},
        "queryType": "traceql",
        "query": query,
        "limit": TRACES,
        "tableType": "traces",
    }
    time_range = {"from": "${__from}", "to": "${__to}"}
    pane = {"datasource": f"${{{TRACE_STORE}}}", "queries": [target], "range": time_range}
    # All but the variables is percent-encoded.
    parts = re.split(r"(\$\{[^}]*\}|\$\w+)", json.dumps({"a": pane}))
    panes = "".join(part if i % 2 else quote(part, safe="") for i, part in enumerate(parts))
    return f"/explore?schemaVersion=1&panes={panes}"
