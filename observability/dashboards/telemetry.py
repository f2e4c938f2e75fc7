"""Is the telemetry itself whole: spans, pushes, scrapes, rules, and the limits of all of them."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import bargauge, common, dashboard, statetimeline
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VisibilityMode, VizOrientation

from observability.dashboards import pages
from observability.dashboards.panels import (
    PROMETHEUS,
    Panel,
    Query,
    course,
    graph,
    lettered,
    stacked,
    stat,
    steps,
    value,
)
from observability.dashboards.style import (
    BAD,
    BYTES,
    CLIENT,
    COUNT,
    DATABASE,
    GOOD,
    NEUTRAL,
    SECONDS,
    SERVER,
    SHARE,
    TEXT,
    WARNING,
    mappings,
)
from observability.queries import pipeline

EACH = "$__rate_interval"
RANGE = "$__range"
NOW = "1m"
SPANS = "suffix: spans/s"
OF_TEMPO = "Tempo alone has this; nothing too where it has nothing to say"


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
    lost = steps((1, BAD))
    estimate = "After a restart of the trace store within the time range this is an estimate."
    return [
        stat(
            101,
            "Made",
            "Spans that the clinic made in the time range: one for a request that is sampled, and "
            "one for each of its statements.",
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
            "Spans for which the clinic's queue had no room: the trace store was away for long, or "
            "too slow. They are gone.",
            COUNT,
            value(pipeline.dropped(RANGE)),
        ).thresholds(lost),
        stat(
            104,
            "Lost on the way",
            "Spans that the trace store refused, or that did not reach it. They are gone.",
            COUNT,
            value(pipeline.refused(RANGE)),
        ).thresholds(lost),
        stat(
            105,
            "Stored",
            "Spans of the time range that the trace store kept: what Jaeger wrote, or what Tempo "
            f"took less what it threw away. {estimate}",
            COUNT,
            value(pipeline.stored(RANGE)),
        ),
        stat(
            106,
            "Missing",
            "Spans sent and not stored. While requests go on the newest ten seconds' worth is "
            f"still to be counted; what is missing after that is lost. {estimate}",
            COUNT,
            value(pipeline.missing(RANGE)),
        ).thresholds(lost),
    ]


def spans() -> list[Panel]:
    return [
        graph(
            201,
            "Spans",
            "Spans a second, made, sent and stored: three lines that run as one when all is well. "
            "What falls below the others is where they are lost.",
            SPANS,
            course(f"({pipeline.made(EACH)}) / {EACH}", "made"),
            course(f"({pipeline.sent(EACH)}) / {EACH}", "sent"),
            course(f"({pipeline.stored(EACH)}) / {EACH}", "stored"),
            course(f"({pipeline.dropped(EACH)}) / {EACH}", "dropped"),
            course(f"({pipeline.refused(EACH)}) / {EACH}", "lost on the way"),
            colours={
                "made": NEUTRAL,
                "sent": SERVER,
                "stored": DATABASE,
                "dropped": BAD,
                "lost on the way": WARNING,
            },
        ),
        graph(
            202,
            "Queue of spans",
            "Spans that wait in the clinic to be sent, and how many may. At the limit the oldest "
            "are dropped; requests never wait for it.",
            COUNT,
            course(pipeline.queue(EACH), "waiting"),
            course(pipeline.queue_limit(EACH), "limit"),
            colours={"waiting": SERVER, "limit": NEUTRAL},
        ),
        graph(
            203,
            "Time to send a batch",
            "Half and 95 of 100 batches of spans took less. At two seconds a batch is given up.",
            SECONDS,
            course(pipeline.export_seconds(0.5, EACH), "p50"),
            course(pipeline.export_seconds(0.95, EACH), "p95"),
            colours={"p50": NEUTRAL, "p95": SERVER},
        ),
        graph(
            204,
            "Thrown away by Tempo",
            "Spans that Tempo took and threw away, by reason, and calls missing in the service "
            "graph. Anything here is a limit to raise in tempo.yaml. Jaeger has no such limits.",
            COUNT,
            course(pipeline.discarded_by_reason(EACH), "{{reason}}"),
            course(pipeline.dropped_edges(EACH), "not in the service graph"),
        ).no_value(OF_TEMPO),
    ]


def pushes() -> list[Panel]:
    return [
        graph(
            301,
            "Silence",
            "How long ago the newest number of each sender arrived. All send every five seconds: a "
            "line that climbs is a gap. k6 sends during a run, the trace store while it has spans.",
            SECONDS,
            course(pipeline.silence_of_clinic(), "clinic"),
            course(pipeline.silence_of_store(), "span metrics"),
            course(pipeline.silence_of_k6(), "k6"),
            colours={"clinic": SERVER, "span metrics": DATABASE, "k6": CLIENT},
        ),
        stacked(
            graph(
                302,
                "Pushes",
                "Pushes a second by receiver and status: 2xx is well, 4xx was refused for good and "
                "is lost, 5xx is tried again.",
                "suffix:/s",
                course(pipeline.pushes(EACH), "{{handler}} {{code}}"),
            )
        ),
        graph(
            303,
            "Samples lost",
            "Samples that Prometheus would not have, by reason, and numbers of spans that the "
            "trace store could not push. Up to ten minutes out of order is taken.",
            COUNT,
            *counted(pipeline.LOST_SAMPLES),
        ),
        graph(
            304,
            "Samples",
            "Samples a second that Prometheus takes in, pushed, scraped and made by rules.",
            "suffix: samples/s",
            course(pipeline.samples(EACH), "samples"),
            colours={"samples": NEUTRAL},
        ),
    ]


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
        .row_height(0.8)
        .span(12)
        .height(8)
        .targets(lettered([course(pipeline.scraped(), "{{instance}}")])),
        graph(
            402,
            "Time to scrape",
            "How long reading each target takes. Near five seconds samples are missed.",
            SECONDS,
            course(pipeline.scrape_seconds(), "{{instance}}"),
        ),
        graph(
            403,
            "Rules that failed",
            "Evaluations of alerting and recording rules that failed or were left out. Above zero "
            "an alert may be blind.",
            COUNT,
            *counted(pipeline.FAILED_RULES),
            colours={"failed": BAD, "left out": WARNING},
        ),
        graph(
            404,
            "Notices",
            "Notices that Alertmanager sent, and those that failed on their way to it or from it. "
            "Above zero somebody was not told.",
            COUNT,
            *counted(pipeline.NOTICES),
            colours={"sent": NEUTRAL, "failed": BAD},
        ),
    ]


def room() -> list[Panel]:
    return [
        bars(
            501,
            "How near the limits",
            "How much of each limit is used. Prometheus forgets its oldest at 100 % of disk or "
            "days, which is meant; anything else near 100 % loses something soon.",
            value(pipeline.share_of_queue(NOW), "Queue of spans"),
            value(pipeline.share_of_disk(), "Disk of Prometheus"),
            value(pipeline.share_of_days(), "Days of Prometheus"),
            value(pipeline.share_of_exemplars(), "Exemplars"),
            value(pipeline.share_of_store_series(), "Series Tempo may make"),
            value(pipeline.share_of_memory(), "Memory of {{instance}}"),
            value(pipeline.share_of_files(), "Files of {{instance}}"),
        ),
        graph(
            502,
            "Disk",
            "What Prometheus and Tempo's blocks take, and what is free for everything on the disk. "
            "Old numbers and traces go by themselves; the clinic's own rows do not.",
            BYTES,
            course(pipeline.prometheus_bytes(), "Prometheus"),
            course(pipeline.store_bytes(), "Tempo"),
            course(pipeline.free_bytes(), "free"),
            colours={"Prometheus": SERVER, "Tempo": DATABASE, "free": NEUTRAL},
        ),
        graph(
            503,
            "Memory",
            "What the programs of the bundle hold, where Prometheus can ask them. The clinic's own "
            "is on its page.",
            BYTES,
            course(pipeline.memory(), "{{instance}}"),
        ),
        graph(
            504,
            "Series",
            "Series that Prometheus holds in memory, and those that Tempo makes of spans: a run "
            "adds some hundred to each for a quarter of an hour.",
            COUNT,
            course(pipeline.series(), "Prometheus"),
            course(pipeline.store_series(), "Tempo"),
            colours={"Prometheus": SERVER, "Tempo": DATABASE},
        ),
        graph(
            505,
            "Live traces",
            "Traces that Tempo holds in memory, before it writes them. It follows the load; a "
            "climb without load means that it cannot write.",
            COUNT,
            course(pipeline.live_traces(), "live traces"),
            colours={"live traces": DATABASE},
        ).no_value(OF_TEMPO),
    ]


def counted(counters: Mapping[str, str]) -> list[Query]:
    """Ask what each of some counters grew by."""
    return [course(pipeline.added(name, EACH), legend) for legend, name in counters.items()]


def bars(number: int, title: str, description: str, *queries: Query) -> bargauge.Panel:
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
        .height(12)
        .targets(lettered(queries))
    )
