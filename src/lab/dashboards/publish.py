"""Publish the committed dashboards to any Grafana: by its HTTP API, or as files to import."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.clients.grafana_api import GrafanaApi, Json, Source
from lab.console import echo, plain
from lab.errors import UserError
from lab.paths import OBSERVABILITY

FOLDER = OBSERVABILITY / "grafana" / "dashboards"
# The variables of data sources, by the types of Grafana's plugins.
VARIABLES = {"prometheus": "metrics", "tempo": "traces"}
TYPE_NAMES = {"prometheus": "Prometheus", "tempo": "Tempo"}
# What Grafana adds to a dashboard that it stores.
STORED_ONLY = ("id", "version")
NOTHING_CHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Target:
    """Where in Grafana the dashboards go, and the data sources that they open with.

    `sources` has uids or names by type; without one, Grafana chooses its default data source of the
    type, or the first.
    """

    folder_uid: str
    folder_title: str
    sources: Mapping[str, str]


def committed() -> dict[str, Json]:
    """Read the committed dashboards by uid."""
    found = (json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json")))
    return {dashboard["uid"]: dashboard for dashboard in found}


def publish(grafana: GrafanaApi, target: Target, *, dry_run: bool) -> None:
    """Create what that Grafana lacks and update what differs; print each, and the difference."""
    version = grafana.version()
    echo(f"Grafana {version} at {grafana.url}, folder {target.folder_title}")
    chosen = _choose_sources(grafana.sources(), target.sources)
    wanted = {uid: _with_sources(it, chosen) for uid, it in committed().items()}
    stored = {uid: grafana.dashboard(uid) for uid in wanted}
    for uid, found in stored.items():
        if found:
            _check_replaceable(uid, found, wanted[uid])
    if grafana.folder(target.folder_uid) is None:
        if not dry_run:
            grafana.create_folder(target.folder_uid, target.folder_title)
        echo(f"folder {target.folder_uid}: {_done('created', dry_run=dry_run)}")
    for uid, dashboard in wanted.items():
        state, difference = _compare(stored[uid], dashboard, target.folder_uid)
        if state != NOTHING_CHANGED and not dry_run:
            grafana.save_dashboard(dashboard, target.folder_uid, "lab publish")
        echo(f"{uid}: {_done(state, dry_run=dry_run and state != NOTHING_CHANGED)}")
        if dry_run:
            for line in difference:
                echo(f"  {line}")


def write_files(folder: Path) -> None:
    """Write the dashboards in the form of Grafana's "export for sharing", which asks for sources.

    An import by hand sets its inputs; a provider of files would not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for uid, dashboard in committed().items():
        file = folder / f"{uid}.json"
        text = json.dumps(shared_form(dashboard), indent=2, ensure_ascii=False) + "\n"
        file.write_text(text, encoding="utf-8")
        echo(f"{file}: written")


def shared_form(dashboard: Json) -> Json:
    """Ask for each data source at the import, as the value that its variable opens with."""
    inputs = [
        {
            "name": f"DS_{variable.upper()}",
            "label": TYPE_NAMES[kind],
            "description": "",
            "type": "datasource",
            "pluginId": kind,
            "pluginName": TYPE_NAMES[kind],
        }
        for kind, variable in VARIABLES.items()
    ]
    chosen = {
        kind: Source(f"${{DS_{variable.upper()}}}", "", kind)
        for kind, variable in VARIABLES.items()
    }
    panels = sorted({panel["type"] for panel in dashboard["panels"]} - {"row"})
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "12.0.0"},
        *(
            {"type": "datasource", "id": kind, "name": TYPE_NAMES[kind], "version": "1.0.0"}
            for kind in VARIABLES
        ),
        *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in panels),
    ]
    return {
        "__inputs": inputs,
        "__elements": {},
        "__requires": requires,
        **_with_sources(dashboard, chosen),
    }


def _choose_sources(found: list[Source] | None, wanted: Mapping[str, str]) -> dict[str, Source]:
    """Find the wanted data sources, and say of which type there is none."""
    if found is None:
        echo("The token may not list data sources, so they are not checked.")
        return {kind: Source(it, it, kind) for kind, it in wanted.items()}
    chosen = {}
    for kind, name in TYPE_NAMES.items():
        of_kind = [source for source in found if source.type == kind]
        names = ", ".join(sorted(source.name for source in of_kind))
        if kind in wanted:
            matching = [it for it in of_kind if wanted[kind] in (it.uid, it.name)]
            if not matching:
                raise UserError(
                    f"That Grafana has no {name} data source {wanted[kind]!r}; it has "
                    f"{names or 'none of this type'}."
                )
            chosen[kind] = matching[0]
        elif not of_kind:
            echo(
                f"That Grafana has no {name} data source: panels that need one say so until it has."
            )
        elif len(of_kind) > 1:
            echo(
                f"That Grafana has several {name} data sources ({names}): dashboards open with its "
                f"default or the first; --{kind} chooses."
            )
    return chosen


def _check_replaceable(uid: str, stored: Json, wanted: Json) -> None:
    """Raise where a dashboard cannot be replaced, or is another one that has the same uid."""
    if stored["meta"].get("provisioned"):
        raise UserError(
            f"That Grafana provisions {uid} from its own files, so the API cannot change it. "
            "Nothing was published; replace those files instead."
        )
    if not set(wanted["tags"]) & set(stored["dashboard"].get("tags") or []):
        raise UserError(
            f"That Grafana has another dashboard with the uid {uid}, "
            f"{plain(stored['dashboard'].get('title', ''))!r}: it lacks the tag "
            f"{', '.join(wanted['tags'])}. Nothing was published."
        )


def _with_sources(dashboard: Json, chosen: Mapping[str, Source]) -> Json:
    """Let the variables of data sources open with those that were chosen."""
    current = {
        VARIABLES[kind]: {"text": source.name, "value": source.uid}
        for kind, source in chosen.items()
    }
    variables = [
        it | ({"current": current[it["name"]]} if it["name"] in current else {})
        for it in dashboard["templating"]["list"]
    ]
    return dashboard | {"templating": {"list": variables}}


def _compare(stored: Json | None, wanted: Json, folder_uid: str) -> tuple[str, Iterator[str]]:
    """Return what is to be done to a dashboard, and how it would change."""
    if stored is None:
        return "created", iter(())
    before = {k: v for k, v in stored["dashboard"].items() if k not in STORED_ONLY}
    old, new = _lines(before), _lines(wanted)
    moved = stored["meta"].get("folderUid", "") != folder_uid
    if old == new:
        return ("moved to the folder" if moved else NOTHING_CHANGED), iter(())
    difference = difflib.unified_diff(old, new, "in Grafana", "new", n=2, lineterm="")
    return "updated", difference


def _lines(dashboard: Any) -> list[str]:
    return json.dumps(dashboard, indent=1, ensure_ascii=False, sort_keys=True).split("\n")


def _done(what: str, *, dry_run: bool) -> str:
    return f"would be {what}" if dry_run else what
