"""Home: commands, dashboards, recent runs and current alerts."""

from grafana_foundation_sdk.builders import dashboard as builders

from lab.dashboards import base
from lab.dashboards.panels import text
from lab.dashboards.runs import run_table

WELCOME = """\
# Vet clinic

`just smoke`, `just load` or `just stress` runs a load test against the clinic. Every run has an id,
and the dashboards show what k6, the server and the database measured for each operation.
"""
LINKS = "\n".join(
    f"- **[{title}](/d/{uid})** {description}"
    for uid, (title, description) in base.DASHBOARDS.items()
    if uid != "home"
)


def dashboard() -> builders.Dashboard:
    runs = run_table("Runs")
    runs.description("Runs of the last 15 days. Click an id for the run's dashboard.")
    contents = text(LINKS).title("Dashboards").transparent(False).span(12).height(11)
    return base.make_dashboard(
        "home", {"": [text(WELCOME), runs.height(8), contents, _alert_list()]}
    )


def _alert_list() -> builders.Panel:
    """List the active alerts; the library has no builder for this type of panel."""
    states = {"error": True, "firing": True, "noData": False, "normal": False, "pending": True}
    options = {
        "alertInstanceLabelFilter": '{severity=~"page|ticket"}',
        "datasource": "Prometheus",
        "groupMode": "default",
        "maxItems": 20,
        "sortOrder": 1,
        "stateFilter": states,
        "viewMode": "list",
    }
    panel = builders.Panel().type("alertlist").title("Alerts").options(options)
    return panel.span(12).height(11).description("Firing and pending alerts; empty is good.")
