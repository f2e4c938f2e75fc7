"""Is the telemetry itself whole: spans, pushes, scrapes, rules, and the limits of all of them."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import bargauge, common, dashboard, statetimeline
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VisibilityMode, VizOrientation

from observability.dashboards import pages
from observability.dashboards.panels import (
    PROMETHEUS,
    Panel,
    course,
    lettered,
    lines,
    stacked,
    stat,
    steps,
    value,
)
from observability.dashboards.style import (
    BAD,
    BYTES,
    COUNT,
    GOOD,
    SECONDS,
    SHARE,
    TEXT,
    WARNING,
    mappings,
)
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
            "Pushes to Prometheus": pushes(),
            "Scrapes, rules and notices": watching(),
            "Limits and room": room(),
        },
    )


def ledger() -> list[Panel]:
    none_of = steps((1, BAD))
    estimate = "An estimate where the trace store was restarted meanwhile."
    return [
        stat(
            101,
            "Made",
            "Spans that the clinic made in the time range: one for each sampled request, and one "
            "for each of its statements.",
            COUNT,
            value(pipeline.made(RANGE)),
        ),
        stat(
            102,
            "Sent",
            "Spans of the time range that the trace store said it took.",
            COUNT,
            value(pipeline.sent(RANGE)),
        ),
        stat(
            103,
            "Dropped",
            "Spans for which the clinic's queue had no room: the trace store was away, or too "
            "slow. They are gone.",
            COUNT,
            value(pipeline.dropped(RANGE)),
        ).thresholds(none_of),
        stat(
            104,
            "Given up",
            "Spans whose sending failed, or took over two seconds. They are gone, unless the trace "
            "store was only slow: then they are stored nevertheless.",
            COUNT,
            value(pipeline.given_up(RANGE)),
        ).thresholds(steps((1, WARNING))),
        stat(
            105,
            "Stored",
            "Spans that the trace store kept: what Jaeger wrote, or what Tempo took less what it "
            f"threw away. {estimate}",
            COUNT,
            value(pipeline.stored(RANGE)),
        ).decimals(0),
        stat(
            106,
            "Missing",
            "Spans made and not stored a quarter of a minute later: lost, or still waiting while "
            f"the trace store is away. {estimate}",
            COUNT,
            value(pipeline.missing(RANGE)),
        )
        .decimals(0)
        .thresholds(none_of),
    ]


def spans() -> list[Panel]:
    ways = {
        "made": pipeline.made,
        "sent": pipeline.sent,
        "stored": pipeline.stored,
        "dropped": pipeline.dropped,
        "given up": pipeline.given_up,
    }
    return [
        lines(
            201,
            "Spans",
            "Spans a second. Made, sent and stored run as one line when all is well; the first "
            "that falls below the others is where they are lost.",
            "suffix:spans/s",
            {legend: f"({counted(EACH)}) / {EACH}" for legend, counted in ways.items()},
        ),
        lines(
            202,
            "Queue of spans",
            "Spans that wait in the clinic to be sent, and how many may. At the limit the oldest "
            "are dropped; requests never wait for it.",
            COUNT,
            {"waiting": pipeline.queue(EACH), "limit": pipeline.queue_limit(EACH)},
        ),
        lines(
            203,
            "Time to send a batch",
            "Half and 95 of 100 batches of spans took less. At two seconds a batch is given up.",
            SECONDS,
            {f"p{q * 100:.0f}": pipeline.export_seconds(q, EACH) for q in (0.5, 0.95)},
        ),
        lines(
            204,
            "Thrown away by Tempo",
            "Spans that Tempo took and threw away, by reason, and calls missing in the service "
            "graph: limits to raise in tempo.yaml. Jaeger has none of them.",
            COUNT,
            {
                "{{reason}}": pipeline.discarded_by_reason(EACH),
                "not in the service graph": pipeline.dropped_edges(EACH),
            },
        )
        .no_value("Tempo alone has these limits")
        .axis_soft_max(1),
    ]


def pushes() -> list[Panel]:
    panels = [
        lines(
            301,
            "Silence",
            "How long ago the newest number of each sender came. A line that climbs above twenty "
            "seconds is a gap. k6 sends during a run, the trace store while it has spans.",
            SECONDS,
            {
                "clinic": pipeline.silence_of_clinic(),
                "span metrics": pipeline.silence_of_store(),
                "k6": pipeline.silence_of_k6(),
            },
        ),
        stacked(
            lines(
                302,
                "Pushes",
                "Pushes a second by receiver and status: 2xx is well, 4xx refused for good and "
                "lost, 5xx tried again.",
                "suffix:/s",
                {"{{handler}} {{code}}": pipeline.pushes(EACH)},
            )
        ),
        lines(
            303,
            "Samples lost",
            "Samples that Prometheus would not have, by reason, and numbers of spans that the "
            "trace store could not push. Up to ten minutes out of order is taken.",
            COUNT,
            grown(pipeline.LOST_SAMPLES),
        ).axis_soft_max(1),
    ]
    return [panel.span(8) for panel in panels]


def watching() -> list[Panel]:
    return [
        statetimeline.Panel()
        .id(401)
        .title("Targets")
        .description("Whether Prometheus reaches the parts that it scrapes, every five seconds.")
        .datasource(PROMETHEUS)
        .unit(TEXT)
        .mappings(mappings((1, "up", GOOD), (0, "down", BAD)))
        .no_value("Nothing is scraped")
        .show_value(VisibilityMode.NEVER)
        .merge_values(True)
        .span(12)
        .height(8)
        .targets(lettered([course(pipeline.scraped(), "{{instance}}")])),
        lines(
            402,
            "Time to scrape",
            "How long reading each target takes. Near five seconds samples are missed.",
            SECONDS,
            {"{{instance}}": pipeline.scrape_seconds()},
        ),
        lines(
            403,
            "Rules that failed",
            "Alerting and recording rules that failed, or were left out for want of time. Above "
            "zero an alert may be blind.",
            COUNT,
            grown(pipeline.FAILED_RULES),
        ).axis_soft_max(1),
        lines(
            404,
            "Notices",
            "Notices that Alertmanager sent, and what failed on the way to it or from it: somebody "
            "was not told.",
            COUNT,
            grown(pipeline.NOTICES),
        ).axis_soft_max(1),
    ]


def room() -> list[Panel]:
    return [
        bars(
            501,
            "How near the limits",
            "How much of each limit is used. At 100 % Prometheus forgets the oldest numbers or "
            "exemplars, which is meant; of anything else something new is lost.",
            {
                "Queue of spans": pipeline.share_of_queue(NOW),
                "Disk of Prometheus": pipeline.share_of_disk(),
                "Days of Prometheus": pipeline.share_of_days(),
                "Exemplars": pipeline.share_of_exemplars(),
                "Series Tempo may make": pipeline.share_of_store_series(),
                "Files of {{instance}}": pipeline.share_of_files(),
            },
        ),
        lines(
            502,
            "Disk",
            "What Prometheus and Tempo take, and what is free. Old numbers and traces go by "
            "themselves; the clinic's own rows do not.",
            BYTES,
            {
                "Prometheus": pipeline.prometheus_bytes(),
                "Tempo": pipeline.store_bytes(),
                "free": pipeline.free_bytes(),
            },
        ),
        lines(
            503,
            "Memory",
            "What the scraped programs hold; the clinic's own is on its page. A climb without load "
            "is a leak.",
            BYTES,
            {"{{instance}}": pipeline.memory()},
        ),
        lines(
            504,
            "Series and live traces",
            "Series that Prometheus holds and that Tempo makes of spans, and traces that Tempo has "
            "not written yet. A run adds some hundred series for a quarter of an hour.",
            COUNT,
            {
                "Prometheus": pipeline.series(),
                "Tempo": pipeline.store_series(),
                "live traces": pipeline.live_traces(),
            },
        ),
    ]


def grown(counters: Mapping[str, str]) -> dict[str, str]:
    """Ask what each of some counters grew by."""
    return {legend: pipeline.added(counter, EACH) for legend, counter in counters.items()}


def bars(number: int, title: str, description: str, shares: Mapping[str, str]) -> bargauge.Panel:
    """Draw a bar for each share of a limit."""
    return (
        bargauge.Panel()
        .id(number)
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(SHARE)
        .min(0)
        .max(1)
        .decimals(0)
        .no_value("-")
        .thresholds(steps((0.8, WARNING), (0.95, BAD)))
        .display_mode(BarGaugeDisplayMode.BASIC)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .span(12)
        .height(8)
        .targets(lettered([value(share, legend) for legend, share in shares.items()]))
    )
