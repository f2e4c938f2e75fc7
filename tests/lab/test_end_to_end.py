"""The whole product on real programs: start the stack, load-test it, read the run back.

Whatever k6 counted, the server, the trace store, Prometheus and PostgreSQL must have too.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from lab.clients.prometheus import Prometheus
from lab.clients.tempo_or_jaeger import connect
from lab.clients.trace_store import TraceSearch
from lab.findings.names import PARTS
from lab.paths import RESULTS_VARIABLE
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.run_list import LAST_EXPORT
from lab.promql.run_range import SECONDS_AFTER
from lab.runs import record
from lab.runs.k6 import THRESHOLDS_FAILED
from lab.runs.reader import read_metrics
from lab.runs.record import Record
from lab.stack.config import StackConfig
from tests.support.native_stack import NativeStack, until
from tests.support.panels import (
    JAEGER_ONLY,
    MAY_BE_EMPTY,
    TEMPO_ONLY,
    VARIABLES,
    Query,
    queries,
)

pytestmark = pytest.mark.stack

JSON = {"Content-Type": "application/json"}
# In the order in which they need each other.
INTERVALS = ("step", "shift", "before", "exports_before")
SERVICE_GRAPH = "traces_service_graph_request_total"
WRITES = {
    "POST /owners": "owner",
    "POST /owners/{owner_id}/pets": "pet",
    "POST /pets/{pet_id}/appointments": "appointment",
}


@dataclass
class Run:
    """A run that has ended: its exit status and output, and k6's own summary of it."""

    stack: NativeStack
    id: str
    status: int
    output: str
    summary: dict[str, Any]

    @property
    def config(self) -> StackConfig:
        return self.stack.config

    def command(self, *words: str) -> str:
        answer = self.stack.run(*words)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def record(self) -> Record:
        with Prometheus(self.config.prometheus_url) as prometheus:
            return read_metrics(prometheus, self.id)

    def file(self, suffix: str) -> Path:
        return Path(self.stack.environment[RESULTS_VARIABLE]) / f"{self.id}{suffix}"

    def shown(self, panel: str, series: str = "") -> dict[str, float]:
        """Return what a panel of the Load test dashboard shows at the run's end, by operation."""
        query = queries()["Load test", panel, series].filled(testid=self.id, scenario=".+")
        at = self.record().period.ended + SECONDS_AFTER
        with Prometheus(self.config.prometheus_url) as prometheus:
            return prometheus.by_label(query, "operation", at)


def load_test(stack: NativeStack, profile: str, **settings: str) -> Run:
    answer = stack.run("run", profile, **settings)
    match = re.search(r"^Run (\S+) against", answer.stdout, re.MULTILINE)
    assert match, answer.stdout + answer.stderr
    summary = json.loads(Path(stack.environment["K6_SUMMARY_EXPORT"]).read_text())["metrics"]
    return Run(stack, match[1], answer.returncode, answer.stdout + answer.stderr, summary)


def without_tempo(path: str) -> str:
    folders = path.split(os.pathsep)
    return os.pathsep.join(f for f in folders if not (Path(f) / "tempo").exists())


@pytest.fixture(scope="module", params=["jaeger", "tempo"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Start a stack and run the smoke profile against it."""
    path = os.environ["PATH"]
    if request.param == "jaeger":
        path = without_tempo(path)
    elif shutil.which("tempo") is None:
        pytest.skip("Tempo is not on PATH")
    with tempfile.TemporaryDirectory(prefix="clinic-") as folder:
        # The results are beside it: a stack takes an empty folder only.
        stack = NativeStack(Path(folder) / "state")
        stack.environment |= {
            "PATH": path,
            RESULTS_VARIABLE: f"{folder}/results",
            "K6_SUMMARY_EXPORT": f"{folder}/summary.json",
            "COLUMNS": "120",
        }
        try:
            up = stack.run("up")
            assert up.returncode == 0, up.stdout + up.stderr
            yield load_test(stack, "smoke")
        finally:
            down = stack.run("down")
            assert down.returncode == 0, down.stderr


def counted_by_k6(run: Run) -> int:
    """Return the number of requests of the load, without checks before it and sent spans."""
    load = run.summary["http_req_failed{scenario:smoke}"]
    return int(load["passes"] + load["fails"])


def test_one_trace_holds_a_whole_iteration(run: Run) -> None:
    with connect(run.config.traces_url) as store:
        requests, _ = store.slower_than(TraceSearch(run.id, run.record().period), 0, 500)
        ((trace_id, count),) = Counter(request.trace_id for request in requests).most_common(1)
        spans = Counter((span.service, span.kind) for span in store.spans(trace_id))

    assert count == 6
    assert spans["k6", "internal"] == 1
    assert spans["k6", "client"] == spans["clinic", "server"] == spans["clinic", "client"] == 6
    drawn = run.command("trace", trace_id)
    assert "k6: iteration book" in drawn
    assert "clinic: POST /owners" in drawn
    assert "postgresql: INSERT owner" in drawn


def is_p95(seconds: float | None, k6: dict[str, float]) -> bool:
    """Compare a p95 with k6's own summary in ms.

    Of sixty durations the 57th and the 58th lie far apart, and a bucket is 5 % wide: any way of
    taking a percentile stays between k6's p90 and p99.
    """
    return k6["p(90)"] * 0.95 <= (seconds or 0) * 1000 <= k6["p(99)"] * 1.05


def test_the_run_passes_its_thresholds(run: Run) -> None:
    assert run.status == 0, run.output
    assert run.id.endswith("-smoke")
    assert counted_by_k6(run) > 300


def test_the_record_agrees_with_k6s_own_summary(run: Run) -> None:
    saved = record.load(run.file(".json"))
    requests = counted_by_k6(run)
    k6 = run.summary["http_req_duration{scenario:smoke}"]

    assert (saved.verdict, saved.profile, saved.journey) == ("passed", "smoke", "book")
    assert all(threshold.passed for threshold in saved.thresholds)
    assert saved.missing == []
    assert saved.total.requests == requests
    assert saved.completeness.sent == saved.completeness.traced == requests
    assert saved.completeness.created == saved.completeness.rows_written == requests // 2
    assert saved.total.client_mean == pytest.approx(k6["avg"] / 1000, rel=0.01)
    for row in (*saved.operations, saved.total):
        assert sum(row.time_shares.values()) == pytest.approx(1)
        assert row.time_shares["unknown"] < 0.3
        assert min(row.time_shares.values()) >= 0
        assert row.postgresql_execution
    in_timeline = sum(point.requests for point in saved.operation_timeline)
    assert in_timeline == pytest.approx(requests, abs=6)
    assert saved.total.failed_share == run.summary["http_req_failed"]["value"] == 0
    assert saved.total.client_p50 == pytest.approx(k6["med"] / 1000, rel=0.05)
    assert is_p95(saved.total.client_p95, k6)
    assert [row.requests for row in saved.operations] == [requests // 6] * 6
    for row in saved.operations:
        assert is_p95(row.client_p95, run.summary[f"http_req_duration{{name:{row.operation}}}"])
        assert row.server_p95 is not None
        assert row.database_p95 is not None
        # The buckets of the sides differ by a few percent, and a server's span ends after its
        # client has the response: on a busy machine by some milliseconds.
        assert row.database_p95 <= row.server_p95 * 1.1
        assert row.server_p95 <= (row.client_p95 or 0) * 1.2 + 0.01


def intervals_shown(run: Run) -> dict[str, str]:
    """Return the variables by which the dashboard divides a run into intervals."""
    values: dict[str, str] = {}
    with Prometheus(run.config.prometheus_url) as prometheus:
        for name in INTERVALS:
            query = queries()["Load test", VARIABLES, name]
            value = prometheus.number(
                query.filled(testid=run.id, scenario=".+", **values), time.time()
            )
            values[name] = f"{value:.0f}"
    return values


def test_client_server_and_database_of_one_moment_stand_at_that_moment(run: Run) -> None:
    saved = record.load(run.file(".json"))
    timeline = saved.timeline
    sides = zip(timeline.client_p95, timeline.server_p95, timeline.database_p95, strict=True)

    assert len(timeline.at) == 4
    for client, server, database in sides:
        assert client is not None
        assert server is not None
        assert database is not None
        assert database <= server * 1.1 <= client * 1.2
    for at, *parts in zip(timeline.at, *timeline.parts.values(), strict=True):
        points = [point for point in saved.operation_timeline if point.at == at]
        seconds = sum(point.mean * point.requests for point in points)
        mean = seconds / sum(point.requests for point in points)
        assert sum(part or 0 for part in parts) == pytest.approx(mean, rel=0.1)


def test_the_dashboard_draws_the_intervals_of_the_record_and_nothing_beyond_them(run: Run) -> None:
    saved = record.load(run.file(".json"))
    timeline, shown = saved.timeline, intervals_shown(run)
    shift = int(shown["shift"]) / 1000
    ends = [saved.period.started + timeline.step * number - shift for number in range(-2, 12)]
    lines = {
        ("Load", "requests"): timeline.rate,
        ("Load", "virtual users"): timeline.virtual_users,
        ("p95 by side", "client"): timeline.client_p95,
        ("p95 by side", "server"): timeline.server_p95,
        ("p95 by side", "database span"): timeline.database_p95,
        ("Where the time goes", PARTS["api_working"][0]): timeline.parts["api_working"],
        ("Where the time goes", PARTS["network"][0]): timeline.parts["network"],
        ("Connections and event loop", "pool size"): timeline.connections_allowed,
    }

    with Prometheus(run.config.prometheus_url) as prometheus:
        for (panel, series), values in lines.items():
            query = queries()["Load test", panel, series]
            drawn = prometheus.over_time(
                query.filled(testid=run.id, scenario=".+", **shown), "", ends
            )[""]
            assert drawn == [None] * 3 + [pytest.approx(value) for value in values] + [None] * 7


def test_the_distribution_agrees_with_k6s_own_summary(run: Run) -> None:
    saved = record.load(run.file(".json"))
    k6 = run.summary

    for row in saved.operations:
        exact = k6[f"http_req_duration{{name:{row.operation}}}"]
        assert row.client_min == pytest.approx(exact["min"] / 1000)
        assert row.client_mean == pytest.approx(exact["avg"] / 1000)
        assert row.client_max == pytest.approx(exact["max"] / 1000)
        assert row.over_limit_share == 0
    assert saved.heatmap is not None
    assert len(saved.heatmap.counts) == len(saved.timeline.at)
    assert sum(map(sum, saved.heatmap.counts)) == saved.total.requests
    assert sum(check.passed for check in saved.checks) == k6["checks"]["passes"]
    assert {check.failed for check in saved.checks} == {0}
    assert saved.iterations is not None
    assert saved.iterations.count == k6["iterations"]["count"]
    assert saved.iterations.mean == pytest.approx(k6["iteration_duration"]["avg"] / 1000)
    # k6's summary of these covers its own requests before the load and those of spans, too.
    assert saved.phases["waiting"].mean == pytest.approx(
        k6["http_req_waiting"]["avg"] / 1000, rel=0.1
    )
    for measured, of_k6 in (
        (saved.bytes_sent, k6["data_sent"]["count"]),
        (saved.bytes_received, k6["data_received"]["count"]),
    ):
        assert measured == pytest.approx(of_k6, rel=0.1)
        assert measured <= of_k6


def test_the_record_has_what_the_run_used(run: Run) -> None:
    saved = record.load(run.file(".json"))
    used = {resource.name: resource for resource in saved.resources}

    programs = {"api", "k6", "machine"} | ({"postgresql"} if sys.platform == "linux" else set())
    assert set(used) == programs == set(saved.timeline.cpu) == set(saved.timeline.memory)
    cpu = {name: resource.cpu_mean or 0.0 for name, resource in used.items()}
    assert 0 < sum(cpu.values()) - cpu["machine"] <= cpu["machine"] * 1.1
    for resource in saved.resources:
        assert resource.cores == os.cpu_count()
        assert 0 < (resource.cpu_mean or 0) <= (resource.cpu_max or 0)
        assert 10e6 < (resource.memory or 0) < psutil.virtual_memory().total
    calls = {statement.name: statement.calls for statement in saved.postgresql.statements}
    assert {calls[f"INSERT {table}"] for table in WRITES.values()} == {saved.total.requests // 6}
    assert (saved.postgresql.wal_bytes or 0) > 10_000
    assert (saved.postgresql.fsyncs or 0) > 0


def test_the_record_has_traces_and_environment_and_no_password(run: Run) -> None:
    saved = record.load(run.file(".json"))

    assert len(saved.slowest_traces) >= 10
    kinds = [{span.kind for span in trace.spans} for trace in saved.slowest_traces]
    assert all({"server", "client"} <= kind <= {"server", "client", "internal"} for kind in kinds)
    assert saved.environment is not None
    assert {"k6", "prometheus", "postgres", "api"} <= set(saved.environment.programs)
    assert list(saved.environment.options["scenarios"]) == ["smoke"]
    assert run.config.password_file.read_text().strip() not in str(saved)


def test_the_report_page_links_to_a_trace_of_the_operation_nearest_its_limit(run: Run) -> None:
    html = run.file(".html").read_text()
    links = re.findall(r'href="#(trace-[0-9a-f-]+)"', html)

    assert f"\n{run.file('.html')}\n" in run.output
    assert len(html) < 1_000_000
    assert links
    assert all(f'id="{link}"' in html for link in links)


def test_the_dashboard_agrees_with_k6s_own_summary(run: Run) -> None:
    sent = counted_by_k6(run)
    requests = run.shown("Operations", "Requests")

    assert run.shown("Verdict") == {"": 1}
    assert run.shown("Requests") == {"": sent}
    for count in ("sent", "traced"):
        assert run.shown("Completeness", count) == {"": sent}, count
    for count in ("promised", "written"):
        rows = sum(requests[operation] for operation in WRITES)
        assert run.shown("Completeness", count) == {"": rows}, count
    for missing in ("traces", "rows"):
        assert run.shown("Missing", missing) == {"": 0}, missing
    assert run.shown("Failed") == {"": 0}
    [rate] = run.shown("Rate").values()
    assert rate == pytest.approx(sent / run.record().period.seconds, rel=0.001)
    [p95] = run.shown("Client p95").values()
    assert is_p95(p95, run.summary["http_req_duration{scenario:smoke}"])
    assert sum(requests.values()) == sent
    assert len(requests) == 6
    for operation, seconds in run.shown("Operations", "p95").items():
        assert is_p95(seconds, run.summary[f"http_req_duration{{name:{operation}}}"])


def answers(run: Run, query: Query, variables: dict[str, str], times: tuple[float, float]) -> int:
    """Count the series, values or traces that a query of a dashboard returns."""
    asked = query.filled(**variables)
    if query.source == "tempo":
        return len(searched(run, asked)) if asked.startswith("{") else 1
    if asked.startswith("label_values("):
        metric, label = asked.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        with Prometheus(run.config.prometheus_url) as prometheus:
            return len(prometheus.label_values(label, metric))
    since, until = times
    at = {"start": since, "end": until, "step": 5.0} if query.over_time else {"time": until}
    path = "query_range" if query.over_time else "query"
    url = f"{run.config.prometheus_url}/api/v1/{path}"
    response = httpx.post(url, data={"query": asked, **at}, timeout=20).json()
    assert response["status"] == "success", (query, response)
    return len(response["data"]["result"])


def searched(run: Run, query: str) -> list[Any]:
    """Search by TraceQL until the trace store finds something."""
    for _ in range(20):
        response = httpx.get(f"{run.config.traces_url}/api/search", params={"q": query}, timeout=20)
        assert response.is_success, response.text
        if traces := response.json().get("traces"):
            return list(traces)
        time.sleep(0.5)
    return []


def test_every_request_has_its_trace_with_both_spans(run: Run) -> None:
    metrics = run.record()
    with connect(run.config.traces_url) as store:
        requests, incomplete = store.slower_than(TraceSearch(run.id, metrics.period), 0, 5000)
        traces = Counter(request.trace_id for request in requests)
        [alone, *_] = (request for request in requests if traces[request.trace_id] == 1)
        spans = store.spans(alone.trace_id)

    assert not incomplete
    assert len({request.key for request in requests}) == counted_by_k6(run)
    assert Counter(request.operation for request in requests) == {
        row.operation: row.requests for row in metrics.operations
    }
    assert {"client", "server"} <= {span.kind for span in spans}
    assert {span.attributes["k6.test_run_id"] for span in spans} == {run.id}


async def count_rows(config: StackConfig) -> Counter[str]:
    engine = create_async_engine(config.database_url)
    async with engine.connect() as connection:
        rows = {
            operation: await connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608
            for operation, table in WRITES.items()
        }
    await engine.dispose()
    return Counter({operation: count or 0 for operation, count in rows.items()})


@pytest.mark.anyio
async def test_every_201_has_its_row(run: Run) -> None:
    rows = await count_rows(run.config)

    requests = {row.operation: row.requests for row in run.record().operations}
    assert rows == {operation: requests[operation] for operation in WRITES}


def test_a_run_can_be_reported_again_and_a_trace_drawn(run: Run) -> None:
    table = run.output[run.output.index(f"Run {run.id}  ") :]
    again = run.command("report")
    trace_id = re.search(r"^\s*([0-9a-f]{32}) ", again, re.MULTILINE)
    assert trace_id

    waterfall = run.command("trace", trace_id[1])

    assert again.split("Slowest")[0].strip() == table.split("Slowest")[0].strip()
    for operation in WRITES:
        assert operation in again
    assert run.id in waterfall
    assert "db.query.text" in waterfall


def test_the_apis_own_metrics_arrive(run: Run) -> None:
    with Prometheus(run.config.prometheus_url) as prometheus:
        names = prometheus.label_values("__name__", '{job="clinic"}')
        labels = prometheus.label_values(
            "user_agent_synthetic_type", "http_server_request_duration_seconds"
        )

    assert set(names) >= {
        "clinic_event_loop_lag_seconds",
        "cpython_gc_collections_total",
        "db_client_connection_count",
        "http_server_request_duration_seconds",
        "otel_sdk_exporter_span_exported_total",
        "otel_sdk_processor_span_queue_size",
        "process_memory_usage_bytes",
    }
    assert labels == ["test"]


def test_the_service_graph_names_k6_the_clinic_and_its_database(run: Run) -> None:
    """Tempo adds a call without a parent after waiting ten seconds for one.

    k6's readiness checks before the load belong to no run, so they come from "user".
    """
    if shutil.which("tempo", path=run.stack.environment["PATH"]) is None:
        pytest.skip("Jaeger draws no service graph")
    calls = {("k6", "clinic"), ("clinic", "postgresql")}

    def drawn() -> set[tuple[str, str]]:
        with Prometheus(run.config.prometheus_url) as prometheus:
            return {
                (client, server)
                for client in prometheus.label_values("client", SERVICE_GRAPH)
                for server in prometheus.label_values(
                    "server", f'{SERVICE_GRAPH}{{client="{client}"}}'
                )
            }

    until = time.monotonic() + 40
    while not drawn() >= calls and time.monotonic() < until:
        time.sleep(1)
    assert drawn() - {("user", "clinic")} == calls


def test_every_panel_and_variable_of_the_dashboards_shows_the_run(run: Run) -> None:
    """With a second run to compare it to."""
    other = load_test(run.stack, "smoke", DURATION="5s")
    variables = {"testid": run.id, "against": other.id, "scenario": ".+", "slow": "0"}
    variables |= {"__rate_interval": "20s", "__interval": "5s", "calls": ".*"}
    variables |= intervals_shown(run)
    tempo = shutil.which("tempo", path=run.stack.environment["PATH"])
    period = run.record().period
    # Losses are shown from 20 s after the end.
    time.sleep(max(0.0, period.ended + 30 - time.time()))
    # Grafana evaluates at multiples of the step.
    since, until = period.started // 5 * 5 - 10, time.time()
    variables |= {
        "__range": f"{until - since:.0f}s",
        "load_start": str(period.started),
        "load_end": str(period.ended + LAST_EXPORT),
        "load_length": f"{period.seconds + LAST_EXPORT:.0f}",
        "__from": f"{1000 * since:.0f}",
        "__to": f"{1000 * until:.0f}",
        "profile": ".*",
        "journey": ".*",
        "tag": "",
    }

    empty = {
        query.address
        for query in queries().values()
        if (tempo or query.source != "tempo") and not answers(run, query, variables, (since, until))
    }

    assert sorted(empty - {*MAY_BE_EMPTY, *(JAEGER_ONLY if tempo else TEMPO_ONLY)}) == []


FEW = {"RATE": "6"}
FEW_USERS = {"VUS": "6"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("profile", "journey", "size"),
    [
        ("smoke", "cancel", FEW),
        ("load", "book", FEW),
        ("stress", "mixed", FEW_USERS),
        ("spike", "cancel", FEW_USERS),
        ("soak", "browse", FEW),
        ("breakpoint", "mixed", FEW),
    ],
)
async def test_each_profile_and_journey_passes_and_leaves_a_row_for_each_201(
    run: Run, profile: str, journey: str, size: dict[str, str]
) -> None:
    before = await count_rows(run.config)
    other = load_test(run.stack, profile, JOURNEY=journey, DURATION="6s", **size)
    added = await count_rows(run.config)
    added.subtract(before)

    assert other.status == 0, other.output
    metrics = other.record()
    requests = Counter({row.operation: row.requests for row in metrics.operations})
    assert metrics.total.failed_share == 0
    assert metrics.completeness.sent == metrics.completeness.traced > 10
    assert added == Counter({operation: requests[operation] for operation in WRITES})


@pytest.mark.anyio
async def test_clean_up_leaves_the_clinic_as_it_was(run: Run) -> None:
    before = await count_rows(run.config)
    other = load_test(run.stack, "smoke", DURATION="5s", CLEANUP="1", JOURNEY="mixed")

    assert other.status == 0, other.output
    assert re.search(r"Deleted \d+ owners", other.output)
    assert await count_rows(run.config) == before
    assert other.record().completeness.missing == 0


NAME, EMAIL, PHONE = "Dueño Zacarías", "loadtest+7@vetfeliz.cl", "+56912345678"
VETERINARIAN, NOTES = "Dra. Grafana", "NotaSecreta"
PERSONAL = (
    "SELECT name, email, phone FROM owner UNION SELECT reason, veterinarian, notes FROM appointment"
)


def send_personal_data(run: Run, trace_id: str) -> set[int]:
    """Send requests of a load that succeed and fail, as one trace; return their statuses."""
    headers = {
        "baggage": "k6.test_run_id=personal,k6.scenario=smoke",
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "tracestate": f"vendor={NOTES}",
        "user-agent": NOTES,
    }
    owner = {"name": NAME, "email": EMAIL, "phone": PHONE}
    visit = {"reason": NOTES, "notes": NOTES, "veterinarian": VETERINARIAN}
    with httpx.Client(base_url=run.config.api_url, headers=headers) as client:
        created = client.post("/owners", json=owner, headers={"idempotency-key": NOTES})
        pets = f"{created.headers['location']}/pets"
        pet = client.post(pets, json={"name": NAME, "species": "dog"})
        visits = f"{pet.headers['location']}/appointments"
        responses = [
            *(created, pet, client.post("/owners", json=owner)),
            client.post(visits, json={**visit, "scheduled_at": "2999-01-01T09:30:00Z"}),
            client.post(visits, json={**visit, "scheduled_at": NAME}),
            client.post("/owners", json={**owner, "email": f"{EMAIL}@"}),
            client.post("/owners", json={**owner, PHONE: EMAIL}),
            client.post("/owners", content=f'{{"name": "{NAME}', headers=JSON),
            client.get(f"/owners/{EMAIL}"),
            client.get("/appointments", params={"veterinarian": VETERINARIAN}),
            client.get("/appointments", params={"veterinarian": VETERINARIAN, PHONE: NOTES}),
        ]
    return {response.status_code for response in responses}


@pytest.mark.anyio
async def test_what_a_load_sends_is_in_the_database_only(run: Run) -> None:
    trace_id = secrets.token_hex(16)
    assert send_personal_data(run, trace_id) == {200, 201, 400, 404, 409}
    with connect(run.config.traces_url) as store:
        until(lambda: len(store.spans(trace_id)) > 12, 60)
        traces = [
            trace_id,
            *(trace.trace_id for trace in record.load(run.file(".json")).slowest_traces),
        ]
        spans = "".join(str(store.spans(one)) for one in traces)
    await asyncio.sleep(2 * PUSH_SECONDS)  # metrics and exemplars are pushed and scraped that often
    with Prometheus(run.config.prometheus_url) as prometheus:
        times = {"start": time.time() - 3600, "end": time.time()}
        series = prometheus.json("GET", "/api/v1/series", params={"match[]": '{__name__=~".+"}'})
        exemplars = [
            prometheus.json("GET", "/api/v1/query_exemplars", params={"query": name, **times})
            for name in (
                "http_server_request_duration_seconds",
                "traces_spanmetrics_latency_bucket",
            )
        ]
    state = run.config.state
    files = [*state.rglob("*.log*"), *state.rglob("notifications*"), *run.file("").parent.iterdir()]
    texts = {
        "k6 and the report": run.output,
        "report": run.command("report", run.id),
        "runs": run.command("runs", "--json"),
        "trace": run.command("trace", trace_id),
        "logs": run.command("logs", "-n", "1000"),
        "spans": spans,
        "series": json.dumps(series, ensure_ascii=False),
        "exemplars": json.dumps(exemplars, ensure_ascii=False),
        **{str(path): path.read_text(errors="replace") for path in files if path.is_file()},
    }
    engine = create_async_engine(run.config.database_url)
    async with engine.connect() as connection:
        rows = await connection.execute(text(PERSONAL))
        personal = {word for row in rows for word in row if word}
    await engine.dispose()

    assert personal > {NAME, EMAIL, PHONE, VETERINARIAN, NOTES}
    assert len(personal) > 100
    for source in ("k6 and the report", "report", "runs", "series", str(run.file(".json"))):
        assert run.id in texts[source]
    for source in ("trace", "spans"):
        assert "personal" in texts[source]
    assert "trace_id" in texts["exemplars"]
    assert any(path.name == "api.log" for path in files)
    assert any(path.name.startswith("notifications") for path in files)
    assert not [
        (word, source) for source, kept in texts.items() for word in personal if word in kept
    ]


def test_two_generators_are_one_run_of_which_nothing_is_lost(run: Run) -> None:
    """The last test of the module: its run is the newest one."""
    settings = {"DURATION": "10s", "RATE": "6", "RUN": "two-generators", "K6_SUMMARY_EXPORT": ""}
    answer = run.stack.run("run", "smoke", "--generators=2", **settings)
    output = answer.stdout + answer.stderr
    found = record.load(run.file("").with_name("two-generators.json"))

    assert f"Run two-generators against {run.config.api_url} by 2 generators" in output
    assert [one.name for one in found.generators] == ["1", "2"], output
    assert sum(one.requests for one in found.generators) == found.total.requests > 0
    assert all(one.ended for one in found.generators)
    completeness = found.completeness
    assert completeness.sent == completeness.traced == found.total.requests
    assert completeness.created == completeness.rows_written > 0
    assert found.iterations
    assert found.iterations.count == pytest.approx(10 * 6, abs=3)
    assert found.resource("k6")
    assert (answer.returncode == 0) == (found.verdict == "passed"), output
    assert answer.returncode in {0, THRESHOLDS_FAILED}, output
    assert "two-generators" in run.command("runs", "--last", "1")
