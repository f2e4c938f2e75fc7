"""Makers of panels: each is numbered, says what it shows, and has a unit.

A page chains `.span(12).height(8)` and what else it wants of the library's own builder.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from urllib.parse import quote

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import text as texts
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.dashboard import Panel as BuiltPanel
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType
from grafana_foundation_sdk.models.text import TextMode

from observability.dashboards.style import GOOD, TEXT, Property, coloured_text, fixed

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO = DataSourceRef(type_val="tempo", uid="tempo")

Panel = Builder[BuiltPanel]
Query = prometheus.Dataquery

NOTHING = "Nothing in this time range"
TRACES = 30


def course(expression: str, legend: str = "") -> Query:
    """Ask for an expression over the time range; a legend names labels as {{label}}."""
    return _promql(expression).range().legend_format(legend or "__auto")


def value(expression: str, legend: str = "") -> Query:
    """Ask for an expression at the end of the time range."""
    return _promql(expression).instant().legend_format(legend or "__auto")


def _promql(expression: str) -> Query:
    return Query().expr(expression).datasource(PROMETHEUS)


def graph(
    number: int,
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Draw lines over time; `colours` are of series by their legend, the others are chosen."""
    panel = (
        timeseries.Panel()
        .id(number)
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .no_value(NOTHING)
        .span(12)
        .height(8)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(8)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(30_000)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .calcs([])
        )
        .targets(lettered(queries))
    )
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [fixed(colour)])
    return panel


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Stack the lines of a graph as filled areas."""
    return (
        panel.fill_opacity(55)
        .line_width(1)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    )


def with_limit(panel: timeseries.Panel, limit: float, colour: str) -> timeseries.Panel:
    """Draw a dashed line at a limit."""
    return panel.thresholds(steps((limit, colour), below="transparent")).thresholds_style(
        common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    )


def on_the_right(panel: timeseries.Panel, name: str, unit: str) -> timeseries.Panel:
    """Measure a series, by its legend, on an axis of its own."""
    return panel.override_by_name(
        name,
        [
            Property(id_val="unit", value=unit),
            Property(id_val="custom.axisPlacement", value="right"),
            Property(id_val="custom.fillOpacity", value=0),
        ],
    )


def stat(number: int, title: str, description: str, unit: str, *queries: Query) -> stats.Panel:
    """Show one large value for each query, plain until it is given thresholds or words."""
    return (
        stats.Panel()
        .id(number)
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .no_value("-")
        .span(4)
        .height(4)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .text_mode(BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .thresholds(steps(below="text"))
        .targets(lettered(queries))
    )


def steps(*above: tuple[float, str], below: str = GOOD) -> dashboard.ThresholdsConfig:
    """Colour a value by the last of the steps that it has reached."""
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(None, below), *(Threshold(value, colour) for value, colour in above)])
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a joined table: an expression with one value for each row."""

    title: str
    expression: str
    unit: str
    properties: Sequence[Property] = ()
    colour: str = ""


def joined(
    number: int,
    title: str,
    description: str,
    by: Mapping[str, tuple[str, Sequence[Property]]],
    columns: Sequence[Column],
) -> tables.Panel:
    """Join expressions into one table, a row for each value of the first label in `by`.

    `by` has the labels that are shown, before the columns, each with its title and properties.
    Every expression must carry the first, and none but the first column's may have another.
    """
    key = next(iter(by))
    titles = {label: shown for label, (shown, _) in by.items()}
    letters = ascii_uppercase[: len(columns)]
    # Grafana numbers the values where there are several.
    names = [f"Value #{letter}" for letter in letters] if len(columns) > 1 else ["Value"]
    values = {name: column.title for name, column in zip(names, columns, strict=True)}
    kept = f"^({'|'.join((*by, *names))})$"
    order = {name: place for place, name in enumerate((*by, *values))}
    panel = (
        tables.Panel()
        .id(number)
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(TEXT)
        .no_value(NOTHING)
        .span(24)
        .height(9)
        .targets(
            lettered([value(c.expression).format(PromQueryFormat.TABLE) for c in columns]),
        )
        .transformations(
            [
                DataTransformerConfig(
                    id_val="joinByField", options={"byField": key, "mode": "outer"}
                ),
                DataTransformerConfig(
                    id_val="filterFieldsByName", options={"include": {"pattern": kept}}
                ),
                DataTransformerConfig(
                    id_val="organize",
                    options={"indexByName": order, "renameByName": titles | values},
                ),
            ]
        )
    )
    for shown, properties in by.values():
        panel.override_by_name(shown, list(properties))
    for column in columns:
        of_all = [Property(id_val="unit", value=column.unit)]
        if column.colour:
            of_all += [fixed(column.colour), coloured_text()]
        panel.override_by_name(column.title, [*of_all, *column.properties])
    return panel


def traces(number: int, title: str, description: str, query: str, nothing: str) -> tables.Panel:
    """List the spans that a TraceQL query finds, each linked to its trace; Explore has it too."""
    target = (
        tempo.Dataquery()
        .ref_id("A")
        .datasource(TEMPO)
        .query_type("traceql")
        .query(query)
        .limit(TRACES)
        .spss(1)
        .table_type(SearchTableType.SPANS)
        .filters([])
    )
    return (
        tables.Panel()
        .id(number)
        .title(title)
        .description(description)
        .datasource(TEMPO)
        .unit(TEXT)
        .no_value(nothing)
        .span(12)
        .height(10)
        .targets([target])
        .links(
            [
                dashboard.DashboardLink("These traces in Explore")
                .type(DashboardLinkType.LINK)
                .url(explore_traces(query))
            ]
        )
    )


def explore_traces(query: str) -> str:
    """Link to Explore with a TraceQL query and the page's time range; variables are filled in."""
    pane = {
        "datasource": TEMPO.uid,
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": TEMPO.type_val, "uid": TEMPO.uid},
                "queryType": "traceql",
                "query": query,
                "limit": TRACES,
                "tableType": "spans",
            }
        ],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    return f"/explore?schemaVersion=1&orgId=1&panes={_encoded(json.dumps({'a': pane}))}"


def _encoded(text: str) -> str:
    """Encode for an address all but the variables, which Grafana fills in."""
    parts = re.split(r"(\$\{[^}]*\}|\$\w+)", text)
    return "".join(part if at % 2 else quote(part, safe="") for at, part in enumerate(parts))


def link(title: str, address: str, *, new_tab: bool = False) -> Property:
    """Lead from a cell or a point to an address, which may name the row's other fields."""
    return Property(
        id_val="links", value=[{"title": title, "url": address, "targetBlank": new_tab}]
    )


def width(pixels: int) -> Property:
    return Property(id_val="custom.width", value=pixels)


def hidden() -> Property:
    """Keep a column for links alone."""
    return Property(id_val="custom.hideFrom.viz", value=True)


def text(number: int, markdown: str) -> texts.Panel:
    """Write a paragraph."""
    return (
        texts.Panel()
        .id(number)
        .title("")
        .transparent(True)
        .mode(TextMode.MARKDOWN)
        .content(markdown)
        .span(24)
        .height(4)
    )


def lettered(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    """Name queries A, B, … as panels know them."""
    return [query.ref_id(letter) for query, letter in zip(queries, ascii_uppercase, strict=False)]
