"""Telemetry: whether spans or samples are lost, and how near the limits are."""

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders import bargauge, statetimeline
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VisibilityMode, VizOrientation

from lab.dashboards import base, style
from lab.dashboards.panels import (
    LAST_VALUE,
    PROMETHEUS_SOURCE,
    Graph,
    Panel,
    Stat,
    graph,
    instant_queries,
    range_queries,
    stat,
)
from lab.promql import api, telemetry
from lab.promql.selectors import RETENTION, RunList

WINDOW = "$__rate_interval"
TIME_RANGE = "$__range"
LAST_MINUTE = "1m"


def dashboard() -> Dashboard:
    return base.make_dashboard(
        "clinic-telemetry",
        {
            "": [panel.span(8).height(3) for panel in _span_totals()],
            "Spans": _spans(),
            "Pushes to Prometheus": [panel.height(9) for panel in _pushes()],
            "Scrapes, rules and notifications": _scrapes_rules_and_notifications(),
            "Limits and storage": _limits_and_storage(),
        },
        band=RunList(RETENTION),
    )


def _span_totals() -> list[Stat]:
    estimate = "Estimated if the trace store was restarted in the time range."
    return [
        stat("Created", style.COUNT, telemetry.spans_created(TIME_RANGE)).description(
            "Spans of the API: one for each sampled request and for each of its statements."
        ),
        stat("Sent", style.COUNT, telemetry.spans_exported(TIME_RANGE)).description(
            "Spans that the trace store acknowledged."
        ),
        stat("Dropped", style.COUNT, telemetry.spans_dropped(TIME_RANGE), bad=1).description(
            "Spans lost because the API's queue was full: the trace store was down or too slow."
        ),
        stat(
            "Failed to send", style.COUNT, telemetry.spans_failed(TIME_RANGE), warning=1
        ).description(
            "Spans not sent within 2 s: lost, unless a slow trace store stored them later."
        ),
        stat("Stored", style.COUNT, telemetry.spans_stored(TIME_RANGE))
        .decimals(0)
        .description(
            f"Spans that Jaeger wrote, or that Tempo received and did not discard. {estimate}"
        ),
        stat("Missing", style.COUNT, telemetry.spans_missing(TIME_RANGE), bad=1)
        .decimals(0)
        .description(
            "Spans that the trace store acknowledged and has not stored 15 s later. Spans "
            f"dropped or not sent are not among them. {estimate}"
        ),
    ]


def _spans() -> list[Panel]:
    def per_second(count: Callable[[str], str]) -> str:
        return f"({count(WINDOW)}) / {WINDOW}"

    rates = {
        "created": per_second(telemetry.spans_created),
        "sent": per_second(telemetry.spans_exported),
        "stored": per_second(telemetry.spans_stored),
        "dropped": per_second(telemetry.spans_dropped),
        "failed to send": per_second(telemetry.spans_failed),
    }
    queue = {"waiting": telemetry.queue_size(WINDOW), "limit": telemetry.queue_capacity(WINDOW)}
    export = {f"p{q * 100:.0f}": telemetry.export_quantile(q, WINDOW) for q in (0.5, 0.95)}
    discarded = {
        "{{reason}}": telemetry.spans_discarded(WINDOW, "reason"),
        "missing in the service graph": telemetry.service_graph_drops(WINDOW),
    }
    return [
        graph("Spans", "suffix:spans/s", rates)
        .dashed("failed to send")
        .description(
            "Created, sent and stored: normally the three rates are equal. The first line that "
            "falls below the others shows where spans are lost."
        ),
        graph("Span queue", style.COUNT, queue).description(
            "Spans that wait in the API. At the limit the oldest are dropped; requests never wait."
        ),
        graph("Time to send a batch", style.SECONDS, export).description(
            "50th and 95th percentile of the time that a batch takes. A batch fails after 2 s."
        ),
        graph("Discarded spans", style.COUNT, discarded)
        .no_value("Nothing discarded, or no Tempo")
        .axis_soft_max(1)
        .description(
            "Spans discarded by Tempo, by reason, and calls missing in the service graph. The "
            "limits are in tempo.yaml; Jaeger has none."
        ),
    ]


def _pushes() -> list[Graph]:
    ages = {
        "clinic": telemetry.clinic_silence(),
        "span metrics": telemetry.trace_store_silence(),
        "k6": telemetry.k6_silence(),
    }
    pushes = telemetry.push_rate(WINDOW)
    return [
        graph("Time since the last metric", style.SECONDS, ages)
        .span(7)
        .description(
            "Above 20 s there is a gap. k6 only sends during a run, the trace store only while it "
            "receives spans."
        ),
        graph("Pushes", style.PER_SECOND, {"{{handler}} {{code}}": pushes})
        .stacked()
        .span(7)
        .description(
            "By receiver and status. 2xx: accepted. 4xx: rejected and lost. 5xx: will be retried."
        ),
        _increases("Samples lost", telemetry.LOST_SAMPLES)
        .legend_on_the_right()
        .span(10)
        .description(
            "Samples rejected by Prometheus, by reason, and span metrics that the trace store "
            "failed to push. Samples up to 10 minutes out of order are accepted."
        ),
    ]


def _increases(title: str, counters: Mapping[str, str]) -> Graph:
    """Draw increases of counters, on an axis that does not magnify a few."""
    series = {name: api.total_increase(counter, WINDOW) for name, counter in counters.items()}
    return graph(title, style.COUNT, series).axis_soft_max(1)


def _scrapes_rules_and_notifications() -> list[Panel]:
    targets = statetimeline.Panel().title("Targets").unit(style.TEXT).datasource(PROMETHEUS_SOURCE)
    targets.mappings(style.mappings([(1, "up", style.GOOD), (0, "down", style.BAD)]))
    targets.no_value("Nothing is scraped").show_value(VisibilityMode.NEVER).span(12).height(8)
    targets.targets([*range_queries({"{{instance}}": telemetry.target_up()})])
    return [
        targets.description("Whether Prometheus can scrape each target; it tries every 5 s."),
        graph(
            "Scrape duration", style.SECONDS, {"{{instance}}": telemetry.scrape_seconds()}
        ).description("How long scraping each target takes. Near 5 s, scrapes are missed."),
        _increases("Failed rule evaluations", telemetry.RULE_FAILURES).description(
            "Evaluations that failed, or were missed as others took too long. Above 0, an alert "
            "may not fire."
        ),
        _increases("Notifications", telemetry.NOTIFICATIONS).description(
            "Notifications sent, and notifications that failed before or after Alertmanager."
        ),
    ]


def _limits_and_storage() -> list[Panel]:
    usage = {
        "Span queue": telemetry.queue_usage(LAST_MINUTE),
        "Prometheus disk": telemetry.retention_size_usage(),
        "Prometheus retention": telemetry.retention_time_usage(),
        "Exemplars": telemetry.exemplar_usage(),
        "Tempo series": telemetry.span_series_usage(),
        "Open files of {{instance}}": telemetry.file_descriptor_usage(),
    }
    disk = {
        "Prometheus": telemetry.prometheus_bytes(),
        "Tempo": telemetry.trace_store_bytes(),
        "free": telemetry.disk_free_bytes(),
    }
    sizes = {
        "Prometheus": telemetry.prometheus_series(),
        "Tempo": telemetry.span_series(),
        "live traces": telemetry.live_traces(),
    }
    bars = bargauge.Panel().title("Limits").unit(style.SHARE).datasource(PROMETHEUS_SOURCE)
    bars.min(0).max(1).decimals(0).no_value("-").reduce_options(LAST_VALUE).span(12).height(11)
    bars.thresholds(style.steps((0.8, style.WARNING), (0.95, style.BAD)))
    bars.display_mode(BarGaugeDisplayMode.BASIC).orientation(VizOrientation.HORIZONTAL)
    return [
        bars.targets(instant_queries(usage)).description(
            "Share of each limit in use. At 100 % Prometheus deletes its oldest samples or "
            "exemplars, as intended; for every other limit, new data is lost."
        ),
        graph("Disk", style.BYTES, disk)
        .height(11)
        .description(
            "Old samples and traces are deleted automatically, rows in PostgreSQL are not."
        ),
        graph("Memory", style.BYTES, {"{{instance}}": telemetry.memory_bytes()}).description(
            "Resident memory of the scraped programs. A steady rise without load is a leak."
        ),
        graph("Series and live traces", style.COUNT, sizes).description(
            "Series in Prometheus, series that Tempo makes of spans, and traces it has not written "
            "yet. A run adds about 100 series for 15 minutes."
        ),
    ]
