"""What all dashboards share: links, annotations and variables."""

from collections.abc import Mapping, Sequence
from itertools import chain

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef

from lab.dashboards import panels, style
from lab.dashboards.explore import METRICS, TRACE_STORE
from lab.dashboards.panels import PROMETHEUS_SOURCE, TEMPO_SOURCE, Panel
from lab.promql import load_run, run_list, run_range
from lab.promql.needs import NEEDS
from lab.promql.selectors import RETENTION, RunList, RunSelector

TAG = "vet-clinic"
# Titles and descriptions by uid, in the order of the links.
DASHBOARDS = {
    "clinic-home": (
        "Home",
        "Where to start: commands, dashboards, recent runs, and current alerts.",
    ),
    "clinic-load-test": (
        "Load test",
        "One run: passed or failed, what limited it, which operations are slow or fail, and why.",
    ),
    "clinic-runs": (
        "Runs",
        "All runs: their trend over time, and two of them side by side, operation by operation.",
    ),
    "clinic-api": (
        "Clinic API",
        "The API now, whoever calls it: requests by route, database, process, and alerts.",
    ),
    "clinic-telemetry": (
        "Telemetry",
        "The telemetry itself: whether spans or samples are lost, and how near the limits are.",
    ),
}
# A trend of runs is not to be seen in the time range of one.
OWN_RANGES = {"clinic-runs": f"from=now-{RETENTION}&to=now"}
WITH_RUN_PICKER = {"clinic-load-test", "clinic-runs"}
HIDDEN = models.VariableHide.HIDE_VARIABLE


def make_dashboard(
    uid: str,
    rows: Mapping[str, Sequence[Panel]],
    *,
    variables: Sequence[QueryVariable | dashboard.CustomVariable | dashboard.TextBoxVariable] = (),
    time: str = "now-30m",
    band: RunSelector | RunList | None = None,
) -> Dashboard:
    """Make a dashboard of titled rows; the first may be untitled.

    Every dashboard has the variables of the run and of both data sources, so that links pass them
    on; it shows those that it uses. A row's panels fill lines of 24 columns, but for those with a
    place of their own. Panels of the second row have ids 201, 202, …
    Graphs have a band for each of the runs in `band`.
    """
    title, description = DASHBOARDS[uid]
    run = run_variable() if uid in WITH_RUN_PICKER else run_variable().hide(HIDDEN)
    result = Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    result.tooltip(models.DashboardCursorSync.CROSSHAIR).timezone("utc").time(time, "now")
    result.links([_link(other) for other in DASHBOARDS if other not in {uid, "clinic-home"}])
    everything = [panel.build() for panel in chain(*rows.values())]
    traces_used = any(built.datasource == TEMPO_SOURCE for built in everything)
    result.variables(
        [
            _source_variable(PROMETHEUS_SOURCE, METRICS, "Metrics"),
            _source_variable(TEMPO_SOURCE, TRACE_STORE, "Traces").hide(
                models.VariableHide.DONT_HIDE if traces_used else HIDDEN
            ),
            run,
            *variables,
        ]
    )
    if band:
        result.annotations([_annotation(run_range.band(band, "$__from", "$__to"))])
    needed = {need for built in everything for need in panels.needed_by(built)}
    for built in everything:
        panels.say_needs(built)
    if uid != "clinic-home":
        in_order = [need for need in NEEDS if need in needed]
        rows = {**rows, "Needs": [panels.needs_table(in_order)]}
    bottom = 0
    for row, (row_title, its_panels) in enumerate(rows.items(), start=1):
        if row_title:
            below = models.GridPos(h=1, w=24, x=0, y=bottom)
            result.with_row(dashboard.Row(row_title).id(100 * row).grid_pos(below))
        for number, panel in enumerate(its_panels, start=100 * row + 1):
            panel.build().id_val = number
            result.with_panel(panel)
            if place := panel.build().grid_pos:
                bottom = max(bottom, place.y + place.h)
    return result


def _link(uid: str) -> dashboard.DashboardLink:
    """Link to another dashboard with the same run, and time range if it has none of its own."""
    title, own_range = DASHBOARDS[uid][0], OWN_RANGES.get(uid)
    link = dashboard.DashboardLink(title).url(f"/d/{uid}" + (f"?{own_range}" if own_range else ""))
    return link.include_vars(True).keep_time(not own_range)


def _annotation(moments: str) -> dashboard.AnnotationQuery:
    """Mark runs by bands; the query has the present as its values, within each run."""
    annotation = dashboard.AnnotationQuery().name("Runs").datasource(PROMETHEUS_SOURCE).enable(True)
    annotation.icon_color(style.NEUTRAL).title_format("{{testid}}").text_format("Run {{testid}}")
    return annotation.expr(moments).use_value_for_time(True).step("5s")


def _source_variable(source: DataSourceRef, name: str, label: str) -> dashboard.DatasourceVariable:
    """Offer the data sources of a type; at first Grafana's default one, or else the first.

    Without the word, Grafana would take the first by name, which in Grafana Cloud is another.
    """
    variable = dashboard.DatasourceVariable(name).label(label).type(str(source.type_val))
    variable.current(models.VariableOption(text="default", value="default"))
    return variable.description(f"The data source of this dashboard's {label.lower()}.")


def run_variable(name: str = "testid", label: str = "Run", matchers: str = "") -> QueryVariable:
    """Offer the runs that started before the end of the time range, newest first."""
    runs = run_list.choices(RunList(RETENTION, matchers))
    return _query_variable(name, label, f"query_result({runs})").regex(
        r'/run="(?<text>[^"]+)".*testid="(?<value>[^"]+)"/'
    )


def scenario_variable() -> QueryVariable:
    """Offer the run's scenarios, one, several or all."""
    scenarios = f'label_values({load_run.REQUESTS}{{testid="$testid"}}, scenario)'
    variable = _query_variable("scenario", "Scenario", scenarios)
    variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".+")


def label_values_variable(name: str, label: str, metric: str) -> QueryVariable:
    """Offer the values that a label of the same name has; one, several or all."""
    variable = _query_variable(name, label, f"label_values({metric}, {name})")
    variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".*")


def label_variable(name: str, expression: str) -> QueryVariable:
    """Take the label of that name from an expression, for links."""
    variable = _query_variable(name, name, f"query_result({expression})")
    return variable.regex(f'/{name}="([^"]*)"/').hide(HIDDEN)


def number_variable(name: str, expression: str) -> QueryVariable:
    """Compute a number for other queries to use."""
    variable = _query_variable(name, name, f"query_result({expression})")
    return variable.regex(r"/} ([0-9.]+) /").hide(HIDDEN)


def _query_variable(name: str, label: str, query: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).datasource(PROMETHEUS_SOURCE)
    variable.query({"qryType": 3 if query.startswith("query_result") else 1, "query": query})
    variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(models.VariableSort.DISABLED)
