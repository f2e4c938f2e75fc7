"""Makers of pages: the same links, marks of runs and variables on each."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models import dashboard as parts

from lab.dashboards import style
from lab.dashboards.panels import PROMETHEUS, Panel
from lab.promql import load_run, run_list
from lab.promql.selectors import RETENTION, RunList

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
HIDDEN = parts.VariableHide.HIDE_VARIABLE


def page(
    uid: str,
    description: str,
    rows: Mapping[str, Sequence[Panel]],
    *,
    variables: Sequence[QueryVariable | dashboard.CustomVariable] = (),
    time: str = "now-30m",
) -> Dashboard:
    """Make a page of titled rows, which stand one below another; the first may be untitled.

    Every page carries the run from link to link; those about runs let one choose it. A row's
    panels fill lines of 24 columns. The second row is number 200, and its panels 201, 202, …
    """
    run = run_variable() if uid in ABOUT_RUNS else run_variable().hide(HIDDEN)
    made = Dashboard(TITLES[uid]).uid(uid).description(description).tags([TAG]).readonly()
    made.tooltip(parts.DashboardCursorSync.CROSSHAIR).timezone("browser").time(time, "now")
    made.links([_to(one, name) for one, name in TITLES.items() if one not in {uid, "home"}])
    began = _mark(
        "Runs begin",
        load_run.started(RunList(RETENTION), run_list.RUN_LABELS),
        style.CLIENT,
        "{{testid}} began",
    )
    ended = _mark(
        "Runs end",
        load_run.ended(RunList(RETENTION), run_list.RUN_LABELS),
        style.NEUTRAL,
        "{{testid}} ended",
    )
    made.variables([run, *variables]).annotations([began, ended])
    for place, (title, panels) in enumerate(rows.items(), start=1):
        if title:
            made.with_row(dashboard.Row(title).id(100 * place))
        for panel in _numbered(panels, 100 * place):
            made.with_panel(panel)
    return made


def _numbered(panels: Sequence[Panel], row: int) -> Iterator[Panel]:
    """Give panels the numbers of their row in their order, but for those that have their own.

    A panel keeps its number, by which an address names it, where another is put before it.
    """
    taken = {panel.build().id_val for panel in panels}
    free = (number for number in count(row + 1) if number not in taken)
    for panel in panels:
        built = panel.build()
        built.id_val = built.id_val or next(free)
        yield panel


def _to(uid: str, title: str) -> dashboard.DashboardLink:
    """Link to another page of the same run and time."""
    link = dashboard.DashboardLink(title).url(f"/d/{uid}")
    return link.include_vars(True).keep_time(True)


def run_variable(name: str = "testid", label: str = "Run", only: str = "") -> QueryVariable:
    """Choose one of the runs that began before the end of the time range, newest first."""
    return _query_variable(
        name, label, f"query_result({run_list.choices(RunList(RETENTION, only))})"
    ).regex(r'/run="(?<text>[^"]+)".*testid="(?<value>[^"]+)"/')


def scenario_variable() -> QueryVariable:
    """Choose among the run's scenarios, or all of them at once."""
    scenarios = f'label_values({load_run.REQUESTS}{{testid="$testid"}}, scenario)'
    return (
        _query_variable("scenario", "Scenario", scenarios)
        .sort(parts.VariableSort.ALPHABETICAL_ASC)
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
        .refresh(parts.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(parts.VariableSort.DISABLED)
    )


def _mark(name: str, seconds: str, colour: str, text: str) -> dashboard.AnnotationQuery:
    mark = dashboard.AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True)
    mark.icon_color(colour).title_format(text).text_format("{{profile}}, {{journey}}")
    return mark.expr(f"1000 * ({seconds})").use_value_for_time(True).step("5s")
