"""Is the telemetry itself whole: spans, pushes, scrapes, rules, and the limits of all of them."""

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders import bargauge, dashboard, statetimeline
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VisibilityMode, VizOrientation

from lab.dashboards import pages, panels, style
from lab.dashboards.panels import PROMETHEUS, Graph, Panel, lines, stat
from lab.promql import service, telemetry

EACH = "$__rate_interval"
RANGE = "$__range"
NOW = "1m"


def page() -> dashboard.Dashboard:
    """Make the page of the telemetry itself."""
    return pages.page(
        "telemetry",
        "Spans made, sent, dropped and stored; pushes and scrapes; limits near or far.",
        {
            "": completeness(),
            "Spans": spans(),
            "Pushes to Prometheus": [panel.span(8) for panel in pushes()],
            "Scrapes, rules and notifications": watching(),
            "Limits and room": room(),
        },
    )


def completeness() -> list[Panel]:
    estimate = "An estimate where the trace store was restarted meanwhile."
    return [
        stat("Made", style.COUNT, telemetry.spans_created(RANGE)).description(
            "Spans that the clinic made in the time range: one for each sampled request, and one "
            "for each of its statements."
        ),
        stat("Sent", style.COUNT, telemetry.spans_exported(RANGE)).description(
            "Spans of the time range that the trace store said it took."
        ),
        stat("Dropped", style.COUNT, telemetry.spans_dropped(RANGE), bad=1).description(
            "Spans for which the clinic's queue had no room: the trace store was away, or too "
            "slow. They are gone."
        ),
        stat("Given up", style.COUNT, telemetry.spans_failed(RANGE), warning=1).description(
            "Spans whose sending failed, or took over two seconds. They are gone, unless the trace "
            "store was only slow: then they are stored nevertheless."
        ),
        stat("Stored", style.COUNT, telemetry.spans_stored(RANGE))
        .decimals(0)
        .description(
            "Spans that the trace store kept: what Jaeger wrote, or what Tempo took less what it "
            f"threw away. {estimate}"
        ),
        stat("Missing", style.COUNT, telemetry.spans_missing(RANGE), bad=1)
        .decimals(0)
        .description(
            "Spans made and not stored a quarter of a minute later: lost, or still waiting while "
            f"the trace store is away. {estimate}"
        ),
    ]


def spans() -> list[Panel]:
    def a_second(count: Callable[[str], str]) -> str:
        return f"({count(EACH)}) / {EACH}"

    return [
        lines("Spans", "suffix:spans/s")
        .line("made", a_second(telemetry.spans_created))
        .line("sent", a_second(telemetry.spans_exported))
        .line("stored", a_second(telemetry.spans_stored))
        .line("dropped", a_second(telemetry.spans_dropped))
        .line("given up", a_second(telemetry.spans_failed))
        .description(
            "Spans a second. Made, sent and stored run as one line when all is well; the first "
            "that falls below the others is where they are lost."
        ),
        lines("Queue of spans", style.COUNT)
        .line("waiting", telemetry.queue_size(EACH))
        .line("limit", telemetry.queue_capacity(EACH))
        .description(
            "Spans that wait in the clinic to be sent, and how many may. At the limit the oldest "
            "are dropped; requests never wait for it."
        ),
        lines("Time to send a batch", style.SECONDS)
        .line("p50", telemetry.export_quantile(0.5, EACH))
        .line("p95", telemetry.export_quantile(0.95, EACH))
        .description(
            "Half and 95 of 100 batches of spans took less. At two seconds a batch is given up."
        ),
        lines("Thrown away by Tempo", style.COUNT)
        .line("{{reason}}", telemetry.spans_discarded(EACH, "reason"))
        .line("not in the service graph", telemetry.service_graph_drops(EACH))
        .no_value("Tempo alone has these limits")
        .axis_soft_max(1)
        .description(
            "Spans that Tempo took and threw away, by reason, and calls missing in the service "
            "graph: limits to raise in tempo.yaml. Jaeger has none of them."
        ),
    ]


def pushes() -> list[Graph]:
    return [
        lines("Silence", style.SECONDS)
        .line("clinic", telemetry.clinic_silence())
        .line("span metrics", telemetry.trace_store_silence())
        .line("k6", telemetry.k6_silence())
        .description(
            "How long ago the newest number of each sender came. A line that climbs above twenty "
            "seconds is a gap. k6 sends during a run, the trace store while it has spans."
        ),
        lines("Pushes", style.A_SECOND, {"{{handler}} {{code}}": telemetry.push_rate(EACH)})
        .stacked()
        .description(
            "Pushes a second by receiver and status: 2xx is well, 4xx refused for good and lost, "
            "5xx tried again."
        ),
        grown("Samples lost", telemetry.LOST_SAMPLES).description(
            "Samples that Prometheus would not have, by reason, and numbers of spans that the "
            "trace store could not push. Up to ten minutes out of order is taken."
        ),
    ]


def grown(title: str, counters: Mapping[str, str]) -> Graph:
    """Draw what each of some counters grew by, on an axis that does not make much of one."""
    asked = {legend: service.total_increase(counter, EACH) for legend, counter in counters.items()}
    return lines(title, style.COUNT, asked).axis_soft_max(1)


def watching() -> list[Panel]:
    reached = statetimeline.Panel().title("Targets").unit(style.TEXT).datasource(PROMETHEUS)
    reached.mappings(style.mappings((1, "up", style.GOOD), (0, "down", style.BAD)))
    reached.no_value("Nothing is scraped").show_value(VisibilityMode.NEVER).span(12).height(8)
    reached.targets(panels.courses({"{{instance}}": telemetry.target_up()}))
    return [
        reached.description(
            "Whether Prometheus reaches the parts that it scrapes, every five seconds."
        ),
        lines("Time to scrape", style.SECONDS)
        .line("{{instance}}", telemetry.scrape_seconds())
        .description("How long reading each target takes. Near five seconds samples are missed."),
        grown("Rules that failed", telemetry.RULE_FAILURES).description(
            "Alerting and recording rules that failed, or were left out for want of time. Above "
            "zero an alert may be blind."
        ),
        grown("Notifications", telemetry.NOTIFICATIONS).description(
            "Notifications that Alertmanager sent, and what failed on the way to it or from it: "
            "somebody was not told."
        ),
    ]


def room() -> list[Panel]:
    shares = {
        "Queue of spans": telemetry.queue_usage(NOW),
        "Disk of Prometheus": telemetry.retention_size_usage(),
        "Days of Prometheus": telemetry.retention_time_usage(),
        "Exemplars": telemetry.exemplar_usage(),
        "Series Tempo may make": telemetry.span_series_usage(),
        "Files of {{instance}}": telemetry.file_descriptor_usage(),
    }
    bars = bargauge.Panel().title("How near the limits").unit(style.SHARE).datasource(PROMETHEUS)
    bars.min(0).max(1).decimals(0).no_value("-").reduce_options(panels.LAST).span(12).height(8)
    bars.thresholds(style.steps((0.8, style.WARNING), (0.95, style.BAD)))
    bars.display_mode(BarGaugeDisplayMode.BASIC).orientation(VizOrientation.HORIZONTAL)
    return [
        bars.targets(panels.values(shares)).description(
            "How much of each limit is used. At 100 % Prometheus forgets the oldest numbers or "
            "exemplars, which is meant; of anything else something new is lost."
        ),
        lines("Disk", style.BYTES)
        .line("Prometheus", telemetry.prometheus_bytes())
        .line("Tempo", telemetry.trace_store_bytes())
        .line("free", telemetry.disk_free_bytes())
        .description(
            "What Prometheus and Tempo take, and what is free. Old numbers and traces go by "
            "themselves; the clinic's own rows do not."
        ),
        lines("Memory", style.BYTES, {"{{instance}}": telemetry.memory_bytes()}).description(
            "What the scraped programs hold; the clinic's own is on its page. A climb without load "
            "is a leak."
        ),
        lines("Series and live traces", style.COUNT)
        .line("Prometheus", telemetry.prometheus_series())
        .line("Tempo", telemetry.span_series())
        .line("live traces", telemetry.live_traces())
        .description(
            "Series that Prometheus holds and that Tempo makes of spans, and traces that Tempo has "
            "not written yet. A run adds some hundred series for a quarter of an hour."
        ),
    ]
