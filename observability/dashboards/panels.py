"""Makers of panels: each is numbered, says what it shows, and has a unit.

A page chains `.span(12).height(8)` and what else it wants of the library's own builder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

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
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as parts
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType
from grafana_foundation_sdk.models.text import TextMode

from observability.dashboards import links
from observability.dashboards.style import GOOD, LINES, TEXT, TIME, Property, coloured_text, fixed

PROMETHEUS = kinds.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO = kinds.DataSourceRef(type_val=links.TEMPO, uid=links.TEMPO)

Panel = Builder[parts.Panel]
Query = prometheus.Dataquery

NOTHING = "Nothing in this time range"

# What a table shows of a field: its title, and how it looks.
Fields = Mapping[str, tuple[str, Sequence[Property]]]


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
        .draw_style(kinds.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(8)
        .show_points(kinds.VisibilityMode.AUTO)
        .span_nulls(30_000)
        .color_scheme(dashboard.FieldColor().mode(parts.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .tooltip(
            common.VizTooltipOptions()
            .mode(kinds.TooltipDisplayMode.MULTI)
            .sort(kinds.SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .targets(lettered(queries))
    )
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [fixed(colour)])
    return panel


def lines(
    number: int, title: str, description: str, unit: str, expressions: Mapping[str, str]
) -> timeseries.Panel:
    """Draw an expression for each legend, in the colour that this has on every page.

    Lines of labels have colours in their order, so that many are told apart.
    """
    queries = [course(expression, legend) for legend, expression in expressions.items()]
    colours = {legend: LINES[legend] for legend in expressions if legend in LINES}
    return graph(number, title, description, unit, *queries, colours=colours).color_scheme(
        dashboard.FieldColor().mode(parts.FieldColorModeId.PALETTE_CLASSIC)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Stack the lines of a graph as filled areas."""
    return (
        panel.fill_opacity(55)
        .line_width(1)
        .show_points(kinds.VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    )


def with_limit(panel: timeseries.Panel, limit: float, colour: str) -> timeseries.Panel:
    """Draw a dashed line at a limit."""
    return panel.thresholds(steps((limit, colour), below="transparent")).thresholds_style(
        common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
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
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.VALUE)
        .text_mode(kinds.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .thresholds(steps(below="text"))
        .targets(lettered(queries))
    )


def steps(*above: tuple[float, str], below: str = GOOD) -> dashboard.ThresholdsConfig:
    """Colour a value by the last of the steps that it has reached."""
    return (
        dashboard.ThresholdsConfig()
        .mode(parts.ThresholdsMode.ABSOLUTE)
        .steps(
            [
                parts.Threshold(None, below),
                *(parts.Threshold(value, colour) for value, colour in above),
            ]
        )
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a joined table: an expression with one value for each row."""

    title: str
    expression: str
    unit: str
    properties: Sequence[Property] = ()
    colour: str = ""

    def look(self) -> list[Property]:
        """Give the column its unit, its colour, and what else it has."""
        coloured = [fixed(self.colour), coloured_text()] if self.colour else []
        return [Property(id_val="unit", value=self.unit), *coloured, *self.properties]


def joined(
    number: int,
    title: str,
    description: str,
    by: Fields,
    columns: Sequence[Column],
) -> tables.Panel:
    """Join expressions into one table, a row for each value of the first label in `by`.

    `by` has the labels that are shown, before the columns, each with its title and properties.
    Every expression must carry the first, and none but the first column's may have another.
    """
    letters = ascii_uppercase[: len(columns)]
    # Grafana numbers the values where there are several.
    names = [f"Value #{letter}" for letter in letters] if len(columns) > 1 else ["Value"]
    values = {
        name: (column.title, column.look()) for name, column in zip(names, columns, strict=True)
    }
    join = {"byField": next(iter(by)), "mode": "outer"}
    queries = [value(column.expression).format(PromQueryFormat.TABLE) for column in columns]
    return (
        _table(number, title, description, {**by, **values}, _step("joinByField", join))
        .datasource(PROMETHEUS)
        .targets(lettered(queries))
        .span(24)
        .height(9)
    )


def traces(number: int, title: str, description: str, query: str, nothing: str) -> tables.Panel:
    """List the spans that a TraceQL query finds, each linked to its trace; Explore has it too."""
    waterfall = link("Open the trace", links.explore("${__value.text}"))
    # By the names that Tempo's data source shows.
    shown: Fields = {
        "traceIdHidden": (
            "Trace",
            [Property(id_val="custom.hideFrom.viz", value=False), waterfall],
        ),
        "clinic.operation": ("Operation", []),
        "http.response.status_code": ("Status", [width(70)]),
        "Start time": ("Began", [Property(id_val="unit", value=TIME), width(165)]),
        "Duration": ("In server", [Property(id_val="unit", value="ns"), width(90)]),
    }
    # Beside the spans comes how far the search has got.
    spans_alone = _step("filterByRefId", {"include": "traces"})
    target = (
        tempo.Dataquery()
        .ref_id("A")
        .datasource(TEMPO)
        .query_type("traceql")
        .query(query)
        .limit(links.TRACES)
        .spss(1)
        .table_type(SearchTableType.SPANS)
        .filters([])
    )
    explore = dashboard.DashboardLink("These traces in Explore").url(links.explore(query))
    return (
        _table(number, title, description, shown, spans_alone)
        .datasource(TEMPO)
        .targets([target])
        .no_value(nothing)
        .links([explore.type(parts.DashboardLinkType.LINK)])
        .span(24)
        .height(9)
    )


def _table(
    number: int, title: str, description: str, fields: Fields, first: parts.DataTransformerConfig
) -> tables.Panel:
    """Make a table of these fields alone, in this order, each under its title."""
    names = {field: shown for field, (shown, _) in fields.items()}
    order = {field: place for place, field in enumerate(fields)}
    panel = (
        tables.Panel()
        .id(number)
        .title(title)
        .description(description)
        .unit(TEXT)
        .no_value(NOTHING)
        .min_width(70)
        .transformations(
            [
                first,
                _step("filterFieldsByName", {"include": {"names": list(fields)}}),
                _step("organize", {"indexByName": order, "renameByName": names}),
            ]
        )
    )
    # The panel's own words for no value are of the whole table, too long for a cell.
    every = [("custom.wrapHeaderText", True), ("noValue", "-")]
    panel.override_by_regexp("/.+/", [Property(id_val=name, value=to) for name, to in every])
    for shown, properties in fields.values():
        panel.override_by_name(shown, list(properties))
    return panel


def _step(name: str, options: object) -> parts.DataTransformerConfig:
    return parts.DataTransformerConfig(id_val=name, options=options)


def link(title: str, address: str, *, new_tab: bool = False) -> Property:
    """Lead from a cell or a point to an address, which may name the row's other fields."""
    return Property(
        id_val="links", value=[{"title": title, "url": address, "targetBlank": new_tab}]
    )


def width(pixels: int) -> Property:
    return Property(id_val="custom.width", value=pixels)


def hidden(*, yes: bool = True) -> Property:
    """Keep a column for links alone."""
    return Property(id_val="custom.hideFrom.viz", value=yes)


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
