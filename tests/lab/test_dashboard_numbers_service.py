"""Known series in, known numbers out: the dashboards of the service and of its telemetry."""

import pytest

from lab.promql.selectors import SPAN_CALLS, Side
from lab.promql.telemetry import LOST_SAMPLES, NOTIFICATIONS, RULE_FAILURES
from tests.support.panels import ANNOTATIONS, NEEDS, VARIABLES, Address, by_address, queries
from tests.support.promtool import (
    JAEGER,
    OTHER,
    RUN,
    TEMPO,
    Asked,
    Samples,
    Series,
    assert_finite,
    by,
    histogram,
    hold,
    quantile,
    total,
)

pytestmark = pytest.mark.stack

DASHBOARDS = ("Clinic API", "Telemetry")
NOT_BY_PROMTOOL: dict[Address, str] = {
    ("Clinic API", "Service graph", ""): "Grafana's Tempo data source asks for this itself",
    **{
        (dashboard, NEEDS, "In this time range"): "its known answers are in test_needs.py"
        for dashboard in DASHBOARDS
    },
}

# All is asked at the 120th sample. What was added in the 20 s before it came after the 116th, and
# nothing else was added in the minute before, or in the nine minutes of the dashboard's range.
AT = "10m"
EACH = 20
CHOSEN = {"__rate_interval": f"{EACH}s", "__range": "9m", "calls": ".*", "testid": RUN}
CHOSEN |= {"__from": "0", "__to": "1"}


def question(address: Address, expected: Samples, at: str = AT, **variables: str) -> Asked:
    return queries()[address].filled(**(CHOSEN | variables)), expected, at


def grown(before: object, after: object) -> str:
    return f"{before}x116 {after}x3"


def first(value: object) -> str:
    """Begin a series ten seconds ago, at a value of its own."""
    return f"_x118 {value}x2"


def first_requests(value: str) -> str:
    """Begin a series of the API ten seconds ago, after the zero that Prometheus stores."""
    return f"_x117 {seconds(0)} {value}x2"


def climbing(step: object, start: object = 0) -> str:
    return f"{start}+{step}x120"


def clinic(metric: str, instance: str = "a", **labels: str) -> str:
    return named(metric, job="clinic", instance=instance, **labels)


def named(metric: str, **labels: str) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{metric}{{{inside}}}"


def requests(method: str, status: int, instance: str = "a", **labels: str) -> str:
    return clinic(
        "http_server_request_duration_seconds",
        instance,
        http_request_method=method,
        http_response_status_code=str(status),
        **labels,
    )


def sampled(metric: str, **labels: str) -> str:
    return named(f"postgresql_{metric}_total", job="postgres-sampler", **labels)


def exported(metric: str, database: str = "clinic", **labels: str) -> str:
    return named(metric, job="postgres", datname=database, **labels)


def seconds(low: int, high: int = 0) -> str:
    """Write requests that took between a half and 1 s, and some that took between 1 and 2."""
    return f"{{{{schema:0 count:{low + high} sum:1 buckets:[{low} {high}] offset:0}}}}"


def each_lasts(offset: int) -> str:
    """Let a duration be measured four times every five seconds, always in one bucket."""
    return climbing(histogram(4, 1, offset), histogram(4, 1, offset))


LAG, BATCH, STATEMENT = -6, -5, -4
LOAD_RUN = {"http_route": "/owners", "user_agent_synthetic_type": "test"}
ORGANIC = {"http_route": "/owners"}
DATABASE = {"span_kind": Side.DATABASE, "clinic_operation": "any"}
SELECT = {**DATABASE, "span_name": "SELECT owner"}
INSERT = {**DATABASE, "span_name": "INSERT owner"}
OK, ERROR = {"status_code": "STATUS_CODE_UNSET"}, {"status_code": "STATUS_CODE_ERROR"}
OF_RUN = {"k6_test_run_id": RUN}

SERVICE: dict[str, str] = {
    # 44 of a load run, 4 of them refused; 13 organic, the first of their kind, 2 of them failed.
    requests("GET", 200, **LOAD_RUN): grown(seconds(100, 9), seconds(136, 13)),
    requests("GET", 503, **LOAD_RUN): grown(seconds(5, 5), seconds(5, 9)),
    requests("POST", 201, **ORGANIC): first_requests(seconds(10)),
    requests("POST", 500, **ORGANIC): first_requests(seconds(0, 2)),
    requests("GET", 404): first_requests(seconds(1)),
    # A process that ended, and one that nobody calls.
    requests("GET", 200, "old", **ORGANIC): f"{seconds(900)}x110",
    requests("GET", 500, "b", **ORGANIC): f"{seconds(0, 90)}x120",
    named(SPAN_CALLS, **SELECT, **OK, **OF_RUN): grown(100, 140),
    named(SPAN_CALLS, **SELECT, **OK): grown(7, 7),
    named(SPAN_CALLS, **INSERT, **OK): first(6),
    named(SPAN_CALLS, **INSERT, **ERROR): first(2),
    named(SPAN_CALLS, span_kind=Side.SERVER, span_name="GET /owners"): grown(100, 900),
    named(JAEGER, **SELECT, **OK, **OF_RUN): each_lasts(STATEMENT),
    named(TEMPO, **INSERT, **OK): each_lasts(STATEMENT + 1),
    named(TEMPO, span_kind=Side.SERVER, span_name="GET /owners"): each_lasts(9),
    clinic("db_client_connection_count", db_client_connection_state="used"): "2x116 3 7 3 2",
    clinic("db_client_connection_count", db_client_connection_state="idle"): "5x120",
    clinic("db_client_connection_max"): "10x120",
    # A second process, which has less to do.
    clinic("db_client_connection_count", "b", db_client_connection_state="used"): "1x120",
    clinic("db_client_connection_max", "b"): "10x120",
    clinic("clinic_event_loop_lag_seconds", "b"): each_lasts(LAG - 4),
    clinic("process_cpu_time_seconds_total", "b", type="user"): climbing(0.5),
    clinic("clinic_event_loop_lag_seconds"): each_lasts(LAG),
    clinic("process_cpu_time_seconds_total", type="user"): climbing(2),
    clinic("process_cpu_time_seconds_total", type="system"): climbing(0.5),
    clinic("process_memory_usage_bytes"): "100x118",
    clinic("process_memory_usage_bytes", "b"): "50x118",
    clinic("process_memory_usage_bytes", "old"): "70x110",
    clinic("cpython_gc_collections_total", generation="0"): climbing(1),
    sampled("backend_seconds", statement="INSERT owner", wait="commit"): grown(5, 9),
    sampled("backend_seconds", statement="INSERT pet", wait="commit"): first(2),
    sampled("backend_seconds", statement="INSERT pet", wait="lock"): grown(0, 1),
    # Known since before, and not executed again: no mean.
    sampled("statement_calls", statement="SELECT pet"): grown(7, 7),
    sampled("statement_seconds", statement="SELECT pet"): grown(1, 1),
    sampled("statement_calls", statement="SELECT"): grown(1, 9),
    sampled("statement_seconds", statement="SELECT"): grown(1, 9),
    # Two texts of one name.
    sampled("statement_calls", statement="UPDATE pet", statement_id="1"): grown(1, 9),
    sampled("statement_seconds", statement="UPDATE pet", statement_id="1"): grown(0.1, 0.9),
    sampled("statement_calls", statement="UPDATE pet", statement_id="2"): first(2),
    sampled("statement_seconds", statement="UPDATE pet", statement_id="2"): first(0.4),
    sampled("wal_fsyncs"): grown(50, 90),
    sampled("wal_fsync_seconds"): grown(1, 1.2),
    exported("pg_stat_database_xact_commit"): grown(100, 160),
    exported("pg_stat_database_xact_rollback"): grown(3, 4),
    exported("pg_stat_database_deadlocks"): grown(0, 2),
    exported("pg_stat_database_blks_hit"): grown(0, 99),
    exported("pg_stat_database_blks_read"): grown(5, 6),
    exported("pg_stat_database_xact_commit", "postgres"): grown(0, 900),
    exported("pg_stat_activity_count", state="active"): "0x120",
    exported("pg_stat_activity_count", state="idle", wait_event="ClientRead"): "4x116 9 5 5 5",
    exported("pg_stat_activity_count", state="disabled"): "0x120",
    clinic("clinic_database_up"): "1x118 0x1",
    clinic("clinic_database_up", "b"): "1x120",
    clinic("clinic_processes_expected", "b"): "3x120",
    # Nobody calls the second operation.
    named("operation:slo_p95:seconds", operation="POST /owners", profile="load"): "0.3x120",
    named("operation:slo_p95:seconds", operation="POST /owners", profile="stress"): "0.8x120",
    named("operation:slo_p95:seconds", operation="GET /pets/{pet_id}", profile="load"): "0.2x120",
    named("operation:error_budget_burn:1h", operation="POST /owners", slo="availability"): "14x120",
    named("operation:error_budget_burn:1h", operation="POST /owners", slo="latency"): "2x120",
    named("ALERTS", alertname="Down", alertstate="firing", severity="page", instance="a"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Down", severity="page", instance="a"): "500x120",
    named("ALERTS", alertname="Slow", alertstate="pending", severity="ticket"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Slow", severity="ticket"): "550x120",
    named("ALERTS", alertname="LoadTest", alertstate="firing", severity="none"): "1x120",
    named("ALERTS_FOR_STATE", alertname="LoadTest", severity="none"): "300x120",
    named("ALERTS", alertname="Watchdog", alertstate="firing", severity="heartbeat"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Watchdog", severity="heartbeat"): "0x120",
}
BY_STATUS = {"200": 40, "201": 10, "404": 1, "500": 2, "503": 4}
# 47 requests took less than 1 s, 10 took longer.
ALL_P95 = quantile((0.95 * 57 - 47) / 10, 1)


def by_route(get: float, post: float, unknown: float) -> Samples:
    def labels(method: str, route: str) -> str:
        return f'{{http_request_method="{method}",http_route="{route}"}}'

    return {
        labels("GET", "/owners"): get,
        labels("POST", "/owners"): post,
        labels("GET", "(no such path)"): unknown,
    }


def alert(name: str, state: str, severity: str, instance: str = "") -> str:
    own = f'instance="{instance}",' if instance else ""
    labels = f'alertname="{name}",alertstate="{state}",severity="{severity}"'
    return f'{{{own}{labels},subject="  {instance} "}}'


def statements(select: float, insert: float) -> Samples:
    return by("span_name", {"SELECT owner": select, "INSERT owner": insert})


BY_ROUTE = "{{http_request_method}} {{http_route}}"
SERVICE_ANSWERS: dict[Address, Samples] = by_address(
    "Clinic API",
    {
        "Requests, last minute": {"": total(57 / 60)},
        "Failed (5xx), last minute": {"": total(6 / 57)},
        "p95, last minute": {"": total(ALL_P95)},
        "CPU, last minute": {"": total(0.5)},
        "CPU": {"{{type}}": by("type", {"user": 0.5, "system": 0.1})},
        "Connections, last minute": {"": total(0.7)},
        "Database": {"": total(0)},
        "Last metric received": {"": total(10)},
        "Alerts firing": {"": total(1)},
        "Error budgets": {
            "p95 limit": by("operation", {"POST /owners": 0.3, "GET /pets/{pet_id}": 0.2}),
            "Errors": by("operation", {"POST /owners": 14}),
            "Slow": by("operation", {"POST /owners": 2}),
        },
        "Requests by route": {BY_ROUTE: by_route(44 / EACH, 12 / EACH, 1 / EACH)},
        "Organic requests and load runs": {
            "organic": total(13 / EACH),
            "load runs": total(44 / EACH),
        },
        "Failed share by route": {BY_ROUTE: by_route(4 / 44, 2 / 12, 0)},
        "Responses by status": {
            "{{http_response_status_code}}": by(
                "http_response_status_code",
                {status: count / EACH for status, count in BY_STATUS.items()},
            )
        },
        "Request duration": {
            "p50": total(quantile(0.5 * 57 / 47, 0)),
            "p95": total(ALL_P95),
            "p99": total(quantile((0.99 * 57 - 47) / 10, 1)),
        },
        "p95 by route": {
            BY_ROUTE: by_route(
                quantile((0.95 * 44 - 36) / 8, 1),
                quantile((0.95 * 12 - 10) / 2, 1),
                quantile(0.95, 0),
            )
        },
        "Statements": {"{{span_name}}": statements(40 / EACH, 8 / EACH)},
        "p95 by statement": {
            "{{span_name}}": statements(quantile(0.95, STATEMENT), quantile(0.95, STATEMENT + 1))
        },
        "Failed statements and 503 responses": {
            "{{span_name}} failed": by("span_name", {"INSERT owner": 2 / EACH}),
            "503 responses": total(4 / EACH),
        },
        "Connections": {"in use": total(7), "pool size": total(10)},
        "Active backends": {"{{wait}}": by("wait", {"commit": 6 / EACH, "lock": 1 / EACH})},
        "Mean execution by statement": {"{{statement}}": by("statement", {"UPDATE pet": 0.12})},
        "WAL flushes": {"mean": total(0.005), "flushes": total(40 / EACH)},
        "Transactions": {
            "commits": total(60 / EACH),
            "rollbacks": total(1 / EACH),
            "deadlocks": total(2 / EACH),
        },
        "Connections by state": {"{{state}}": by("state", {"idle": 9})},
        "Cache hits": {"hits": total(0.99)},
        "Event-loop delay": {"p50": total(quantile(0.5, LAG)), "p99": total(quantile(0.99, LAG))},
        "Memory": {"resident": total(150)},
        "Garbage collections": {"generation {{generation}}": by("generation", {"0": 0.2})},
        "Processes": {"running": total(2), "expected": total(3)},
        "Alerts": {
            "Since": {
                alert("Down", "firing", "page", "a"): 500_000,
                alert("Slow", "pending", "ticket"): 550_000,
                alert("LoadTest", "firing", "none"): 300_000,
            }
        },
    },
)


def store(metric: str, **labels: str) -> str:
    return named(metric, job="traces", instance="store", **labels)


def losses(counters: dict[str, str]) -> Series:
    """Let each of some counters grow by its place among them, the first by one."""
    return {
        counter if "{" in counter else f'{counter}{{instance="it"}}': grown(10, 10 + place)
        for place, counter in enumerate(counters.values(), start=1)
        if "=~" not in counter
    }


def pushes(handler: str, code: int) -> str:
    labels = {"job": "prometheus", "handler": f"/api/v1/{handler}", "code": str(code)}
    return named("prometheus_http_requests_total", **labels)


PROCESSED = "otel_sdk_processor_span_processed_total"
EXPORTED = "otel_sdk_exporter_span_exported_total"
GENERATOR = "tempo_metrics_generator"
TELEMETRY: dict[str, str] = {
    # Of 65 spans the queue dropped 5 and 4 were given up: the first losses ever.
    clinic(PROCESSED): grown(1000, 1060),
    clinic(PROCESSED, error_type="queue_full"): first(5),
    clinic(PROCESSED, "old"): "800x30",
    clinic(EXPORTED): grown(1000, 1056),
    clinic(EXPORTED, error_type="ConnectionError"): first(4),
    clinic(EXPORTED, "old"): "800x30",
    clinic("otel_sdk_processor_span_queue_size"): "10x116 30 20 10 10",
    clinic("otel_sdk_processor_span_queue_size", "b"): "15x120",
    clinic("otel_sdk_processor_span_queue_capacity"): "100x120",
    clinic("otel_sdk_exporter_operation_duration_seconds"): each_lasts(BATCH),
    clinic("process_memory_usage_bytes"): "100x118",
    SPAN_CALLS: "100x117",
    named("k6_vus", testid=RUN, instance="1"): "5x118",
    named("k6_vus", testid=RUN, instance="2"): "5x119",
    named("k6_vus", testid=OTHER): "5x120",
    store(f"{GENERATOR}_processor_service_graphs_dropped_spans"): climbing(1),
    store(f"{GENERATOR}_registry_active_series"): "30x120",
    store(f"{GENERATOR}_registry_max_active_series"): "60x120",
    store("tempo_live_store_live_traces"): "12x120",
    store("tempodb_backend_bytes_total", status="live"): "70x120",
    store("tempodb_backend_bytes_total", status="compacted"): "5x120",
    pushes("write", 204): grown(50, 56),
    pushes("write", 400): first(4),  # the fourth of the lost samples
    pushes("query", 400): grown(1, 99),
    **losses(LOST_SAMPLES),
    # Exact repetitions, of which nothing is lost.
    named("prometheus_tsdb_out_of_order_samples_total", job="prometheus", type="histogram"): grown(
        0, 63
    ),
    **losses(RULE_FAILURES),
    **losses(NOTIFICATIONS),
    named("up", job="prometheus", instance="prometheus"): "1x120",
    named("up", job="traces", instance="tempo"): "1x119 0",
    named("scrape_duration_seconds", job="traces", instance="tempo"): "0.25x120",
    "prometheus_tsdb_storage_blocks_bytes": "100x120",
    "prometheus_tsdb_wal_storage_size_bytes": "50x120",
    "prometheus_tsdb_head_chunks_storage_size_bytes": "30x120",
    "prometheus_tsdb_out_of_order_wbl_storage_size_bytes": "20x120",
    "prometheus_tsdb_retention_limit_bytes": "1000x120",
    "prometheus_tsdb_retention_limit_seconds": "1200x120",
    "prometheus_tsdb_lowest_timestamp_seconds": "300x120",
    "prometheus_tsdb_exemplar_exemplars_in_storage": "50x120",
    "prometheus_tsdb_exemplar_max_exemplars": "200x120",
    "prometheus_tsdb_head_series": "1234x120",
    named("process_resident_memory_bytes", job="traces", instance="tempo"): "200x120",
    named("otelcol_process_memory_rss_bytes", job="traces", instance="jaeger"): "90x120",
    named("process_open_fds", job="traces", instance="tempo"): "10x120",
    named("process_max_fds", job="traces", instance="tempo"): "100x120",
    named("node_filesystem_avail_bytes", job="node"): "5000x120",
}
BY_JAEGER: Series = {
    store("otelcol_exporter_sent_spans_total", exporter="jaeger_storage_exporter"): grown(900, 953),
    store("otelcol_exporter_sent_spans_total", exporter="another"): grown(0, 7),
}
BY_TEMPO: Series = {
    store("tempo_distributor_spans_received_total", tenant="single-tenant"): grown(900, 955),
    store("tempo_discarded_spans_total", reason="trace_too_large"): first(2),
}


def losses_shown(counters: dict[str, str]) -> dict[str, Samples]:
    return {legend: total(place) for place, legend in enumerate(counters, start=1)}


def pushed(handler: str, code: int) -> str:
    return f'{{handler="/api/v1/{handler}",code="{code}"}}'


TELEMETRY_ANSWERS: dict[Address, Samples] = by_address(
    "Telemetry",
    {
        "Created": {"": total(65)},
        "Sent": {"": total(56)},
        "Dropped": {"": total(5)},
        "Failed to send": {"": total(4)},
        "Stored": {"": total(53)},
        "Missing": {"": total(56 - 53)},
        "Spans": {
            "created": total(65 / EACH),
            "sent": total(56 / EACH),
            "stored": total(53 / EACH),
            "dropped": total(5 / EACH),
            "failed to send": total(4 / EACH),
        },
        "Span queue": {"waiting": total(30), "limit": total(100)},
        "Time to send a batch": {
            "p50": total(quantile(0.5, BATCH)),
            "p95": total(quantile(0.95, BATCH)),
        },
        "Discarded spans": {"missing in the service graph": total(EACH / 5)},
        "Time since the last metric": {
            "clinic": total(10),
            "span metrics": total(15),
            "k6": total(5),
        },
        "Pushes": {
            "{{handler}} {{code}}": {
                pushed("write", 204): 6 / EACH,
                pushed("write", 400): 4 / EACH,
            }
        },
        "Samples lost": losses_shown(LOST_SAMPLES),
        "Targets": {"{{instance}}": by("instance", {"prometheus": 1, "tempo": 0})},
        "Scrape duration": {"{{instance}}": by("instance", {"tempo": 0.25})},
        "Failed rule evaluations": losses_shown(RULE_FAILURES),
        "Notifications": losses_shown(NOTIFICATIONS),
        "Limits": {
            "Span queue": total(0.3),
            "Prometheus disk": total(0.2),
            "Prometheus retention": total(0.25),
            "Exemplars": total(0.25),
            "Tempo series": total(0.5),
            "Open files of {{instance}}": by("instance", {"tempo": 0.1}),
        },
        "Disk": {"Prometheus": total(200), "Tempo": total(75), "free": total(5000)},
        "Memory": {"{{instance}}": by("instance", {"tempo": 200, "jaeger": 90})},
        "Series and live traces": {
            "Prometheus": total(1234),
            "Tempo": total(30),
            "live traces": total(12),
        },
    },
)
DISCARDED: dict[Address, Samples] = {
    ("Telemetry", "Discarded spans", "{{reason}}"): by("reason", {"trace_too_large": 2})
}


def test_every_query_has_a_known_answer() -> None:
    """Those of variables are the same as on the dashboards about runs.

    Those of annotations are in test_dashboard_numbers_list.py.
    """
    asked = {address for address in queries() if address[0] in DASHBOARDS}
    same = {address for address in asked if address[1] == VARIABLES}
    bands = {(name, ANNOTATIONS, "Runs") for name in DASHBOARDS}

    assert asked - same - bands == {
        *(*SERVICE_ANSWERS, *TELEMETRY_ANSWERS, *DISCARDED, *NOT_BY_PROMTOOL),
    }
    for address in same:
        assert queries()[address].text == queries()["Load test", *address[1:]].text
    assert len({queries()[band].text for band in bands}) == 1


def test_the_service() -> None:
    hold(SERVICE, [question(*answer) for answer in SERVICE_ANSWERS.items()])


@pytest.mark.parametrize(
    ("stored", "discarded"),
    [(BY_JAEGER, {address: {} for address in DISCARDED}), (BY_TEMPO, DISCARDED)],
    ids=["jaeger", "tempo"],
)
def test_the_telemetry(stored: Series, discarded: dict[Address, Samples]) -> None:
    answers = TELEMETRY_ANSWERS | discarded
    hold({**TELEMETRY, **stored}, [question(*answer) for answer in answers.items()])


@pytest.mark.parametrize(
    ("calls", "rate", "failed"), [("^$", 13, 2), ("test", 44, 4), (".*", 57, 6)]
)
def test_load_runs_or_organic_requests_alone(calls: str, rate: float, failed: float) -> None:
    hold(
        SERVICE,
        [
            question(("Clinic API", "Requests, last minute", ""), total(rate / 60), calls=calls),
            question(
                ("Clinic API", "Failed (5xx), last minute", ""), total(failed / rate), calls=calls
            ),
        ],
    )


def test_an_idle_service_has_no_failed_share_and_no_duration() -> None:
    idle = {requests("GET", 200, **ORGANIC): f"{seconds(40)}x120"}

    hold(
        idle,
        [
            question(("Clinic API", "Requests, last minute", ""), total(0)),
            question(("Clinic API", "Failed (5xx), last minute", ""), {}),
            question(("Clinic API", "p95, last minute", ""), {}),
        ],
    )


def test_a_silent_clinic_is_missed_for_hours() -> None:
    """After five minutes Prometheus knows no newest sample; the minute is found then."""
    series = {clinic("process_memory_usage_bytes"): "1x12"}  # the last at 60 s

    for address in (
        ("Clinic API", "Last metric received", ""),
        ("Telemetry", "Time since the last metric", "clinic"),
    ):
        hold(
            series,
            [
                question(address, total(0), "60s"),
                question(address, total(240), "5m"),
                question(address, total(3540), "1h"),
                question(address, {}, "10h"),
            ],
        )


def test_a_run_that_has_ended_is_not_missed() -> None:
    hold(
        {f'k6_vus{{testid="{RUN}"}}': "5 5 stale"},
        [question(("Telemetry", "Time since the last metric", "k6"), {}, "20s")],
    )


def test_spans_stored_are_estimated_when_the_store_was_restarted() -> None:
    """The clinic sends ten spans every five seconds; the store begins anew half-way."""
    series = {
        clinic(EXPORTED): climbing(10),
        store("tempo_distributor_spans_received_total"): "0+10x59 0+10x60",
    }

    hold(
        series,
        [
            question(("Telemetry", "Sent", ""), total(1200), __range="10m"),
            question(("Telemetry", "Stored", ""), total(1180 / 119 * 120), __range="10m"),
        ],
    )


@pytest.mark.parametrize("counts", ["900x116 6 6 6 6", "100x116 10 40 90 90"])
def test_a_store_that_was_restarted_just_before_has_stored_what_it_counts(counts: str) -> None:
    received = store("tempo_distributor_spans_received_total")
    last = int(counts.rsplit(maxsplit=1)[-1])

    hold({received: counts}, [question(("Telemetry", "Spans", "stored"), total(last / EACH))])


def zero(series: Series) -> Series:
    return {name: "0x120" for name, values in series.items() if "schema" not in values}


@pytest.mark.parametrize(
    ("series", "at"),
    [
        *(({**SERVICE, **TELEMETRY, **BY_TEMPO}, at) for at in ("0s", "5s", AT, "12m", "20m")),
        ({}, AT),
        (zero({**SERVICE, **TELEMETRY, **BY_JAEGER}), AT),
    ],
)
def test_nothing_is_divided_by_zero(series: Series, at: str) -> None:
    expressions = (
        query.filled(**CHOSEN)
        for query in queries().values()
        if query.is_promql and query.dashboard in DASHBOARDS
    )
    assert_finite(series, expressions, at)
