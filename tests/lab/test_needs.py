"""What panels need of a Prometheus: read from their expressions, and checked by one of them."""

import re

import pytest

from lab.promql.needs import NEEDS, needs, or_none, state
from tests.support.panels import VARIABLES, dashboards, queries
from tests.support.promtool import AT, hold

MET = {
    "k6 metrics": 'k6_http_req_duration_seconds{testid="a"}',
    "span metrics": 'traces_spanmetrics_latency{clinic_operation="GET /owners"}',
    "API metrics": 'clinic_database_up{job="clinic"}',
    "the rules": 'ALERTS{alertname="Watchdog",alertstate="firing",severity="heartbeat"}',
}
# They are there, and panels cannot use them.
USELESS = {
    'k6_http_req_duration_seconds_bucket{testid="a",le="+Inf"}': "1x300",
    "traces_spanmetrics_latency{}": "1x300",
    'clinic_database_up{job="another"}': "1x300",
    'ALERTS{alertname="Theirs",alertstate="firing",severity="page"}': "1x300",
}


def names(*expressions: str) -> list[str]:
    return [need.name for need in needs(*expressions)]


def test_needs_are_read_from_the_metrics_of_an_expression() -> None:
    assert names('sum(k6_vus{testid="traces_spanmetrics_x{"})') == ["k6 metrics"]
    assert names('{__name__=~"traces_spanmetrics_(a|b)"}', "min by (up) (up)") == [
        "span metrics",
        "scrapes",
    ]
    assert names("0 * ALERTS + operation:slo_p95:seconds") == ["the rules"]
    assert names('sum by (k6_scenario, up) (group(x{k6_test_run_id=~"up"}))') == []


def test_every_metric_of_the_dashboards_is_known() -> None:
    """So that a panel without values can say what it needs."""
    unknown = [
        query.address
        for query in queries().values()
        if query.is_promql and query.address[1] != VARIABLES and not needs(query.text)
    ]

    assert unknown == []


def test_a_panel_without_values_says_what_it_needs() -> None:
    for dashboard in dashboards().values():
        for panel in dashboard["panels"]:
            expressions = [target.get("expr", "") for target in panel.get("targets", [])]
            shown = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
            if panel["title"] != "What this dashboard needs" and panel["type"] != "stat":
                assert all(name in shown for name in names(*expressions)), panel["title"]
            assert not re.fullmatch("-|No (data|errors|alerts)", shown), panel["title"]


def test_each_dashboard_lists_the_needs_of_its_panels() -> None:
    for uid, dashboard in dashboards().items():
        *others, last = dashboard["panels"]
        if uid == "clinic-home":
            continue
        needed = names(*(t.get("expr", "") for p in others for t in p.get("targets", [])))
        [target] = last["targets"]
        listed = re.findall(r'"need", "([^"]+)"', target["expr"])
        assert listed == needed, uid


@pytest.mark.stack
@pytest.mark.parametrize("series", [dict.fromkeys(MET.values(), "1x300"), USELESS, {}])
def test_a_need_is_met_by_what_panels_can_use(series: dict[str, str]) -> None:
    shown = [need for need in NEEDS if need.name in MET]
    met = int(any(it in series for it in MET.values()))
    expected = {
        f'{{need="{it.name}",requires="{it.requires.replace("`", "")}"}}': met for it in shown
    }

    hold(series, [(state(shown, "60s"), expected, AT)])


@pytest.mark.stack
@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({'errors{kind="a"}': "2x300", "runs": "5x300"}, {'{kind="a"}': 2}),
        ({"runs": "5x300"}, {'{kind="none"}': 0}),
        ({}, {}),
    ],
)
def test_that_there_is_none_is_said_only_where_it_is_known(
    series: dict[str, str], expected: dict[str, float]
) -> None:
    asked = or_none("sum by (kind) (errors)", "runs", "kind", "none")

    hold(series, [(asked, expected, AT)])
