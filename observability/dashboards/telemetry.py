"""Is the telemetry itself whole: spans, pushes, scrapes, rules, and the limits of all of them."""

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders import bargauge, dashboard, statetimeline
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VisibilityMode, VizOrientation

from observability.dashboards import pages, panels, style
from observability.dashboards.panels import PROMETHEUS, Graph, Panel, lines, stat
from observability.queries import pipeline

EACH = "$__rate_interval"
RANGE = "$__range"
NOW = "1m"


def page() -> dashboard.Dashboard:
    """Make the page of the telemetry itself."""
    return pages.page(
        "telemetry",
        "Spans made, sent, dropped and stored; pushes and scrapes; limits near or far.",
        {
            "": ledger(),
            "Spans": spans(),
            "Pushes to Prometheus": [panel.span(8) for panel in pushes()],
            "Scrapes, rules and notices": watching(),
            "Limits and room": room(),
        },
    )


def ledger() -> list[Panel]:
    estimate = "An estimate where the trace store was restarted meanwhile."
    return [
        stat("Made", style.COUNT, pipeline.made(RANGE)).description(
            "Spans that the clinic made in the time range: one for each sampled request, and one "
            "for each of its statements."
        ),
        stat("Sent", style.COUNT, pipeline.sent(RANGE)).description(
            "Spans of the time range that the trace store said it took."
        ),
        stat("Dropped", style.COUNT, pipeline.dropped(RANGE), bad=1).description(
            "Spans for which the clinic's queue had no room: the trace store was away, or too "
            "slow. They are gone."
        ),
        stat("Given up", style.COUNT, pipeline.given_up(RANGE), warning=1).description(
            "Spans whose sending failed, or took over two seconds. They are gone, unless the trace "
            "store was only slow: then they are stored nevertheless."
        ),
        stat("Stored", style.COUNT, pipeline.stored(RANGE))
        .decimals(0)
        .description(
            "Spans that the trace store kept: what Jaeger wrote, or what Tempo took less what it "
            f"threw away. {estimate}"
        ),
        stat("Missing", style.COUNT, pipeline.missing(RANGE), bad=1)
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
        .line("made", a_second(pipeline.made))
        .line("sent", a_second(pipeline.sent))
        .line("stored", a_second(pipeline.stored))
        .line("dropped", a_second(pipeline.dropped))
        .line("given up", a_second(pipeline.given_up))
        .description(
            "Spans a second. Made, sent and stored run as one line when all is well; the first "
            "that falls below the others is where they are lost."
        ),
        lines("Queue of spans", style.COUNT)
        .line("waiting", pipeline.queue(EACH))
        .line("limit", pipeline.queue_limit(EACH))
        .description(
            "Spans that wait in the clinic to be sent, and how many may. At the limit the oldest "
            "are dropped; requests never wait for it."
        ),
        lines("Time to send a batch", style.SECONDS)
        .line("p50", pipeline.export_seconds(0.5, EACH))
        .line("p95", pipeline.export_seconds(0.95, EACH))
        .description(
            "Half and 95 of 100 batches of spans took less. At two seconds a batch is given up."
        ),
        lines("Thrown away by Tempo", style.COUNT)
        .line("{{reason}}", pipeline.discarded_by_reason(EACH))
        .line("not in the service graph", pipeline.dropped_edges(EACH))
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
        .line("clinic", pipeline.silence_of_clinic())
        .line("span metrics", pipeline.silence_of_store())
        .line("k6", pipeline.silence_of_k6())
        .description(
            "How long ago the newest number of each sender came. A line that climbs above twenty "
            "seconds is a gap. k6 sends during a run, the trace store while it has spans."
        ),
        lines("Pushes", style.A_SECOND, {"{{handler}} {{code}}": pipeline.pushes(EACH)})
        .stacked()
        .description(
            "Pushes a second by receiver and status: 2xx is well, 4xx refused for good and lost, "
            "5xx tried again."
        ),
        grown("Samples lost", pipeline.LOST_SAMPLES).description(
            "Samples that Prometheus would not have, by reason, and numbers of spans that the "
            "trace store could not push. Up to ten minutes out of order is taken."
        ),
    ]


def grown(title: str, counters: Mapping[str, str]) -> Graph:
    """Draw what each of some counters grew by, on an axis that does not make much of one."""
    asked = {legend: pipeline.added(counter, EACH) for legend, counter in counters.items()}
    return lines(title, style.COUNT, asked).axis_soft_max(1)


def watching() -> list[Panel]:
    reached = statetimeline.Panel().title("Targets").unit(style.TEXT).datasource(PROMETHEUS)
    reached.mappings(style.mappings((1, "up", style.GOOD), (0, "down", style.BAD)))
    reached.no_value("Nothing is scraped").show_value(VisibilityMode.NEVER).span(12).height(8)
    reached.targets(panels.courses({"{{instance}}": pipeline.scraped()}))
    return [
        reached.description(
            "Whether Prometheus reaches the parts that it scrapes, every five seconds."
        ),
        lines("Time to scrape", style.SECONDS)
        .line("{{instance}}", pipeline.scrape_seconds())
        .description("How long reading each target takes. Near five seconds samples are missed."),
        grown("Rules that failed", pipeline.FAILED_RULES).description(
            "Alerting and recording rules that failed, or were left out for want of time. Above "
            "zero an alert may be blind."
        ),
        grown("Notices", pipeline.NOTICES).description(
            "Notices that Alertmanager sent, and what failed on the way to it or from it: somebody "
            "was not told."
        ),
    ]


def room() -> list[Panel]:
    shares = {
        "Queue of spans": pipeline.share_of_queue(NOW),
        "Disk of Prometheus": pipeline.share_of_disk(),
        "Days of Prometheus": pipeline.share_of_days(),
        "Exemplars": pipeline.share_of_exemplars(),
        "Series Tempo may make": pipeline.share_of_store_series(),
        "Files of {{instance}}": pipeline.share_of_files(),
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
        .line("Prometheus", pipeline.prometheus_bytes())
        .line("Tempo", pipeline.store_bytes())
        .line("free", pipeline.free_bytes())
        .description(
            "What Prometheus and Tempo take, and what is free. Old numbers and traces go by "
            "themselves; the clinic's own rows do not."
        ),
        lines("Memory", style.BYTES, {"{{instance}}": pipeline.memory()}).description(
            "What the scraped programs hold; the clinic's own is on its page. A climb without load "
            "is a leak."
        ),
        lines("Series and live traces", style.COUNT)
        .line("Prometheus", pipeline.series())
        .line("Tempo", pipeline.store_series())
        .line("live traces", pipeline.live_traces())
        .description(
            "Series that Prometheus holds and that Tempo makes of spans, and traces that Tempo has "
            "not written yet. A run adds some hundred series for a quarter of an hour."
        ),
    ]
