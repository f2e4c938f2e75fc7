"""The committed pages: written by their source, whole, and nowhere without a unit or a word."""

import json
from itertools import combinations
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from lab.dashboards import links
from lab.dashboards import pages as made
from lab.dashboards.write import PAGES, rendered
from lab.paths import PROJECT
from lab.promql.selectors import KEPT
from tests.support.fake_clinic import StandIn
from tests.support.panels import FOLDER, pages, panels, targets

READ = pages()
UIDS = sorted(READ)
PANELS = [(uid, panel) for uid in UIDS for panel in panels(READ[uid])]
SHOWING = [(uid, panel) for uid, panel in PANELS if panel["type"] != "row"]
# Their values are no numbers: prose, links, alerts, a drawing with units of its own.
WITHOUT_UNIT = {"text", "dashlist", "alertlist", "nodeGraph"}
WITHOUT_SOURCE = {"text", "dashlist", "alertlist"}


def name(case: Any) -> str:
    return case if isinstance(case, str) else f"{case['id']}"


def provisioned() -> dict[str, str]:
    file = PROJECT / "observability/grafana/provisioning/datasources/datasources.yaml"
    return {one["uid"]: one["type"] for one in yaml.safe_load(file.read_text())["datasources"]}


@pytest.mark.parametrize("uid", sorted(PAGES))
def test_the_committed_page_is_what_its_source_writes(uid: str) -> None:
    assert (FOLDER / f"{uid}.json").read_text() == rendered(uid), "run `just dashboards`"


def test_there_is_a_file_for_each_page_and_no_other() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.json")) == sorted(PAGES) == UIDS
    assert set(made.TITLES) == set(PAGES)


@pytest.mark.parametrize("uid", UIDS)
def test_the_ids_of_a_pages_panels_are_its_own(uid: str) -> None:
    ids = [panel["id"] for panel in panels(READ[uid])]

    assert len(set(ids)) == len(ids) > 0
    assert all(ids)


@pytest.mark.parametrize("uid", UIDS)
def test_no_panel_lies_over_another_or_beyond_the_edge(uid: str) -> None:
    places = {panel["id"]: panel["gridPos"] for panel in panels(READ[uid])}

    for place in places.values():
        assert place["x"] + place["w"] <= 24
    for (one, a), (other, b) in combinations(places.items(), 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or apart, f"{one} lies over {other}"


@pytest.mark.parametrize(("uid", "panel"), SHOWING, ids=name)
def test_a_panel_says_what_it_shows(uid: str, panel: dict[str, Any]) -> None:
    if panel["type"] != "text":
        assert panel["title"]
        assert panel["description"].endswith("."), f"{uid} {panel['id']}"
        assert len(panel["description"]) > 20


@pytest.mark.parametrize(("uid", "panel"), SHOWING, ids=name)
def test_a_value_has_a_unit(uid: str, panel: dict[str, Any]) -> None:
    if panel["type"] not in WITHOUT_UNIT:
        assert panel["fieldConfig"]["defaults"].get("unit"), f"{uid} {panel['id']}"


@pytest.mark.parametrize(("uid", "panel"), SHOWING, ids=name)
def test_an_empty_panel_says_why(uid: str, panel: dict[str, Any]) -> None:
    if panel["type"] not in WITHOUT_UNIT:
        assert panel["fieldConfig"]["defaults"].get("noValue"), f"{uid} {panel['id']}"


@pytest.mark.parametrize(("uid", "panel"), SHOWING, ids=name)
def test_a_panel_asks_a_data_source_that_there_is(uid: str, panel: dict[str, Any]) -> None:
    sources = provisioned()
    if panel["type"] in WITHOUT_SOURCE:
        return
    assert panel["targets"], f"{uid} {panel['id']}"
    for asking in (panel, *panel["targets"]):
        source = asking["datasource"]
        assert sources[source["uid"]] == source["type"]


def test_every_query_asks_something_of_a_data_source_that_there_is() -> None:
    for target in targets():
        assert target.source in provisioned(), target
        assert target.query, target


def test_pages_look_back_as_far_as_prometheus_keeps() -> None:
    settings = yaml.safe_load((PROJECT / "observability/prometheus/prometheus.yml").read_text())

    assert settings["storage"]["tsdb"]["retention"]["time"] == KEPT


def test_each_page_leads_to_every_other_with_the_run_and_the_time() -> None:
    for uid, page in READ.items():
        links = {link["url"]: link for link in page["links"]}

        assert set(links) == {f"/d/{other}" for other in UIDS if other not in {uid, "home"}}
        assert all(link["includeVars"] and link["keepTime"] for link in links.values())


def links_of(panel: dict[str, Any]) -> list[str]:
    properties = [p for o in panel["fieldConfig"]["overrides"] for p in o["properties"]]
    cells = [link["url"] for p in properties if p["id"] == "links" for link in p["value"]]
    lines = panel["fieldConfig"]["defaults"].get("links", [])
    return cells + [link["url"] for link in (*lines, *(panel.get("links") or []))]


@pytest.mark.parametrize(
    ("uid", "panel"), [(u, p) for u, p in SHOWING if "fieldConfig" in p], ids=name
)
def test_a_link_leads_to_a_page_or_to_a_query_of_explore(uid: str, panel: dict[str, Any]) -> None:
    for url in links_of(panel):
        parts = urlsplit(url)
        if parts.path == "/explore":
            [text] = parse_qs(parts.query)["panes"]
            [pane] = json.loads(text).values()
            assert pane["datasource"] in provisioned()
            assert pane["queries"][0]["query"]
            assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
        else:
            assert parts.path.removeprefix("/d/") in READ, f"{uid} {panel['id']}"


def test_every_list_of_traces_opens_in_explore_with_its_own_query() -> None:
    lists = [
        panel
        for _, panel in SHOWING
        for target in panel.get("targets", [])
        if target.get("queryType") == "traceql" and panel["type"] == "table"
    ]

    assert lists
    for panel in lists:
        [explore] = panel["links"]
        [text] = parse_qs(urlsplit(explore["url"]).query)["panes"]
        [pane] = json.loads(text).values()
        assert pane["queries"][0]["query"] == panel["targets"][0]["query"]


def test_the_address_of_a_run_is_that_of_its_page_at_its_own_times() -> None:
    grafana, run = "http://127.0.0.1:3000", "20261123-053249-load"

    assert links.address(grafana, run, 1000.5, 1420.25) == (
        f"{grafana}/d/load-test?var-testid={run}&from=990500&to=1450250"
    )


def test_no_address_is_given_where_no_grafana_has_the_page() -> None:
    with StandIn(override=lambda _: (404, {})) as another:
        assert links.page_of(another.url, "a-run", 0, 1) is None
    assert links.page_of("http://127.0.0.1:1", "a-run", 0, 1) is None
