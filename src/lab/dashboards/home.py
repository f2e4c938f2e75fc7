"""Where one begins: what to type, the pages, the newest runs, what fires now."""

from grafana_foundation_sdk.builders import dashboard, dashboardlist

from lab.dashboards import pages
from lab.dashboards.panels import text
from lab.dashboards.runs import run_table

WELCOME = """\
# Vet clinic

`just smoke`, `just load` or `just stress` puts a load on the clinic, and each run has its own id.
The pages below read it back: for each operation what k6 saw, what the server saw and what the
database took, side by side, down to its slowest and its failed traces.
"""


def page() -> dashboard.Dashboard:
    """Make the page that Grafana opens with."""
    newest = run_table("Runs").description(
        "The runs that began in the 15 days before the end of the time range, each leading to its "
        "page. A crossed threshold means that the objective was missed."
    )
    others = dashboardlist.Panel().title("Pages").description("The pages of this folder.")
    others.folder_uid("vet-clinic").show_headings(False).show_search(True).show_starred(False)
    return pages.page(
        "home",
        "What to type, the pages, the newest runs, and what fires now.",
        {"": [text(WELCOME), newest.height(8), others.span(12).height(11), alerts()]},
    )


def alerts() -> dashboard.Panel:
    """List the alerts that fire now; the library has no builder of its own for them."""
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
    panel = dashboard.Panel().type("alertlist").title("Alerts").options(options)
    return panel.span(12).height(11).description("What fires now, or soon will. Empty is good.")
