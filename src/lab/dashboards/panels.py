"""Makers of panels with a title, a unit and a size.

They return the library's own builders: a dashboard chains the description and what else it wants,
such as `.span(12).height(8)`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Self

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    tempo,
    timeseries,
    trend,
)
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import text as texts
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from lab.dashboards import style
from lab.dashboards.explore import METRICS, TEMPO, TRACE_STORE, TRACES, explore_url
from lab.dashboards.style import Property
from lab.promql import needs

PROMETHEUS_SOURCE = options.DataSourceRef(type_val="prometheus", uid=f"${{{METRICS}}}")
TEMPO_SOURCE = options.DataSourceRef(type_val=TEMPO, uid=f"${{{TRACE_STORE}}}")
LAST_VALUE = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")

NO_DATA = "No data in this time range"
NOTHING = "-"
NEEDS_TITLE = "What this dashboard needs"
TRACES_NEEDED = "a Tempo data source"
TEXT_SIZE = 24  # pixels
EXPLORE_TRACES = "Traces in Explore"
# Which traces are the slowest shows only among more of them than are listed.
SEARCHED_TRACES = 100

Panel = Builder[models.Panel]
Table = tables.Panel
# Expressions by legend; a legend may use labels, as {{label}}.
Series = Mapping[str, str]
# The fields that a table shows: title and properties of each.
Fields = Mapping[str, tuple[str, Sequence[Property]]]


def _query(index: int, legend: str, expression: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(PROMETHEUS_SOURCE).ref_id(ascii_uppercase[index])
    return query.expr(expression).legend_format(legend or "__auto")


def range_queries(series: Series, min_step: str = "") -> list[prometheus.Dataquery]:
    """Query expressions over the time range, at least `min_step` apart."""
    queries = [_query(i, *item).range() for i, item in enumerate(series.items())]
    return [query.interval(min_step) for query in queries] if min_step else queries


def instant_queries(series: Series) -> list[Builder[Dataquery]]:
    """Query expressions at the end of the time range."""
    return [_query(i, *item).instant() for i, item in enumerate(series.items())]


def table_queries(expressions: Iterable[str]) -> list[Builder[Dataquery]]:
    """Query expressions at the end of the time range as tables, labels and all."""
    return [
        _query(i, "", expression).instant().format(PromQueryFormat.TABLE)
        for i, expression in enumerate(expressions)
    ]


class Graph(timeseries.Panel):
    """Lines over time."""

    def colours(self, colours: Mapping[str, str]) -> Self:
        """Colour series by legend."""
        for legend, colour in colours.items():
            self.override_by_name(legend, [style.fixed(colour)])
        return self

    def colours_by_start(self, colours: Mapping[str, str]) -> Self:
        """Colour series by the start of their legends."""
        for start, colour in colours.items():
            pattern = re.escape(start).replace("/", r"\/")
            self.override_by_regexp(f"/^{pattern} /", [style.fixed(colour)])
        return self

    def bad_above_zero(self, legend: str) -> Self:
        """Colour a series as bad if any of its values is above zero, else neutral."""
        mode = {"mode": "thresholds", "seriesBy": "max"}
        steps = style.limit(1e-9, below=style.NEUTRAL)
        return self.override_by_name(legend, [Property(id_val="color", value=mode), steps])

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

    def dashed(self, legend: str) -> Self:
        """Dash the line of a series and hide its points."""
        looks = {
            "custom.lineStyle": {"fill": "dash", "dash": [6, 6]},
            "custom.showPoints": "never",
            "custom.fillOpacity": 0,
        }
        return self.override_by_name(
            legend, [Property(id_val=name, value=value) for name, value in looks.items()]
        )

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


def graph(
    title: str, unit: str, series: Series, *, exemplars: str = "", min_step: str = ""
) -> Graph:
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
    for name, query in zip(series, range_queries(series, min_step), strict=True):
        panel.with_target(query.exemplar(True) if name == exemplars else query)
    return panel.colours({name: style.LEGENDS[name] for name in series if name in style.LEGENDS})


class Stat(stats.Panel):
    """One large value, or several with names."""

    _words: Sequence[style.Word] = ()
    _text = NOTHING

    def words(self, words: Sequence[style.Word]) -> Self:
        """Show coloured words in place of values."""
        self._words = words
        return self._map_values()

    def without_value(self, text: str) -> Self:
        """Show a text in a neutral colour where there is no value."""
        self._text = text
        return self._map_values()

    def _map_values(self) -> Self:
        mappings = [*style.mappings(self._words), style.without_value(self._text)]
        return self.no_value(self._text).mappings(mappings)


def heatmap(title: str, unit: str, histograms: str, min_step: str) -> heatmaps.Panel:
    """Draw how many values lie in which bucket of a histogram, over time."""
    [query] = range_queries({"": histograms}, min_step)
    query.format(PromQueryFormat.HEATMAP)
    colours = heatmaps.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues")
    axis = heatmaps.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT)
    panel = heatmaps.Panel().title(title).unit(style.NUMBER).datasource(PROMETHEUS_SOURCE)
    panel.calculate(False).color(colours.steps(64)).y_axis(axis).cell_gap(0).hide_legend()
    return panel.targets([query]).no_value(NO_DATA).span(12).height(9)


def scatter(
    title: str, x: tuple[str, str, str], y: tuple[str, str, str], min_step: str
) -> trend.Panel:
    """Draw a point for each interval; `x` and `y` are a name, a unit and an expression.

    This type of panel has a text where there are no values; the library's xychart has an error. It
    refuses equal values of `x`, such as those of a steady load, so they are made to differ.
    """
    expressions = {x[0]: f"{x[2]} + time() % 1e6 * 1e-9", y[0]: y[2]}
    panel = trend.Panel().title(title).unit(y[1]).datasource(PROMETHEUS_SOURCE).min(0)
    panel.targets([*range_queries(expressions, min_step)])
    has_x = {"fieldName": x[0], "config": {"id": "isNotNull", "options": {}}}
    panel.transformations(
        [
            transformation("joinByField", {"byField": "Time", "mode": "outer"}),
            transformation(
                "filterByValue", {"filters": [has_x], "match": "all", "type": "include"}
            ),
            transformation("filterFieldsByName", {"include": {"names": [x[0], y[0]]}}),
            transformation("sortBy", {"sort": [{"field": x[0]}]}),
        ]
    )
    panel.override_by_name(x[0], [style.unit(x[1]), style.axis_label(x[0])])
    panel.override_by_name(y[0], [style.fixed(style.CLIENT)])
    panel.draw_style(options.GraphDrawStyle.POINTS).point_size(8)
    return panel.no_value(NO_DATA).span(12).height(9)


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
    panel = Stat().title(title).unit(unit).datasource(PROMETHEUS_SOURCE).without_value(NOTHING)
    panel.span(4).height(4).graph_mode(options.BigValueGraphMode.NONE)
    panel.color_mode(options.BigValueColorMode.VALUE).text_mode(options.BigValueTextMode.AUTO)
    panel.reduce_options(LAST_VALUE)
    if unit == style.TEXT:
        panel.text(common.VizTextDisplayOptions().value_size(TEXT_SIZE))
    panel.thresholds(style.steps(*above, below=style.GOOD if above else "text"))
    return panel.targets(instant_queries({"": series} if isinstance(series, str) else series))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a joined table: an expression with one value for each row."""

    title: str
    expression: str
    unit: str
    properties: Sequence[Property] = ()


def join_table(
    title: str,
    labels: Fields,
    *columns: Column,
    labels_after: Fields | None = None,
    only_first: bool = False,
) -> Table:
    """Join expressions into one table with a row for each value of the first of the labels.

    The labels are shown before the columns, or after them. Every expression must carry the first
    label; none but the first column's may carry another. There are rows for the values of any
    column, or for those of the first column only.
    """
    # Grafana numbers the value fields only where there are several.
    numbers = [f" #{letter}" for letter in ascii_uppercase] if len(columns) > 1 else [""]
    values = {
        f"Value{number}": (column.title, [style.unit(column.unit), *column.properties])
        for number, column in zip(numbers, columns, strict=False)
    }
    rows = [transformation("joinByField", {"byField": next(iter(labels)), "mode": "outer"})]
    if only_first:
        has_value = {"fieldName": next(iter(values)), "config": {"id": "isNotNull", "options": {}}}
        chosen = {"filters": [has_value], "match": "all", "type": "include"}
        rows.append(transformation("filterByValue", chosen))
    fields = {**labels, **values, **(labels_after or {})}
    table = _table(title, fields, rows).datasource(PROMETHEUS_SOURCE)
    return table.targets(table_queries(column.expression for column in columns))


def needed_by(panel: models.Panel) -> list[needs.Need]:
    """List what a panel's queries need of Prometheus."""
    return needs.needs(*(getattr(target, "expr", None) or "" for target in panel.targets or []))


def say_needs(panel: models.Panel) -> None:
    """Say in a panel without values what it needs, as its data source may not have that."""
    defaults = panel.field_config.defaults if panel.field_config else None
    if not defaults or not panel.targets:
        return
    traces = [TRACES_NEEDED] if panel.datasource == TEMPO_SOURCE else []
    names = ", ".join([*(need.name for need in needed_by(panel)), *traces])
    if not names:
        return
    if defaults.no_value == NOTHING:
        defaults.no_value = f"needs {names}"
    elif panel.type_val != "stat":
        defaults.no_value = f"{defaults.no_value} (needs {names})"


def needs_table(needed: list[needs.Need]) -> Table:
    """Say which of some needs the data source meets in the time range."""
    met = [(1, "there", style.GOOD), (0, "missing", style.WARNING)]
    found = Column("In this time range", needs.state(needed, "$__range"), style.TEXT)
    return (
        join_table(
            NEEDS_TITLE,
            {needs.NEED: ("Needs", [style.width(246)])},
            replace(found, properties=[*style.words(met), style.LEFT, style.width(150)]),
            labels_after={needs.REQUIRES: ("Which must have", [style.WRAPPED])},
        )
        .no_value("No answer of a Prometheus data source: choose one at Metrics, above")
        .sort_by([common.TableSortByFieldState().display_name("In this time range").desc(False)])
        .description(
            "Whether this Prometheus has each group of metrics that the panels above are made of. "
            "docs/dashboards.md says who makes them."
        )
    )


def text_table(title: str, label: str, order: str, expression: str) -> Table:
    """List the texts of a label, in the order of another label."""
    fields: Fields = {label: ("Text", [style.WRAPPED]), order: (order, [style.HIDDEN])}
    table = _table(title, fields, []).datasource(PROMETHEUS_SOURCE)
    table.targets(table_queries([expression]))
    sorting = common.TableSortByFieldState().display_name(order).desc(False)
    return table.show_header(False).sort_by([sorting])


def trace_table(title: str, query: str, order: str) -> Table:
    """List the spans that a TraceQL query finds, each with a link to its trace.

    The first rows by descending `order`, a column's title, are shown.
    """
    visible = Property(id_val="custom.hideFrom.viz", value=False)
    waterfall = style.link("Open the trace", explore_url("${__value.text}"))
    # By the field names of Tempo's data source.
    fields: Fields = {
        "traceIdHidden": ("Trace", [visible, waterfall, style.width(288)]),
        "clinic.operation": ("Operation", []),
        "http.response.status_code": ("Status", [style.width(70)]),
        "Start time": ("Started", [style.unit(style.TIME), style.width(165)]),
        "Duration": ("Server time", [style.unit("ns"), style.width(100)]),
        # Its own name, which is used until Grafana has that for display.
        "duration": ("Server time", []),
    }
    # Tempo also returns a frame with the progress of the search.
    spans_only = [transformation("filterByRefId", {"include": "traces"})]
    target = tempo.Dataquery().ref_id("A").datasource(TEMPO_SOURCE).query_type("traceql")
    target.query(query).limit(SEARCHED_TRACES).spss(1).table_type(SearchTableType.SPANS)
    explore = dashboard.DashboardLink(EXPLORE_TRACES).url(explore_url(query))
    table = _table(title, fields, spans_only).datasource(TEMPO_SOURCE)
    sorting = transformation("sortBy", {"sort": [{"field": order, "desc": True}]})
    first = transformation("limit", {"limitField": TRACES})
    table.transformations([*(table.build().transformations or []), sorting, first])
    return table.targets([target]).links([explore])


def _table(title: str, fields: Fields, rows: Sequence[models.DataTransformerConfig]) -> Table:
    """Make a table of these fields alone, in this order, after what makes its rows."""
    titles = {field: shown for field, (shown, _) in fields.items()}
    order = {field: i for i, field in enumerate(fields)}
    select = transformation("filterFieldsByName", {"include": {"names": list(fields)}})
    rename = transformation("organize", {"indexByName": order, "renameByName": titles})
    panel = Table().title(title).unit(style.TEXT).no_value(NO_DATA).span(24).height(9)
    panel.min_width(56).transformations([*rows, select, rename])
    # The panel's own text for no value is too long for a cell.
    all_columns = {"custom.wrapHeaderText": True, "noValue": "-"}
    panel.override_by_regexp(
        "/.+/", [Property(id_val=name, value=value) for name, value in all_columns.items()]
    )
    for shown, properties in fields.values():
        panel.override_by_name(shown, list(properties))
    return panel


def transformation(name: str, settings: object) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=name, options=settings)


def text(markdown: str) -> texts.Panel:
    return texts.Panel().title("").transparent(True).content(markdown).span(24).height(4)
