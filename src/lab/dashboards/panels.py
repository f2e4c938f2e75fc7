"""Makers of panels: each has a title, a unit and a size.

They are the library's own builders: a page chains the description and what else it wants, such
as `.span(12).height(8)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Self

from grafana_foundation_sdk.builders import common, dashboard, prometheus, tempo, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import text as texts
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as parts
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from lab.dashboards import links, style
from lab.dashboards.style import Property

PROMETHEUS = kinds.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO = kinds.DataSourceRef(type_val=links.TEMPO, uid=links.TEMPO)
LAST = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")

NOTHING = "Nothing in this time range"

Panel = Builder[parts.Panel]
Stat = stats.Panel
Table = tables.Panel
# Expressions by their legends, which name labels as {{label}}.
Lines = Mapping[str, str]
# What a table shows of a field: its title, and how it looks.
Fields = Mapping[str, tuple[str, Sequence[Property]]]


def courses(asked: Lines) -> list[Builder[Dataquery]]:
    """Ask for expressions over the time range."""
    return [_query(place, *one).range() for place, one in enumerate(asked.items())]


def values(asked: Lines) -> list[Builder[Dataquery]]:
    """Ask for expressions at the end of the time range."""
    return [_query(place, *one).instant() for place, one in enumerate(asked.items())]


def _query(place: int, legend: str, expression: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(PROMETHEUS).ref_id(ascii_uppercase[place])
    return query.expr(expression).legend_format(legend or "__auto")


class Graph(timeseries.Panel):
    """Lines over time."""

    def line(self, legend: str, expression: str, *, exemplars: bool = False) -> Self:
        """Draw an expression, in the colour that its legend has on every page if it has one."""
        query = _query(len(self.build().targets or []), legend, expression).range()
        self.with_target(query.exemplar(True) if exemplars else query)
        return self.coloured({legend: style.LINES[legend]} if legend in style.LINES else {})

    def coloured(self, colours: Mapping[str, str]) -> Self:
        """Give series a colour by their legend."""
        for name, colour in colours.items():
            self.override_by_name(name, [style.fixed(colour)])
        return self

    def stacked(self) -> Self:
        """Stack the lines as filled areas."""
        stacking = common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A")
        self.fill_opacity(55).line_width(1).show_points(kinds.VisibilityMode.NEVER)
        return self.stacking(stacking)

    def limit(self, limit: float, colour: str) -> Self:
        """Draw a dashed line at a limit."""
        dashed = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        steps = style.steps((limit, colour), below="transparent")
        return self.thresholds(steps).thresholds_style(dashed)

    def on_the_right(self, legend: str, unit: str) -> Self:
        """Measure a series on an axis of its own."""
        looks = {"unit": unit, "custom.axisPlacement": "right", "custom.fillOpacity": 0}
        properties = [Property(id_val=name, value=to) for name, to in looks.items()]
        return self.override_by_name(legend, properties)

    def leading_to(self, title: str, query: str) -> Self:
        """Lead from a point to what a TraceQL query finds."""
        return self.data_links([dashboard.DashboardLink(title).url(links.explore(query))])


def graph(title: str, unit: str, asked: Lines | None = None) -> Graph:
    """Draw lines over time; one without a colour of its own has one by its name."""
    panel = Graph().title(title).unit(unit).datasource(PROMETHEUS).min(0).no_value(NOTHING)
    panel.span(12).height(8)
    panel.draw_style(kinds.GraphDrawStyle.LINE).line_width(2).fill_opacity(8)
    panel.show_points(kinds.VisibilityMode.AUTO).span_nulls(30_000)
    panel.color_scheme(_scheme(parts.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)
    legends = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    panel.tooltip(tooltip.sort(kinds.SortOrder.DESCENDING)).legend(legends)
    for legend, expression in (asked or {}).items():
        panel.line(legend, expression)
    return panel


def lines(title: str, unit: str, asked: Lines | None = None) -> Graph:
    """Draw lines whose colours are in their order, so that many of one legend are told apart."""
    return graph(title, unit, asked).color_scheme(_scheme(parts.FieldColorModeId.PALETTE_CLASSIC))


def _scheme(mode: parts.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def stat(
    title: str,
    unit: str,
    asked: str | Lines,
    *,
    warning: float | None = None,
    bad: float | None = None,
) -> Stat:
    """Show one large value, or several by name, coloured from where it warns or is bad."""
    steps = ((warning, style.WARNING), (bad, style.BAD))
    above = [(at, colour) for at, colour in steps if at is not None]
    panel = Stat().title(title).unit(unit).datasource(PROMETHEUS).no_value("-").span(4).height(4)
    panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.VALUE)
    panel.text_mode(kinds.BigValueTextMode.AUTO).reduce_options(LAST)
    panel.thresholds(style.steps(*above, below=style.GOOD if above else "text"))
    return panel.targets(values({"": asked} if isinstance(asked, str) else asked))


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
        coloured = [style.fixed(self.colour), style.COLOURED_TEXT] if self.colour else []
        return [style.unit(self.unit), *coloured, *self.properties]


def joined(title: str, by: Fields, *columns: Column) -> Table:
    """Join expressions into one table, a row for each value of the first label in `by`.

    `by` has the labels that are shown, before the columns, each with its title and properties.
    Every expression must carry the first, and none but the first column's may have another.
    """
    # Grafana numbers the values where there are several.
    letters = [f" #{letter}" for letter in ascii_uppercase] if len(columns) > 1 else [""]
    shown = {
        f"Value{letter}": (column.title, column.look())
        for letter, column in zip(letters, columns, strict=False)
    }
    queries = [
        _query(place, "", column.expression).instant().format(PromQueryFormat.TABLE)
        for place, column in enumerate(columns)
    ]
    join = _step("joinByField", {"byField": next(iter(by)), "mode": "outer"})
    return _table(title, {**by, **shown}, join).datasource(PROMETHEUS).targets([*queries])


def traces(title: str, query: str) -> Table:
    """List the spans that a TraceQL query finds, each linked to its trace; Explore has it too."""
    seen = Property(id_val="custom.hideFrom.viz", value=False)
    waterfall = style.link("Open the trace", links.explore("${__value.text}"))
    # By the names that Tempo's data source shows.
    shown: Fields = {
        "traceIdHidden": ("Trace", [seen, waterfall]),
        "clinic.operation": ("Operation", []),
        "http.response.status_code": ("Status", [style.width(70)]),
        "Start time": ("Began", [style.unit(style.TIME), style.width(165)]),
        "Duration": ("In server", [style.unit("ns"), style.width(90)]),
    }
    # Beside the spans comes how far the search has got.
    spans_alone = _step("filterByRefId", {"include": "traces"})
    target = tempo.Dataquery().ref_id("A").datasource(TEMPO).query_type("traceql").query(query)
    target.limit(links.TRACES).spss(1).table_type(SearchTableType.SPANS)
    explore = dashboard.DashboardLink("These traces in Explore").url(links.explore(query))
    table = _table(title, shown, spans_alone).datasource(TEMPO)
    return table.targets([target]).links([explore])


def _table(title: str, fields: Fields, first: parts.DataTransformerConfig) -> Table:
    """Make a table of these fields alone, in this order, each under its title."""
    names = {field: shown for field, (shown, _) in fields.items()}
    order = {field: place for place, field in enumerate(fields)}
    chosen = _step("filterFieldsByName", {"include": {"names": list(fields)}})
    named = _step("organize", {"indexByName": order, "renameByName": names})
    panel = Table().title(title).unit(style.TEXT).no_value(NOTHING).span(24).height(9)
    panel.min_width(56).transformations([first, chosen, named])
    # The panel's own words for no value are of the whole table, too long for a cell.
    every = [("custom.wrapHeaderText", True), ("noValue", "-")]
    panel.override_by_regexp("/.+/", [Property(id_val=name, value=to) for name, to in every])
    for shown, properties in fields.values():
        panel.override_by_name(shown, list(properties))
    return panel


def _step(name: str, options: object) -> parts.DataTransformerConfig:
    return parts.DataTransformerConfig(id_val=name, options=options)


def text(markdown: str) -> texts.Panel:
    """Write a paragraph of Markdown."""
    return texts.Panel().title("").transparent(True).content(markdown).span(24).height(4)
