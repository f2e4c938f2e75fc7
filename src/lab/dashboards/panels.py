"""Makers of panels with a title, a unit and a size.

They return the library's own builders: a dashboard chains the description and what else it wants,
such as `.span(12).height(8)`.
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
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from lab.dashboards import style
from lab.dashboards.explore import TEMPO, TRACES, explore_url
from lab.dashboards.style import Property

PROMETHEUS_SOURCE = options.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO_SOURCE = options.DataSourceRef(type_val=TEMPO, uid=TEMPO)
LAST_VALUE = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")

NO_DATA = "No data in this time range"
EXPLORE_TRACES = "Traces in Explore"

Panel = Builder[models.Panel]
Stat = stats.Panel
Table = tables.Panel
# Expressions by legend; a legend may use labels, as {{label}}.
Series = Mapping[str, str]
# The fields that a table shows: title and properties of each.
Fields = Mapping[str, tuple[str, Sequence[Property]]]


def _query(index: int, legend: str, expression: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(PROMETHEUS_SOURCE).ref_id(ascii_uppercase[index])
    return query.expr(expression).legend_format(legend or "__auto")


def range_queries(series: Series) -> list[Builder[Dataquery]]:
    """Query expressions over the time range."""
    return [_query(i, *item).range() for i, item in enumerate(series.items())]


def instant_queries(series: Series) -> list[Builder[Dataquery]]:
    """Query expressions at the end of the time range."""
    return [_query(i, *item).instant() for i, item in enumerate(series.items())]


class Graph(timeseries.Panel):
    """Lines over time."""

    def colours(self, colours: Mapping[str, str]) -> Self:
        """Colour series by legend."""
        for legend, colour in colours.items():
            self.override_by_name(legend, [style.fixed(colour)])
        return self

    def stacked(self) -> Self:
        """Stack the lines as filled areas."""
        stacking = common.StackingConfig().mode(options.StackingMode.NORMAL).group("A")
        self.fill_opacity(55).line_width(1).show_points(options.VisibilityMode.NEVER)
        return self.stacking(stacking)

    def limit(self, limit: float, colour: str) -> Self:
        """Draw a dashed line at a limit."""
        dashed = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        steps = style.steps((limit, colour), below="transparent")
        return self.thresholds(steps).thresholds_style(dashed)

    def right_axis(self, legend: str, unit: str) -> Self:
        """Give a series an axis of its own, on the right."""
        looks = {"unit": unit, "custom.axisPlacement": "right", "custom.fillOpacity": 0}
        return self.override_by_name(
            legend, [Property(id_val=name, value=value) for name, value in looks.items()]
        )

    def legend_on_the_right(self) -> Self:
        """Leave room for many series."""
        legend = common.VizLegendOptions().show_legend(True)
        legend.display_mode(options.LegendDisplayMode.LIST)
        return self.legend(legend.placement(options.LegendPlacement.RIGHT))

    def link_to_traces(self, query: str) -> Self:
        """Link points to a TraceQL search."""
        return self.data_links([dashboard.DashboardLink(EXPLORE_TRACES).url(explore_url(query))])


def graph(title: str, unit: str, series: Series, *, exemplars: str = "") -> Graph:
    """Draw lines over time; the series of one legend may show exemplars."""
    panel = Graph().title(title).unit(unit).datasource(PROMETHEUS_SOURCE).min(0).no_value(NO_DATA)
    panel.span(12).height(8)
    panel.draw_style(options.GraphDrawStyle.LINE).line_width(2).fill_opacity(8)
    panel.show_points(options.VisibilityMode.AUTO).span_nulls(30_000)
    palette = dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC)
    tooltip = common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI)
    legend = (
        common.VizLegendOptions().show_legend(True).display_mode(options.LegendDisplayMode.LIST)
    )
    panel.color_scheme(palette).legend(legend)
    panel.tooltip(tooltip.sort(options.SortOrder.DESCENDING))
    queries = [_query(i, *item).range() for i, item in enumerate(series.items())]
    for name, query in zip(series, queries, strict=True):
        panel.with_target(query.exemplar(True) if name == exemplars else query)
    return panel.colours({name: style.LEGENDS[name] for name in series if name in style.LEGENDS})


def stat(
    title: str,
    unit: str,
    series: str | Series,
    *,
    warning: float | None = None,
    bad: float | None = None,
) -> Stat:
    """Show one large value, or several with names, coloured from the given limits on."""
    steps = ((warning, style.WARNING), (bad, style.BAD))
    above = [(limit, colour) for limit, colour in steps if limit is not None]
    panel = Stat().title(title).unit(unit).datasource(PROMETHEUS_SOURCE).no_value("-")
    panel.span(4).height(4).graph_mode(options.BigValueGraphMode.NONE)
    panel.color_mode(options.BigValueColorMode.VALUE).text_mode(options.BigValueTextMode.AUTO)
    panel.reduce_options(LAST_VALUE)
    panel.thresholds(style.steps(*above, below=style.GOOD if above else "text"))
    return panel.targets(instant_queries({"": series} if isinstance(series, str) else series))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a joined table: an expression with one value for each row."""

    title: str
    expression: str
    unit: str
    properties: Sequence[Property] = ()
    colour: str = ""

    def all_properties(self) -> list[Property]:
        coloured = [style.fixed(self.colour), style.COLOURED_TEXT] if self.colour else []
        return [style.unit(self.unit), *coloured, *self.properties]


def join_table(title: str, labels: Fields, *columns: Column) -> Table:
    """Join expressions into one table with a row for each value of the first of the labels.

    The labels are shown before the columns. Every expression must carry the first label; none but
    the first column's may carry another.
    """
    # Grafana numbers the value fields only where there are several.
    numbers = [f" #{letter}" for letter in ascii_uppercase] if len(columns) > 1 else [""]
    values = {
        f"Value{number}": (column.title, column.all_properties())
        for number, column in zip(numbers, columns, strict=False)
    }
    queries = [
        _query(i, "", column.expression).instant().format(PromQueryFormat.TABLE)
        for i, column in enumerate(columns)
    ]
    join = _transformation("joinByField", {"byField": next(iter(labels)), "mode": "outer"})
    table = _table(title, {**labels, **values}, join).datasource(PROMETHEUS_SOURCE)
    return table.targets([*queries])


def trace_table(title: str, query: str) -> Table:
    """List the spans that a TraceQL query finds, each with a link to its trace."""
    visible = Property(id_val="custom.hideFrom.viz", value=False)
    waterfall = style.link("Open the trace", explore_url("${__value.text}"))
    # By the field names of Tempo's data source.
    fields: Fields = {
        "traceIdHidden": ("Trace", [visible, waterfall]),
        "clinic.operation": ("Operation", []),
        "http.response.status_code": ("Status", [style.width(70)]),
        "Start time": ("Started", [style.unit(style.TIME), style.width(165)]),
        "Duration": ("Server time", [style.unit("ns"), style.width(100)]),
    }
    # Tempo also returns a frame with the progress of the search.
    spans_only = _transformation("filterByRefId", {"include": "traces"})
    target = tempo.Dataquery().ref_id("A").datasource(TEMPO_SOURCE).query_type("traceql")
    target.query(query).limit(TRACES).spss(1).table_type(SearchTableType.SPANS)
    explore = dashboard.DashboardLink(EXPLORE_TRACES).url(explore_url(query))
    table = _table(title, fields, spans_only).datasource(TEMPO_SOURCE)
    return table.targets([target]).links([explore])


def _table(title: str, fields: Fields, first: models.DataTransformerConfig) -> Table:
    """Make a table of these fields alone, in this order."""
    titles = {field: shown for field, (shown, _) in fields.items()}
    order = {field: i for i, field in enumerate(fields)}
    select = _transformation("filterFieldsByName", {"include": {"names": list(fields)}})
    rename = _transformation("organize", {"indexByName": order, "renameByName": titles})
    panel = Table().title(title).unit(style.TEXT).no_value(NO_DATA).span(24).height(9)
    panel.min_width(56).transformations([first, select, rename])
    # The panel's own text for no value is too long for a cell.
    all_columns = {"custom.wrapHeaderText": True, "noValue": "-"}
    panel.override_by_regexp(
        "/.+/", [Property(id_val=name, value=value) for name, value in all_columns.items()]
    )
    for shown, properties in fields.values():
        panel.override_by_name(shown, list(properties))
    return panel


def _transformation(name: str, settings: object) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=name, options=settings)


def text(markdown: str) -> texts.Panel:
    return texts.Panel().title("").transparent(True).content(markdown).span(24).height(4)
