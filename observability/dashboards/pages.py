"""Makers of pages: the same links, marks of runs and variables on each."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    CustomVariable,
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as BuiltAnnotation
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableRefresh,
    VariableSort,
)

from observability.dashboards.panels import PROMETHEUS, Panel
from observability.dashboards.style import CLIENT, NEUTRAL
from observability.queries import history
from observability.queries.names import KEPT

TAG = "vet-clinic"
# The pages in the order in which links name them.
TITLES = {
    "home": "Home",
    "load-test": "Load test",
    "runs": "Runs",
    "clinic-api": "Clinic API",
    "telemetry": "Telemetry",
}
ABOUT_RUNS = {"load-test", "runs"}
HIDDEN = VariableHide.HIDE_VARIABLE


def page(
    uid: str,
    description: str,
    rows: Mapping[str, Sequence[Panel]],
    *,
    variables: Sequence[QueryVariable | CustomVariable] = (),
    time: str = "now-30m",
) -> Dashboard:
    """Make a page of titled rows, which stand one below another; the first may be untitled.

    Every page carries the run from link to link; those about runs let one choose it. A row's
    panels fill lines of 24 columns. Its number is that of its first panel, rounded down to a
    hundred: panels 201, 202, … stand in row 200.
    """
    run = run_variable() if uid in ABOUT_RUNS else run_variable().hide(HIDDEN)
    made = (
        Dashboard(TITLES[uid])
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .time(time, "now")
        .annotations(_marks_of_runs())
        .links([_to(one, name) for one, name in TITLES.items() if one not in {uid, "home"}])
        .variables([run, *variables])
    )
    for title, panels in rows.items():
        if title:
            first = panels[0].build().id_val or 0
            made.with_row(Row(title).id(first // 100 * 100))
        for panel in panels:
            made.with_panel(panel)
    return made


def _to(uid: str, title: str) -> DashboardLink:
    """Link to another page of the same run and time."""
    return (
        DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(f"/d/{uid}")
        .include_vars(True)
        .keep_time(True)
    )


def run_variable(name: str = "testid", label: str = "Run", only: str = "") -> QueryVariable:
    """Choose one of the runs that began before the end of the time range, newest first."""
    return _query_variable(name, label, f"query_result({history.choices(KEPT, only)})").regex(
        r'/run="(?<text>[^"]+)".*testid="(?<value>[^"]+)"/'
    )


def scenario_variable() -> QueryVariable:
    """Choose among the run's scenarios, or all of them at once."""
    scenarios = 'label_values(k6_http_reqs_total{testid="$testid"}, scenario)'
    return (
        _query_variable("scenario", "Scenario", scenarios)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )


def hidden_variable(name: str, expression: str, regex: str) -> QueryVariable:
    """Compute a number by PromQL for other queries to use."""
    return _query_variable(name, name, f"query_result({expression})").regex(regex).hide(HIDDEN)


def _query_variable(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"qryType": 3 if query.startswith("query_result") else 1, "query": query})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.DISABLED)
    )


def _marks_of_runs() -> list[Builder[BuiltAnnotation]]:
    return [
        _mark("Runs begin", history.runs(KEPT), CLIENT, "{{testid}} began"),
        _mark("Runs end", history.ends(KEPT), NEUTRAL, "{{testid}} ended"),
    ]


def _mark(name: str, seconds: str, colour: str, text: str) -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(colour)
        .expr(f"1000 * ({seconds})")
        .title_format(text)
        .text_format("{{profile}}, {{journey}}")
        .use_value_for_time(True)
        .step("5s")
    )
