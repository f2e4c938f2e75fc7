"""Rules about the telemetry itself: what does not arrive cannot alert by its own metrics."""

from collections.abc import Iterable

from lab.promql import api, telemetry
from lab.promql.selectors import SPAN_CALLS
from lab.promql.telemetry import ACCEPTED, NOTIFICATIONS, RULE_FAILURES, TRACE_STORE
from lab.rules.rule import Group, Rule, alert, docker_memory_limit, group, record

LOST = "counter:lost:total"
LOST_IN_10M = "counter:lost:increase10m"
NOT_EXPORTED = "spans not exported"
# Longer than the window of what was exported: covers spans in transit.
STORED_WINDOW = "10m30s"
MANY_SERIES = 100_000


def groups() -> list[Group]:
    return [
        *groups_elsewhere(),
        group("losses", _losses()),
        group("telemetry", [*_pipeline(), *_prometheus()]),
    ]


def groups_elsewhere() -> list[Group]:
    """Build the alert that always fires, and the rules about what the API itself counts."""
    return [group("heartbeat", [_watchdog()]), group("lost spans", _lost_spans())]


def _watchdog() -> Rule:
    """Build an alert whose absence is the alarm."""
    return alert(
        "Watchdog",
        "vector(1)",
        severity="heartbeat",
        area="telemetry",
        summary="Notifications arrive",
        description="This alert always fires. When it stops arriving, no other alert arrives.",
        panel=("clinic-telemetry", "Notifications"),
    )


def _lost_spans() -> list[Rule]:
    return [
        record(LOST, _by_counter(telemetry.SPANS_NOT_EXPORTED), kind=NOT_EXPORTED),
        record(LOST_IN_10M, api.increase(f'{LOST}{{kind="{NOT_EXPORTED}"}}', "10m")),
        alert(
            "SpansLost",
            _lost(NOT_EXPORTED, "job"),
            severity="ticket",
            area="telemetry",
            summary="The API lost spans",
            description='{{ printf "%.0f" $value }} spans were not exported in the last 10 min: '
            "the queue was full, or the trace store was down or rejected them.",
            panel=("clinic-telemetry", "Spans"),
        ),
    ]


def _losses() -> list[Rule]:
    return [
        record(LOST, _by_counter(telemetry.SPANS_NOT_STORED), kind="spans not stored"),
        record(LOST, _by_counter(telemetry.LOST_SAMPLES.values()), kind="samples"),
        record(LOST_IN_10M, api.increase(f'{LOST}{{kind!="{NOT_EXPORTED}"}}', "10m")),
    ]


def _by_counter(counters: Iterable[str]) -> str:
    """Sum each of some counters, labelled by its name."""
    return "\nor ".join(
        "sum by (job, instance, counter) "
        f'(label_replace({counter}, "counter", "$1", "__name__", "(.+)"))'
        for counter in counters
    )


def _lost(kind: str, by: str) -> str:
    return f'sum by ({by}) ({LOST_IN_10M}{{kind="{kind}"}}) > 0'


def _pipeline() -> list[Rule]:
    up = f"up{{{TRACE_STORE}}}"
    return [
        alert(
            "SpansDiscarded",
            _lost("spans not stored", "instance, counter"),
            severity="ticket",
            area="telemetry",
            summary="{{ $labels.instance }} discarded spans",
            description='{{ $labels.counter }} rose by {{ printf "%.0f" $value }} in the last '
            "10 min: those spans are in no trace or in no span metric.",
            panel=("clinic-telemetry", "Discarded spans"),
        ),
        # A trace store that was down or restarted has counted less than it stores.
        alert(
            "SpansMissing",
            f"{telemetry.spans_missing('10m', STORED_WINDOW)} > 0\n"
            f"and on () min(min_over_time({up}[{STORED_WINDOW}])) == 1\n"
            f"and on () max(resets({ACCEPTED}[{STORED_WINDOW}])) == 0",
            wait="1m",
            severity="ticket",
            area="telemetry",
            summary="Exported spans are not in the trace store",
            description='The trace store acknowledged {{ printf "%.0f" $value }} spans in the last '
            "10 min that it has not stored.",
            panel=("clinic-telemetry", "Missing"),
        ),
        alert(
            "SpanMetricsGap",
            f"{telemetry.spans_stored('1m')} > 0\n"
            f"unless on () count(present_over_time({SPAN_CALLS}[1m]))",
            wait="30s",
            severity="ticket",
            area="telemetry",
            summary="Spans are stored, but their metrics do not arrive",
            description='The trace store stored {{ printf "%.0f" $value }} spans in the last '
            "minute, and no span metric reached Prometheus: runs have no server and database "
            "columns.",
            panel=("clinic-telemetry", "Time since the last metric"),
        ),
        alert(
            "SamplesLost",
            _lost("samples", "instance, counter"),
            severity="ticket",
            area="telemetry",
            summary="Prometheus lost samples",
            description="{{ $labels.counter }} of {{ $labels.instance }} rose by "
            '{{ printf "%.0f" $value }} in the last 10 min: metrics have gaps.',
            panel=("clinic-telemetry", "Samples lost"),
        ),
        alert(
            "TraceStoreDown",
            telemetry.after_start(f"{up} == 0 or 0 * absent({up})"),
            wait="15s",
            severity="ticket",
            area="telemetry",
            summary="The trace store is down",
            description="Prometheus cannot scrape the trace store (up is {{ $value }}). The API "
            "queues up to 8,192 spans and then drops the oldest; runs have no server and database "
            "columns.",
            panel=("clinic-telemetry", "Targets"),
        ),
    ]


def _prometheus() -> list[Rule]:
    # Where node_exporter does not run, its absence is no failure.
    absent = "".join(
        f'\nor 0 * absent(up{{job="{job}"}})' for job in ("prometheus", "alertmanager")
    )
    return [
        alert(
            "TargetDown",
            telemetry.after_start(f'up{{job!="traces"}} == 0{absent}'),
            wait="30s",
            severity="ticket",
            area="telemetry",
            summary="{{ $labels.job }} is down",
            description="Prometheus cannot scrape {{ $labels.job }} (up is {{ $value }}).",
            panel=("clinic-telemetry", "Targets"),
        ),
        # Alerts are sent again every minute: a single failure has left the window before this
        # fires. It is sent once Alertmanager is back; until then Grafana and `just alerts` show it.
        alert(
            "AlertsNotSent",
            f"{api.total_increase(NOTIFICATIONS['dropped by Prometheus'], '90s')} > 0",
            wait="2m",
            severity="page",
            area="telemetry",
            summary="Alerts do not reach Alertmanager",
            description='Prometheus could not send {{ printf "%.0f" $value }} alerts to '
            "Alertmanager in the last 90 s: nobody is notified of anything.",
            panel=("clinic-telemetry", "Notifications"),
        ),
        alert(
            "NotificationsFailing",
            f"{api.total_increase(NOTIFICATIONS['failed'], '5m', 'integration')} > 0",
            severity="ticket",
            area="telemetry",
            summary="Notifications through {{ $labels.integration }} fail",
            description='Alertmanager could not deliver {{ printf "%.0f" $value }} notifications '
            "through {{ $labels.integration }} in the last 5 min.",
            panel=("clinic-telemetry", "Notifications"),
        ),
        alert(
            "RulesFailing",
            f"{api.total_increase(RULE_FAILURES['failed'], '5m', 'instance')} > 0",
            severity="ticket",
            area="telemetry",
            summary="Prometheus rules fail",
            description='{{ printf "%.0f" $value }} rule evaluations failed in the last 5 min: '
            "alerts that depend on them are silent.",
            panel=("clinic-telemetry", "Failed rule evaluations"),
        ),
        alert(
            "ManySeries",
            f"{telemetry.prometheus_series()} > {MANY_SERIES}",
            wait="5m",
            severity="ticket",
            area="telemetry",
            summary="Prometheus holds many series",
            description="Prometheus holds {{ $value }} series in memory. "
            f"{MANY_SERIES:,} series take about 300 MiB; in Docker the container is OOM-killed at "
            f"{docker_memory_limit('prometheus')}.",
            panel=("clinic-telemetry", "Series and live traces"),
        ),
    ]
