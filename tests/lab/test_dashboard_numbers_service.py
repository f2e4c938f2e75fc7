"""Known series in, known numbers out: what the pages of the service and its telemetry show."""

import pytest

from lab.promql.selectors import SPAN_CALLS, Side
from lab.promql.telemetry import FAILED_RULES, LOST_SAMPLES, NOTICES
from tests.lab.test_dashboard_numbers import by, histogram, quantile
from tests.lab.test_dashboard_numbers import question as with_variables
from tests.support.panels import target, targets
from tests.support.promtool import JAEGER, OTHER, RUN, TEMPO, Asked, Samples, Series, asked, hold

pytestmark = pytest.mark.stack

PAGES = ("clinic-api", "telemetry")
NOT_BY_PROMTOOL = {
    ("clinic-api", "501 A"): "Tempo's data source makes the service graph's queries itself",
}
OF_LOAD_TEST = ("testid", "Runs begin", "Runs end")
LETTERS = "ABCDEFG"

# All is asked at the 120th sample. What was added in the 20 s before it came after the 116th, and
# nothing else was added in the minute before, or in the nine minutes that the page shows.
AT = "10m"
EACH = 20


def question(page: str, place: str, expected: Samples, at: str = AT, **variables: str) -> Asked:
    chosen = {"__rate_interval": f"{EACH}s", "__range": "9m", "calls": ".*"} | variables
    return with_variables(page, place, expected, at, **chosen)


def grown(before: object, after: object) -> str:
    return f"{before}x116 {after}x3"


def first(value: object) -> str:
    """Begin a series ten seconds ago, at a value of its own."""
    return f"_x118 {value}x2"


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


def seconds(low: int, high: int = 0) -> str:
    """Write requests that took between a half and 1 s, and some that took between 1 and 2."""
    return f"{{{{schema:0 count:{low + high} sum:1 buckets:[{low} {high}] offset:0}}}}"


def each_lasts(offset: int) -> str:
    """Let a duration be measured four times every five seconds, always in one bucket."""
    return climbing(histogram(4, 1, offset), histogram(4, 1, offset))


LAG, BATCH, STATEMENT = -6, -5, -4
LOAD_RUN = {"http_route": "/owners", "user_agent_synthetic_type": "test"}
ORGANIC = {"http_route": "/owners"}
SELECT = {"span_kind": Side.DATABASE, "span_name": "SELECT owner"}
INSERT = {"span_kind": Side.DATABASE, "span_name": "INSERT owner"}
OK, ERROR = {"status_code": "STATUS_CODE_UNSET"}, {"status_code": "STATUS_CODE_ERROR"}
OF_RUN = {"k6_test_run_id": RUN}

SERVICE: dict[str, str] = {
    # 44 of a load run, 4 of them refused; 13 organic, the first of their kind, 2 of them failed.
    requests("GET", 200, **LOAD_RUN): grown(seconds(100, 9), seconds(136, 13)),
    requests("GET", 503, **LOAD_RUN): grown(seconds(5, 5), seconds(5, 9)),
    requests("POST", 201, **ORGANIC): first(seconds(10)),
    requests("POST", 500, **ORGANIC): f"_x119 {seconds(0, 2)}x1",
    requests("GET", 404): first(seconds(1)),
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
    clinic("clinic_event_loop_lag_seconds"): each_lasts(LAG),
    clinic("process_cpu_time_seconds_total", type="user"): climbing(2),
    clinic("process_cpu_time_seconds_total", type="system"): climbing(0.5),
    clinic("process_memory_usage_bytes"): "100x118",
    clinic("process_memory_usage_bytes", "b"): "50x118",
    clinic("process_memory_usage_bytes", "old"): "70x110",
    clinic("cpython_gc_collections_total", generation="0"): climbing(1),
    clinic("clinic_database_up"): "1x118 0x1",
    clinic("clinic_database_up", "b"): "1x120",
    named("ALERTS", alertname="Down", alertstate="firing", severity="page", instance="a"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Down", severity="page", instance="a"): "500x120",
    named("ALERTS", alertname="Slow", alertstate="pending", severity="ticket"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Slow", severity="ticket"): "550x120",
    named("ALERTS", alertname="LoadTest", alertstate="firing", severity="none"): "1x120",
    named("ALERTS_FOR_STATE", alertname="LoadTest", severity="none"): "300x120",
    named("ALERTS", alertname="Watchdog", alertstate="firing", severity="heartbeat"): "1x120",
    named("ALERTS_FOR_STATE", alertname="Watchdog", severity="heartbeat"): "0x120",
}
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
    return f'{{{own}{labels},of="  {instance} "}}'


def statements(select: float, insert: float) -> Samples:
    return by("span_name", {"SELECT owner": select, "INSERT owner": insert})


SERVICE_SHOWS: dict[str, Samples] = {
    "101 A": {"{}": 57 / 60},
    "102 A": {"{}": 6 / 57},
    "103 A": {"{}": ALL_P95},
    "104 A": {"{}": 0.5},
    "105 A": {"{}": 0.7},
    "106 A": {"{}": 0},
    "107 A": {"{}": 10},
    "108 A": {"{}": 1},
    "201 A": by_route(44 / EACH, 12 / EACH, 1 / EACH),
    "202 A": {"{}": 13 / EACH},
    "202 B": {"{}": 44 / EACH},
    "203 A": by_route(4 / 44, 2 / 12, 0),
    "204 A": by(
        "http_response_status_code",
        {
            "200": 40 / EACH,
            "201": 10 / EACH,
            "404": 1 / EACH,
            "500": 2 / EACH,
            "503": 4 / EACH,
        },
    ),
    "205 A": {"{}": quantile(0.5 * 57 / 47, 0)},
    "205 B": {"{}": ALL_P95},
    "205 C": {"{}": quantile((0.99 * 57 - 47) / 10, 1)},
    "206 A": by_route(
        quantile((0.95 * 44 - 36) / 8, 1), quantile((0.95 * 12 - 10) / 2, 1), quantile(0.95, 0)
    ),
    "301 A": statements(40 / EACH, 8 / EACH),
    "302 A": statements(quantile(0.95, STATEMENT), quantile(0.95, STATEMENT + 1)),
    "303 A": by("span_name", {"INSERT owner": 2 / EACH}),
    "303 B": {"{}": 4 / EACH},
    "304 A": {"{}": 7},
    "304 B": {"{}": 10},
    "401 A": {"{}": quantile(0.5, LAG)},
    "401 B": {"{}": quantile(0.99, LAG)},
    "402 A": by("type", {"user": 0.4, "system": 0.1}),
    "403 A": {"{}": 150},
    "404 A": by("generation", {"0": 0.2}),
    "502 A": {
        alert("Down", "firing", "page", "a"): 500_000,
        alert("Slow", "pending", "ticket"): 550_000,
        alert("LoadTest", "firing", "none"): 300_000,
    },
}


def store(metric: str, **labels: str) -> str:
    return named(metric, job="traces", instance="store", **labels)


def losses(counters: dict[str, str]) -> Series:
    """Let each of some counters grow by its place among them, the first by one."""
    return {
        counter if "{" in counter else f'{counter}{{instance="it"}}': grown(10, 10 + place)
        for place, counter in enumerate(counters.values(), start=1)
    }


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
    named("prometheus_http_requests_total", handler="/api/v1/write", code="204"): grown(50, 54),
    named("prometheus_http_requests_total", handler="/api/v1/write", code="400"): first(1),
    named("prometheus_http_requests_total", handler="/api/v1/query", code="200"): grown(1, 99),
    **losses(LOST_SAMPLES),
    # Exact repetitions, of which nothing is lost.
    named("prometheus_tsdb_out_of_order_samples_total", type="histogram"): grown(0, 63),
    **losses(FAILED_RULES),
    **losses(NOTICES),
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
    "notifications_disk_free_bytes": "5000x120",
}
BY_JAEGER: Series = {
    store("otelcol_exporter_sent_spans_total", exporter="jaeger_storage_exporter"): grown(900, 953),
    store("otelcol_exporter_sent_spans_total", exporter="another"): grown(0, 7),
}
BY_TEMPO: Series = {
    store("tempo_distributor_spans_received_total", tenant="single-tenant"): grown(900, 955),
    store("tempo_discarded_spans_total", reason="trace_too_large"): first(2),
}


def added(panel: int, counters: dict[str, str]) -> dict[str, Samples]:
    return {
        f"{panel} {letter}": {"{}": place}
        for place, letter in enumerate(LETTERS[: len(counters)], start=1)
    }


def pushed(handler: str, code: int) -> str:
    return f'{{handler="/api/v1/{handler}",code="{code}"}}'


TELEMETRY_SHOWS: dict[str, Samples] = {
    "101 A": {"{}": 65},
    "102 A": {"{}": 56},
    "103 A": {"{}": 5},
    "104 A": {"{}": 4},
    "105 A": {"{}": 53},
    # The first losses were fifteen seconds ago at the most.
    "106 A": {"{}": 60 - 53},
    "201 A": {"{}": 65 / EACH},
    "201 B": {"{}": 56 / EACH},
    "201 C": {"{}": 53 / EACH},
    "201 D": {"{}": 5 / EACH},
    "201 E": {"{}": 4 / EACH},
    "202 A": {"{}": 30},
    "202 B": {"{}": 100},
    "203 A": {"{}": quantile(0.5, BATCH)},
    "203 B": {"{}": quantile(0.95, BATCH)},
    "204 B": {"{}": EACH / 5},
    "301 A": {"{}": 10},
    "301 B": {"{}": 15},
    "301 C": {"{}": 5},
    "302 A": {pushed("write", 204): 4 / EACH, pushed("write", 400): 1 / EACH},
    **added(303, LOST_SAMPLES),
    "401 A": by("instance", {"prometheus": 1, "tempo": 0}),
    "402 A": by("instance", {"tempo": 0.25}),
    **added(403, FAILED_RULES),
    **added(404, NOTICES),
    "501 A": {"{}": 0.3},
    "501 B": {"{}": 0.2},
    "501 C": {"{}": 0.25},
    "501 D": {"{}": 0.25},
    "501 E": {"{}": 0.5},
    "501 F": by("instance", {"tempo": 0.1}),
    "502 A": {"{}": 200},
    "502 B": {"{}": 75},
    "502 C": {"{}": 5000},
    "503 A": by("instance", {"tempo": 200, "jaeger": 90}),
    "504 A": {"{}": 1234},
    "504 B": {"{}": 30},
    "504 C": {"{}": 12},
}
DISCARDED = {"204 A": by("reason", {"trace_too_large": 2})}


def test_every_query_of_these_pages_has_a_known_answer_or_a_reason_why_not() -> None:
    asked_for = {one.key for one in targets() if one.page in PAGES}

    answered = {
        *(("clinic-api", place) for place in SERVICE_SHOWS),
        *(("telemetry", place) for place in TELEMETRY_SHOWS | DISCARDED),
    }
    same = {(page, mark) for page in PAGES for mark in OF_LOAD_TEST}
    assert asked_for == {*answered, *NOT_BY_PROMTOOL, *same}
    for page, mark in same:
        assert target(page, mark).query == target("load-test", mark).query


def test_the_page_of_the_service_shows_what_the_series_say() -> None:
    hold(SERVICE, [question("clinic-api", *one) for one in SERVICE_SHOWS.items()])


@pytest.mark.parametrize(
    ("stored", "shows"),
    [(BY_JAEGER, {"204 A": {}}), (BY_TEMPO, DISCARDED)],
    ids=["jaeger", "tempo"],
)
def test_the_page_of_the_telemetry_shows_what_the_series_say(
    stored: Series, shows: dict[str, Samples]
) -> None:
    answers = TELEMETRY_SHOWS | shows
    hold({**TELEMETRY, **stored}, [question("telemetry", *one) for one in answers.items()])


def test_a_wrong_number_would_be_found() -> None:
    wrong = asked(TELEMETRY, [question("telemetry", "101 A", {"{}": 64})])

    assert wrong.returncode != 0
    assert "got" in wrong.stdout + wrong.stderr


@pytest.mark.parametrize(
    ("calls", "rate", "failed"), [("^$", 13, 2), ("test", 44, 4), (".*", 57, 6)]
)
def test_a_page_can_show_load_runs_or_the_others_alone(
    calls: str, rate: float, failed: float
) -> None:
    hold(
        SERVICE,
        [
            question("clinic-api", "101 A", {"{}": rate / 60}, calls=calls),
            question("clinic-api", "102 A", {"{}": failed / rate}, calls=calls),
        ],
    )


def test_a_clinic_that_nobody_calls_has_no_failed_share_and_no_duration() -> None:
    idle = {requests("GET", 200, **ORGANIC): f"{seconds(40)}x120"}

    hold(
        idle,
        [
            question("clinic-api", "101 A", {"{}": 0}),
            question("clinic-api", "102 A", {}),
            question("clinic-api", "103 A", {}),
        ],
    )


def test_a_silent_clinic_is_missed_for_hours() -> None:
    """After five minutes Prometheus knows no newest sample; the minute is found then."""
    series = {clinic("process_memory_usage_bytes"): "1x12"}  # the last at 60 s

    for page, place in (("clinic-api", "107 A"), ("telemetry", "301 A")):
        hold(
            series,
            [
                question(page, place, {"{}": 0}, "60s"),
                question(page, place, {"{}": 240}, "5m"),
                question(page, place, {"{}": 3540}, "1h"),
                question(page, place, {}, "10h"),
            ],
        )


def test_a_run_that_has_ended_is_not_missed() -> None:
    hold({f'k6_vus{{testid="{RUN}"}}': "5 5 stale"}, [question("telemetry", "301 C", {}, "20s")])


def test_spans_stored_are_estimated_when_the_store_was_restarted() -> None:
    """The clinic sends ten spans every five seconds; the store begins anew half-way."""
    series = {
        clinic(EXPORTED): climbing(10),
        store("tempo_distributor_spans_received_total"): "0+10x59 0+10x60",
    }

    hold(
        series,
        [
            question("telemetry", "102 A", {"{}": 1200}, __range="10m"),
            question("telemetry", "105 A", {"{}": 1180 / 119 * 120}, __range="10m"),
        ],
    )


@pytest.mark.parametrize("counts", ["900x116 6 6 6 6", "100x116 10 40 90 90"])
def test_a_store_that_was_restarted_just_before_has_stored_what_it_counts(counts: str) -> None:
    received = store("tempo_distributor_spans_received_total")
    last = int(counts.rsplit(maxsplit=1)[-1])

    hold({received: counts}, [question("telemetry", "201 C", {"{}": last / EACH})])


def no_numbers(series: Series, at: str) -> None:
    questions: list[Asked] = []
    for one in targets():
        if one.is_promql and one.page in PAGES:
            expression, _, _ = question(*one.key, {})
            wrong = f"({expression}) != ({expression}) or abs({expression}) == Inf"
            questions.append((f"count({wrong})", {}, at))
    hold(series, questions)


@pytest.mark.parametrize("at", ["0s", "5s", AT, "12m", "20m"])
def test_nothing_is_divided_by_zero(at: str) -> None:
    no_numbers({**SERVICE, **TELEMETRY, **BY_TEMPO}, at)


def test_an_idle_system_shows_no_wrong_numbers() -> None:
    no_numbers({}, AT)
    series = {**SERVICE, **TELEMETRY, **BY_JAEGER}
    quiet = {name: values for name, values in series.items() if "schema" not in values}
    no_numbers(dict.fromkeys(quiet, "0x120"), AT)
