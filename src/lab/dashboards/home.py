"""Home: commands, dashboards, recent runs and current alerts."""

from grafana_foundation_sdk.builders import dashboard as builders

from lab.dashboards import base
from lab.dashboards.clinic_api import alert_table
from lab.dashboards.explore import SOURCES
from lab.dashboards.panels import text
from lab.dashboards.runs import ALL_RUNS, run_table

WELCOME = """\
# Vet clinic

`just smoke`, `just load` or `just stress` runs a load test against the clinic. Every run has an id,
and the dashboards show what k6, the server and the database measured for each operation.
"""
# Relative to Grafana's own address, which may have a path.
LINKS = "\n".join(
    f"- **[{title}](d/{uid}?{SOURCES})**: {description}"
    for uid, (title, description) in base.DASHBOARDS.items()
    if uid != "clinic-home"
)


def dashboard() -> builders.Dashboard:
    runs = run_table("Runs", ALL_RUNS)
    runs.description("Runs of the last 15 days. Click an id for the run's dashboard.")
    contents = text(LINKS).title("Dashboards").transparent(False).height(6)
    alerts = alert_table().height(7)
    return base.make_dashboard(
        "clinic-home", {"": [text(WELCOME), runs.height(7), alerts, contents]}
    )
