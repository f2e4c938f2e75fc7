"""The committed dashboards: generated, complete, and without a panel that explains nothing."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from lab import slo
from lab.clients.grafana import find_run_dashboard, run_dashboard_url
from lab.dashboards import document, style
from lab.dashboards.base import DASHBOARDS
from lab.dashboards.generate import panel_url, render
from lab.dashboards.load_test import LIVE
from lab.dashboards.panels import scatter
from lab.paths import PROJECT
from lab.promql.load_run import MISMATCH_CODES, UNKNOWN_RUN, VERDICT_CODES
from lab.promql.selectors import (
    SPAN_CALLS,
    SPAN_SECONDS,
    Side,
    aggregate,
    histogram_quantile,
    quoted,
)
from tests.support.fake_clinic import FakeClinic
from tests.support.panels import (
    FOLDER,
    JAEGER_ONLY,
    MAY_BE_EMPTY,
    TEMPO_ONLY,
    dashboards,
    queries,
)
from tests.support.promtool import AT, hold, total

READ = dashboards()
UIDS = sorted(READ)
PANELS = [
    pytest.param(panel, id=f"{uid} {panel['title'] or panel['type']}")
    for uid in UIDS
    for panel in READ[uid]["panels"]
    if panel["type"] != "row"
]
# Text, and a drawing with units of its own: their values are no numbers.
WITHOUT_UNIT = {"text", "nodeGraph"}
WITHOUT_SOURCE = {"text"}
# The cell of a report page holds its address.
PUBLISHED_ADDRESS = "${__value.raw}"


# The data sources of every dashboard, by the references of its queries.
SOURCES = {"${metrics}": "prometheus", "${traces}": "tempo"}


def test_the_committed_files_are_what_generate_writes() -> None:
    committed = {file.stem: file.read_text() for file in FOLDER.glob("*.json")}

    assert committed == {uid: render(uid) for uid in DASHBOARDS}, "run `just generate`"


def test_the_document_says_what_panels_need() -> None:
    assert document.FILE.read_text() == document.render(), "run `just generate`"


@pytest.mark.parametrize("uid", UIDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(uid: str) -> None:
    panels = {panel["id"]: panel["gridPos"] for panel in READ[uid]["panels"]}

    assert all(panels)
    assert len(panels) == len(READ[uid]["panels"])
    for place in panels.values():
        assert place["x"] + place["w"] <= 24
    for (one, a), (other, b) in combinations(panels.items(), 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or apart, f"{one} overlaps {other}"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_explained(panel: dict[str, Any]) -> None:
    """It has a title and a description; its values have a unit, and a text where there are none."""
    if panel["type"] != "text":
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert len(panel["description"]) > 20
    if panel["type"] not in WITHOUT_UNIT:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults.get("unit")
        assert defaults.get("noValue")


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_queries_a_data_source_that_the_dashboard_lets_choose(
    panel: dict[str, Any],
) -> None:
    if panel["type"] in WITHOUT_SOURCE:
        return
    assert panel["targets"]
    for asking in (panel, *panel["targets"]):
        source = asking["datasource"]
        assert SOURCES[source["uid"]] == source["type"]


@pytest.mark.parametrize("uid", UIDS)
def test_data_sources_are_chosen_by_variables_and_named_nowhere(uid: str) -> None:
    variables = [v for v in READ[uid]["templating"]["list"] if v["type"] == "datasource"]

    assert {f"${{{v['name']}}}": v["query"] for v in variables} == SOURCES
    assert all(v["current"] == {"text": "default", "value": "default"} for v in variables)
    assert not any(v.get("regex") for v in variables)
    assert not any(
        value in {"prometheus", "tempo"} for key, value in leaves(READ[uid]) if key == "uid"
    )
    assert "orgId" not in json.dumps(READ[uid])


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Return every text of a document with the key that it has."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, key)


def test_every_query_asks_something_of_a_known_data_source() -> None:
    for query in queries().values():
        assert query.source in SOURCES.values(), query
        assert query.text, query
    assert {*MAY_BE_EMPTY, *JAEGER_ONLY, *TEMPO_ONLY} <= set(queries())


def test_each_dashboard_links_to_every_other_with_the_run_and_the_time() -> None:
    for uid, dashboard in READ.items():
        links = {link["url"]: link for link in dashboard["links"]}

        live = {LIVE: links.pop(LIVE)} if uid == "clinic-load-test" else {}
        others = {other for other in UIDS if other not in {uid, "clinic-home"}}
        assert {urlsplit(link).path for link in links} == {f"/d/{other}" for other in others}
        for url, link in links.items():
            own_range = {"from": ["now-15d"], "to": ["now"]} if "/clinic-runs" in url else {}
            assert parse_qs(urlsplit(url).query) == own_range
            assert link["keepTime"] != bool(own_range)
        assert all(link["includeVars"] for link in (links | live).values())


def links_of(panel: dict[str, Any]) -> list[str]:
    if "fieldConfig" not in panel:
        return []
    properties = [p for o in panel["fieldConfig"]["overrides"] for p in o["properties"]]
    cells = [link["url"] for p in properties if p["id"] == "links" for link in p["value"]]
    lines = panel["fieldConfig"]["defaults"].get("links", [])
    return cells + [link["url"] for link in (*lines, *(panel.get("links") or []))]


def explored(url: str) -> dict[str, Any]:
    """Read the query that a link gives to Explore."""
    [text] = parse_qs(urlsplit(url).query)["panes"]
    [pane] = json.loads(text).values()
    return dict(pane)


@pytest.mark.parametrize("panel", PANELS)
def test_links_lead_to_a_dashboard_or_to_a_query_in_explore(panel: dict[str, Any]) -> None:
    for url in links_of(panel):
        path = urlsplit(url).path
        if path == "/explore":
            pane = explored(url)
            assert pane["datasource"] == pane["queries"][0]["datasource"]["uid"] == "${traces}"
            assert pane["queries"][0]["query"]
            assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
        elif url != PUBLISHED_ADDRESS:
            assert path.removeprefix("/d/") in READ
            assert url.endswith("&var-metrics=${metrics}&var-traces=${traces}")


def test_every_list_of_traces_opens_in_explore_with_its_own_query() -> None:
    lists = [
        panel
        for dashboard in READ.values()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        if target.get("queryType") == "traceql" and panel["type"] == "table"
    ]

    assert len(lists) == 2
    for panel in lists:
        [explore] = panel["links"]
        assert explored(explore["url"])["queries"][0]["query"] == panel["targets"][0]["query"]


def words(dashboard: str, panel_title: str, column: str = "") -> dict[str, tuple[str, str]]:
    """Read the words, and their colours, that a panel or a column shows in place of values."""
    [panel] = [p for p in READ[dashboard]["panels"] if p["title"] == panel_title]
    settings = panel["fieldConfig"]
    if column:
        [override] = [o for o in settings["overrides"] if o["matcher"]["options"] == column]
        [mappings] = [p["value"] for p in override["properties"] if p["id"] == "mappings"]
    else:
        mappings = settings["defaults"]["mappings"]
    return {
        code: (word["text"], word["color"])
        for mapping in mappings
        if mapping["type"] == "value"
        for code, word in mapping["options"].items()
    }


@pytest.mark.parametrize(
    "address",
    [
        ("clinic-load-test", "Verdict"),
        ("clinic-home", "Runs", "Verdict"),
        ("clinic-runs", "Runs", "Verdict"),
    ],
)
def test_verdicts_have_the_same_words_and_colours_everywhere(address: tuple[str, ...]) -> None:
    none = "– no verdict"  # noqa: RUF001 - a dash
    assert words(*address) == {
        str(VERDICT_CODES[outcome]): word
        for outcome, word in {
            ("passed", ""): ("✓ passed", style.GOOD),
            ("failed", ""): ("✗ failed", style.BAD),
            ("aborted", "interrupted"): ("■ aborted: it was interrupted", style.WARNING),
            ("aborted", "killed"): ("■ aborted: k6 did not report its end", style.WARNING),
            ("running", ""): ("… running", style.NEUTRAL),
            ("none", "no_thresholds"): (f"{none}: k6 ran without thresholds", style.NEUTRAL),
            ("none", "not_reported"): (f"{none}: k6 did not report one", style.NEUTRAL),
            ("none", "other_generator"): (f"{none}: another script made it", style.NEUTRAL),
            UNKNOWN_RUN: ("no data", style.NEUTRAL),
        }.items()
    }


def test_every_reason_why_runs_cannot_be_compared_has_words() -> None:
    assert set(words("clinic-runs", "Comparable")) == {
        str(code) for code in MISMATCH_CODES.values()
    }


def test_further_operations_have_colours() -> None:
    further = ["GET /vets", "GET /visits", "POST /vets", "DELETE /vets"]
    colours = style.colour_operations([*slo.OPERATIONS, *further])

    assert colours == style.OPERATIONS | {name: colours[name] for name in further}
    assert {colours[name] for name in further} <= set(style.OPERATIONS.values())


def test_the_metrics_of_a_span_are_those_of_its_operation() -> None:
    file = PROJECT / "observability/grafana/provisioning/datasources/datasources.yaml"
    sources = {it["uid"]: it for it in yaml.safe_load(file.read_text())["datasources"]}
    server = f"span_kind={quoted(Side.SERVER)},$$__tags"
    calls = f"{SPAN_CALLS}{{{server}}}"
    seconds = f"{{__name__=~{quoted(SPAN_SECONDS)},{server}}}"
    window = "[$$__rate_interval]"

    rate, p95 = sources["tempo"]["jsonData"]["tracesToMetrics"]["queries"]

    assert rate["query"] == aggregate("sum", f"rate({calls}{window})")
    assert p95["query"] == histogram_quantile(0.95, aggregate("sum", f"rate({seconds}{window})"))


def test_what_a_run_did_over_time_is_asked_of_its_own_intervals() -> None:
    board = READ["clinic-load-test"]
    over_time = [
        target
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if target.get("range")
    ]

    assert over_time
    assert {target["interval"] for target in over_time} == {"${step}s"}
    assert "$__rate_interval" not in json.dumps(board)


def test_alerts_link_to_panels_that_exist() -> None:
    rules = "".join(
        file.read_text() for file in (PROJECT / "observability/prometheus/rules").glob("*.yml")
    )
    links = set(re.findall(r"(/d/[a-z-]+)\?viewPanel=panel-(\d+)", rules))
    panels = {(f"/d/{uid}", str(p["id"])) for uid in UIDS for p in READ[uid]["panels"]}

    assert links
    assert links <= panels


def test_a_panel_is_addressed_by_its_title() -> None:
    assert panel_url("clinic-load-test", "Load") == "/d/clinic-load-test?viewPanel=panel-401"


def test_the_address_of_a_run_is_that_of_its_dashboard_at_its_own_times() -> None:
    grafana, run = "http://127.0.0.1:3000", "20261123-053249-load"

    assert run_dashboard_url(grafana, run, 1000.5, 1420.25) == (
        f"{grafana}/d/clinic-load-test?var-testid={run}&from=990500&to=1450250"
    )


def test_no_address_is_given_where_no_grafana_has_the_dashboard() -> None:
    with FakeClinic(override=lambda _: (404, {})) as another:
        assert find_run_dashboard(another.url, "a-run", 0, 1) is None
    assert find_run_dashboard("http://127.0.0.1:1", "a-run", 0, 1) is None


@pytest.mark.stack
def test_points_of_a_steady_load_differ_in_throughput() -> None:
    """Grafana refuses to draw points of which two have the same x."""
    panel = scatter("", ("x", "short", "vector(3)"), ("y", "short", "vector(1)"), "5s")
    x, _ = json.loads(json.dumps(panel.build(), cls=JSONEncoder))["targets"]

    hold({}, [(f"changes(({x['expr']})[25s:5s])", total(4), AT)])
