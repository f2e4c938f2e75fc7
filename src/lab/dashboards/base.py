"""What all dashboards share: links, annotations and variables."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models import dashboard as models

from lab.dashboards import style
from lab.dashboards.panels import PROMETHEUS_SOURCE, Panel
from lab.promql import load_run, run_list
from lab.promql.selectors import RETENTION, RunList

TAG = "vet-clinic"
# Titles and descriptions by uid, in the order of the links.
DASHBOARDS = {
    "home": ("Home", "Where to start: commands, dashboards, recent runs, and current alerts."),
    "load-test": (
        "Load test",
        "One run: which operations are slow or fail, where the time goes, which traces show it.",
    ),
    "runs": ("Runs", "All runs, and two of them side by side, operation by operation."),
    "clinic-api": (
        "Clinic API",
        "The API now, whoever calls it: requests by route, database, process, and alerts.",
    ),
    "telemetry": (
        "Telemetry",
        "The telemetry itself: whether spans or samples are lost, and how near the limits are.",
    ),
}
WITH_RUN_PICKER = {"load-test", "runs"}
HIDDEN = models.VariableHide.HIDE_VARIABLE


def make_dashboard(
    uid: str,
    rows: Mapping[str, Sequence[Panel]],
    *,
    variables: Sequence[QueryVariable | dashboard.CustomVariable] = (),
    time: str = "now-30m",
) -> Dashboard:
    """Make a dashboard of titled rows; the first may be untitled.

    Every dashboard has the variable of the run, so that links pass it on; those about runs show
    it. A row's panels fill lines of 24 columns. Panels of the second row have ids 201, 202, …
    """
    title, description = DASHBOARDS[uid]
    run = run_variable() if uid in WITH_RUN_PICKER else run_variable().hide(HIDDEN)
    result = Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    result.tooltip(models.DashboardCursorSync.CROSSHAIR).timezone("browser").time(time, "now")
    result.links([_link(other) for other in DASHBOARDS if other not in {uid, "home"}])
    all_runs = RunList(RETENTION)
    starts = load_run.started(all_runs, run_list.RUN_LABELS)
    ends = load_run.ended(all_runs, run_list.RUN_LABELS)
    result.variables([run, *variables]).annotations(
        [
            _annotation("Run starts", starts, style.CLIENT, "{{testid}} started"),
            _annotation("Run ends", ends, style.NEUTRAL, "{{testid}} ended"),
        ]
    )
    for row, (row_title, panels) in enumerate(rows.items(), start=1):
        if row_title:
            result.with_row(dashboard.Row(row_title).id(100 * row))
        for number, panel in enumerate(panels, start=100 * row + 1):
            panel.build().id_val = number
            result.with_panel(panel)
    return result


def _link(uid: str) -> dashboard.DashboardLink:
    """Link to another dashboard with the same run and time range."""
    link = dashboard.DashboardLink(DASHBOARDS[uid][0]).url(f"/d/{uid}")
    return link.include_vars(True).keep_time(True)


def _annotation(name: str, seconds: str, colour: str, text: str) -> dashboard.AnnotationQuery:
    annotation = dashboard.AnnotationQuery().name(name).datasource(PROMETHEUS_SOURCE).enable(True)
    annotation.icon_color(colour).title_format(text).text_format("{{profile}}, {{journey}}")
    return annotation.expr(f"1000 * ({seconds})").use_value_for_time(True).step("5s")


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


def number_variable(name: str, expression: str) -> QueryVariable:
    """Compute a number for other queries to use."""
    variable = _query_variable(name, name, f"query_result({expression})")
    return variable.regex(r"/} ([0-9.]+) /").hide(HIDDEN)


def _query_variable(name: str, label: str, query: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).datasource(PROMETHEUS_SOURCE)
    variable.query({"qryType": 3 if query.startswith("query_result") else 1, "query": query})
    variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(models.VariableSort.DISABLED)
