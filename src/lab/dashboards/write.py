"""Write the dashboards as the JSON that Grafana provisions."""

import json

import click
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from lab.dashboards import clinic_api, home, load_test, runs, telemetry
from lab.paths import PROJECT

FOLDER = PROJECT / "observability" / "grafana" / "dashboards"
PAGES = {
    "home": home.page,
    "load-test": load_test.page,
    "runs": runs.page,
    "clinic-api": clinic_api.page,
    "telemetry": telemetry.page,
}


def rendered(uid: str) -> str:
    """Give a page as the text of its file."""
    page = json.loads(json.dumps(PAGES[uid]().build(), cls=JSONEncoder))
    # The library puts links away in a menu; without a place they stand in sight.
    for link in page["links"]:
        del link["placement"]
    return json.dumps(page, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write each page's file, and say which of them changed."""
    for uid in PAGES:
        file = FOLDER / f"{uid}.json"
        before = file.read_text() if file.exists() else ""
        after = rendered(uid)
        if after != before:
            file.write_text(after)
        click.echo(f"{file.relative_to(PROJECT)}: {'written' if after != before else 'unchanged'}")
