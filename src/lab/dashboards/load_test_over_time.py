"""Load test, over time: one run in its own intervals, which are those of its record."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import QueryVariable

from lab import slo
from lab.dashboards import base, style
from lab.dashboards.panels import Graph, Panel, graph
from lab.findings.names import PARTS
from lab.promql import load_run, request_time, run_list, traceql
from lab.promql.request_time import EXPORT_SECONDS, Part, Window
from lab.promql.selectors import OPERATION, RETENTION, Interval, RunSelector, Side

STEP, SHIFT, BEFORE, EXPORTS_BEFORE = "step", "shift", "before", "exports_before"
# Grafana evaluates at multiples of the step. An interval of the run ends `shift` later.
LENGTH = f"${{{STEP}}}s"
INTERVAL = Interval(LENGTH, f"${{{SHIFT}}}", f"${{{BEFORE}}}")
TIMELINE = RunSelector("$testid", RETENTION, "$scenario", interval=INTERVAL)
# The API reports between two multiples of the step: once in the middle of each 5 s.
EXPORT = str(1000 * EXPORT_SECONDS)
PROCESSES = Window.of(
    Interval(LENGTH, EXPORT, f"${{{EXPORTS_BEFORE}}}"), wider=Interval(LENGTH, EXPORT)
)
NO_DATA = "No data of this run in this time range"


def variables(run: RunSelector) -> list[QueryVariable]:
    """Compute the intervals of the run."""
    return [
        base.number_variable(STEP, run_list.step(run)),
        base.number_variable(SHIFT, run_list.shift(run, f"${STEP}")),
        base.number_variable(BEFORE, run_list.before(f"${STEP}", f"${SHIFT}")),
        base.number_variable(EXPORTS_BEFORE, run_list.before(f"${STEP}", EXPORT)),
    ]


def run_graph(title: str, unit: str, series: Mapping[str, str]) -> Graph:
    """Draw what a run did in each of its intervals, and nothing before or after it."""
    within = {name: load_run.within_run(it, TIMELINE) for name, it in series.items()}
    return graph(title, unit, within, min_step=LENGTH).no_value(NO_DATA)


def panels() -> list[Panel]:
    load = {
        "requests": load_run.request_rate(TIMELINE),
        "failed": load_run.failed_rate_since_first(TIMELINE),
        "virtual users": load_run.virtual_users(TIMELINE),
        "dropped iterations": load_run.dropped_rate(TIMELINE),
    }
    p95 = {
        "client": load_run.client_quantile(0.95, TIMELINE),
        "server": load_run.side_quantile(0.95, Side.SERVER, TIMELINE),
        "database span": load_run.side_quantile(0.95, Side.DATABASE, TIMELINE),
    }
    resources = {
        "in use": request_time.connections_used(PROCESSES),
        "pool size": request_time.connections_allowed(PROCESSES),
        "event-loop delay p95": request_time.event_loop_lag(0.95, PROCESSES),
    }
    errors = {
        f"{{{{{OPERATION}}}}} {{{{kind}}}}": load_run.error_rate(TIMELINE, f"{OPERATION}, kind")
    }
    client = load_run.client_quantile(0.95, TIMELINE, OPERATION)
    server, database = (load_run.side_quantile(0.95, side, TIMELINE, OPERATION) for side in Side)
    return [
        run_graph("Load", style.REQUESTS_PER_SECOND, load)
        .right_axis("virtual users", "suffix: VUs")
        .override_by_name("dropped iterations", [style.unit("suffix:iterations/s")])
        .description(
            "Where virtual users (right axis) still rise and requests no longer do, the API is "
            "saturated. k6 drops iterations when no virtual user is free."
        ),
        run_graph("p95 by side", style.SECONDS, p95)
        .limit(slo.all_requests_limits().p95, style.NEUTRAL)
        .description(
            "95th percentile of the duration as measured by k6 (client) and as the responses "
            "state it (server and database), of the same requests. Dashed: the limit."
        ),
        _where_the_time_goes(),
        run_graph("Errors by kind", style.PER_SECOND, errors)
        .colours_by_start(style.ERRORS)
        .no_value("No errors in this time range, or no data of this run")
        .description(
            "What k6 found wrong: an unexpected status, an incomplete body, no response, a timeout."
        ),
        _by_operation("Client p95 by operation", "duration as measured by k6", client),
        _by_operation("Server p95 by operation", "duration as measured by the API", server),
        _by_operation(
            "Database span p95 by operation", "duration of statements as the API saw them", database
        ),
        run_graph("Connections and event loop", style.NUMBER, resources)
        .right_axis("event-loop delay p95", style.SECONDS)
        .height(9)
        .description(
            "The API's database connections and event-loop delay (right axis). With all "
            "connections in use, requests wait for one. A delay above 10 ms means a busy CPU "
            "or code that blocks the event loop."
        ),
    ]


def _where_the_time_goes() -> Panel:
    means = request_time.parts_over_time(TIMELINE, PROCESSES)
    parts = {PARTS[part][0]: means[Part(part)] for part in style.PARTS}
    return (
        graph("Where the time goes", style.SECONDS, parts, min_step=LENGTH)
        .stacked()
        .colours({PARTS[part][0]: colour for part, colour in style.PARTS.items()})
        .no_value(NO_DATA)
        .description(
            "The mean request: executing, waiting for locks and committing in PostgreSQL; waiting "
            "for a connection (pool), working and waiting for the event loop in the API; in the "
            "network or a proxy; in k6. An interval is drawn when all of them have reported."
        )
    )


def _by_operation(title: str, duration: str, p95: str) -> Panel:
    slow_traces = traceql.requests(
        "$testid", operation=f"${{__field.labels.{OPERATION}}}", longer_than="${__value.raw}s"
    )
    return (
        run_graph(title, style.SECONDS, {f"{{{{{OPERATION}}}}}": p95})
        .colours(style.OPERATIONS)
        .link_to_traces(slow_traces)
        .fill_opacity(0)
        .height(9)
        .description(
            f"95th percentile of the {duration}. Writes have warm colours, reads cool ones. Click "
            "a point for the operation's traces that took the server as long or longer."
        )
    )
