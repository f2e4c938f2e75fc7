"""The dashboards as the JSON files that Grafana provisions."""

import json
from functools import cache

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from lab import generated
from lab.dashboards import clinic_api, home, load_test, runs, telemetry
from lab.dashboards.publish import FOLDER
from lab.errors import UserError


@cache
def dashboards() -> dict[str, Dashboard]:
    """Build all dashboards, by uid."""
    modules = (home, load_test, runs, clinic_api, telemetry)
    built = (module.dashboard().build() for module in modules)
    return {str(dashboard.uid): dashboard for dashboard in built}


def render(uid: str) -> str:
    dashboard = json.loads(json.dumps(dashboards()[uid], cls=JSONEncoder))
    # With the library's `placement`, Grafana hides the links in a menu.
    for link in dashboard["links"]:
        del link["placement"]
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def write_all() -> None:
    for uid in dashboards():
        generated.write(FOLDER / f"{uid}.json", render(uid))


def panel_url(uid: str, title: str) -> str:
    """Return the address of one panel, found by its title, without Grafana's host."""
    panels = dashboards()[uid].panels or []
    ids = {panel.title: panel.id_val for panel in panels if isinstance(panel, Panel)}
    if title not in ids:
        raise UserError(f"Dashboard {uid} has no panel {title!r}, to which an alert links.")
    return f"/d/{uid}?viewPanel=panel-{ids[title]}"
