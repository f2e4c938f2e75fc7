"""The queries of the committed dashboards, addressed by title and legend, as Grafana sends them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from lab.paths import PROJECT
from lab.promql.telemetry import LOST_SAMPLES

FOLDER = PROJECT / "observability" / "grafana" / "dashboards"

# A dashboard's title, a panel's title, and a legend or a column's title: empty where a panel has
# one series without a name. Variables and annotations count as panels of these titles.
Address = tuple[str, str, str]
T = TypeVar("T")
VARIABLES, ANNOTATIONS = "(variables)", "(annotations)"


def by_address(dashboard: str, panels: Mapping[str, Mapping[str, T]]) -> dict[Address, T]:
    """Flatten values by panel and legend."""
    return {
        (dashboard, panel, series): value
        for panel, values in panels.items()
        for series, value in values.items()
    }


NEEDS = "What this dashboard needs"
TRENDS = ("p95", "Throughput", "Failed share")

# What stays empty for a run in which all went well.
FAILURES = "Failed statements and 503 responses"
MAY_BE_EMPTY: dict[Address, str] = {
    ("Load test", "Bottleneck", "Share of time"): "nothing limited the run",
    ("Load test", "Run", "Ended early by"): "the run did not end early",
    ("Load test", "Load", "dropped iterations"): "every iteration was started",
    ("Load test", "Load", "failed"): "nothing failed",
    ("Load test", "Errors by kind", "{{operation}} {{kind}}"): "nothing was wrong",
    ("Load test", "Server side", ""): "the run is over",
    ("Load test", "Latest failed traces", ""): "nothing failed",
    ("Load test", "Operations", "4xx"): "nothing failed",
    ("Load test", "Operations", "5xx"): "nothing failed",
    ("Load test", "Operations", "No answer"): "nothing failed",
    ("Load test", "Operations", "Invalid body"): "nothing failed",
    ("Load test", "Waits for locks", "Waited"): "nothing waited",
    ("Load test", "Database errors", "Errors"): "PostgreSQL refused nothing",
    ("Runs", "Client", "p95, ratio"): "the runs cannot be compared",
    ("Runs", "Server and database", "Server p95, ratio"): "the runs cannot be compared",
    ("Runs", "Server and database", "Database p95, ratio"): "the runs cannot be compared",
    **{("Runs", f"{name} of each run", "baseline"): "none is set" for name in TRENDS},
    ("Load test", "Errors", "Errors"): "nothing was wrong",
    ("Clinic API", "Organic requests and load runs", "organic"): "nobody else called",
    ("Clinic API", FAILURES, "{{span_name}} failed"): "no statement failed",
    ("Clinic API", "Alerts", "Since"): "nothing fired",
    ("Home", "Alerts", "Since"): "nothing fired",
    ("Telemetry", "Discarded spans", "{{reason}}"): "nothing was discarded",
    ("Telemetry", "Samples lost", "rejected writes"): "no write was rejected",
    ("Telemetry", "Samples lost", "Jaeger: queue full"): "Jaeger's queue was never full",
    ("Telemetry", "Samples lost", "Tempo: samples dropped"): "Tempo dropped none",
    ("Telemetry", "Samples lost", "Tempo: histograms dropped"): "Tempo dropped none",
    ("Telemetry", "Disk", "Tempo"): "Tempo writes its first block after some minutes",
}


def _lost(store: str) -> set[Address]:
    return {("Telemetry", "Samples lost", name) for name in LOST_SAMPLES if name.startswith(store)}


JAEGER_ONLY = _lost("Jaeger")
TEMPO_ONLY = _lost("Tempo") | {
    ("Telemetry", "Discarded spans", "missing in the service graph"),
    ("Telemetry", "Limits", "Tempo series"),
    ("Telemetry", "Series and live traces", "Tempo"),
    ("Telemetry", "Series and live traces", "live traces"),
}


@dataclass(frozen=True)
class Query:
    """One query of a dashboard."""

    address: Address
    source: str
    text: str
    over_time: bool = False

    @property
    def dashboard(self) -> str:
        return self.address[0]

    @property
    def is_promql(self) -> bool:
        return self.source == "prometheus" and not self.text.startswith("label_values(")

    def filled(self, **variables: str) -> str:
        """Return the query with values in place of the dashboard's variables."""
        query = re.sub(r"^query_result\((.*)\)$", r"\1", self.text)
        for name in sorted(variables, key=len, reverse=True):
            query = query.replace(f"${{{name}}}", variables[name])
            query = query.replace(f"${name}", variables[name])
        left = re.findall(r"\$[{a-z_]\w*", query)
        assert not left, f"{self.address}: no value for {left} in {query}"
        return query


def dashboards() -> dict[str, dict[str, Any]]:
    """Read the committed dashboards by uid."""
    files = [json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))]
    return {dashboard["uid"]: dashboard for dashboard in files}


@cache
def queries() -> dict[Address, Query]:
    """Return every query of every dashboard: of panels, variables and annotations."""
    found = [
        query for dashboard in dashboards().values() for query in _queries_of_dashboard(dashboard)
    ]
    by_address = {query.address: query for query in found}
    assert len(by_address) == len(found), "two queries have the same titles and legend"
    return by_address


def _queries_of_dashboard(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    title = dashboard["title"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield Query(
                (title, panel["title"], _series(panel, target)),
                target["datasource"]["type"],
                target.get("expr") or target.get("query") or target["queryType"],
                over_time=target.get("range", False),
            )
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            source, text = variable["datasource"]["type"], variable["query"]["query"]
            yield Query((title, VARIABLES, variable["name"]), source, text)
    for mark in dashboard["annotations"].get("list", []):
        address = (title, ANNOTATIONS, mark["name"])
        yield Query(address, mark["datasource"]["type"], mark["expr"], over_time=True)


def _series(panel: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """Name a query by its column in a table, else by its legend."""
    for step in panel.get("transformations", []):
        if step["id"] == "organize" and panel["datasource"]["type"] == "prometheus":
            titles = step["options"]["renameByName"]
            return str(titles.get(f"Value #{target['refId']}") or titles.get("Value", ""))
    legend = target.get("legendFormat", "")
    return "" if legend == "__auto" else legend
