"""The dashboards as the JSON files that Grafana provisions."""

import json
from functools import cache

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Panel

from lab import generated
from lab.dashboards import clinic_api, home, load_test, runs, telemetry
from lab.errors import UserError
from lab.paths import PROJECT

FOLDER = PROJECT / "observability" / "grafana" / "dashboards"
DASHBOARDS = {
    "home": home.dashboard,
    "load-test": load_test.dashboard,
    "runs": runs.dashboard,
    "clinic-api": clinic_api.dashboard,
    "telemetry": telemetry.dashboard,
}


def render(uid: str) -> str:
    """Return the text of a dashboard's file."""
    dashboard = json.loads(json.dumps(DASHBOARDS[uid]().build(), cls=JSONEncoder))
    # With the library's `placement`, Grafana hides the links in a menu.
    for link in dashboard["links"]:
        del link["placement"]
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def write_all() -> None:
    for uid in DASHBOARDS:
        generated.write(FOLDER / f"{uid}.json", render(uid))


@cache
def _panel_ids(uid: str) -> dict[str | None, int | None]:
    panels = DASHBOARDS[uid]().build().panels or []
    return {panel.title: panel.id_val for panel in panels if isinstance(panel, Panel)}


def panel_url(uid: str, title: str) -> str:
    """Return the address of one panel, found by its title, without Grafana's host."""
    ids = _panel_ids(uid)
    if title not in ids:
        raise UserError(f"Dashboard {uid} has no panel {title!r}, to which an alert links.")
    return f"/d/{uid}?viewPanel=panel-{ids[title]}"
