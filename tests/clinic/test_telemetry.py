import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
from httpx import AsyncClient, Response
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text

from clinic.app import create_app
from clinic.database import Database
from clinic.logs import JSONFormatter
from clinic.owners import statements
from clinic.settings import Settings
from clinic.telemetry import Telemetry, log_traces
from clinic.telemetry.context import add_trace_fields, parse_run
from tests.support.clinic import app_client, running_app, unique_email
from tests.support.metrics import points

pytestmark = pytest.mark.anyio

RUN = {"baggage": "k6.test_run_id=20261123-053249-load,k6.scenario=load"}


class RecordedSpans:
    """The spans that ended since the test began, or since `clear`."""

    def __init__(self, telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
        self.telemetry = telemetry
        self.exporter = exporter

    def all(self) -> list[ReadableSpan]:
        """Return the server and database spans; on a busy machine there may be a wait, too."""
        self.telemetry.flush()
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if span.kind is not SpanKind.INTERNAL]

    def waits(self) -> list[ReadableSpan]:
        """Return the spans of waits for a connection."""
        self.telemetry.flush()
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if span.kind is SpanKind.INTERNAL]

    def clear(self) -> None:
        self.telemetry.flush()
        self.exporter.clear()

    def request(self) -> tuple[ReadableSpan, ReadableSpan]:
        """Return the server span and the database span of the only request."""
        database, server = sorted(self.all(), key=lambda span: span.kind is SpanKind.SERVER)
        return server, database


@pytest.fixture
def recorded(app: Litestar, spans: InMemorySpanExporter) -> Iterator[RecordedSpans]:
    recorded = RecordedSpans(app.state.telemetry, spans)
    recorded.clear()
    yield recorded
    recorded.clear()


async def test_a_request_has_one_server_span_and_one_client_span(
    client: AsyncClient, owner_id: int, recorded: RecordedSpans
) -> None:
    recorded.clear()

    response = await client.get(f"/owners/{owner_id}")

    server, database = recorded.request()
    assert server.context is not None
    assert response.headers["traceresponse"] == (
        f"00-{server.context.trace_id:032x}-{server.context.span_id:016x}-01"
    )
    assert server.name == "GET /owners/{owner_id}"
    assert server.parent is None
    server_attributes = dict(server.attributes or {})
    server_attributes.pop("clinic.event_loop.late", None)  # on a busy machine
    assert server_attributes == {
        "clinic.operation": "GET /owners/{owner_id}",
        "clinic.owner.id": owner_id,
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/owners/{owner_id}",
        "network.protocol.version": "1.1",
        "server.address": "localhost",
        "url.path": f"/owners/{owner_id}",
        "url.scheme": "http",
    }
    assert database.name == "SELECT owner"
    assert database.kind is SpanKind.CLIENT
    assert database.parent is not None
    assert database.parent.span_id == server.context.span_id
    attributes = dict(database.attributes or {})
    sql = str(attributes.pop("db.query.text"))
    assert sql.startswith("SELECT owner.id")
    assert attributes.pop("clinic.statement_id") == f"{crc32(sql.encode()):08x}"
    assert attributes.pop("server.port")
    assert attributes == {
        "clinic.operation": "GET /owners/{owner_id}",
        "db.collection.name": "owner",
        "db.namespace": "clinic",
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT owner",
        "db.system.name": "postgresql",
        "peer.service": "postgresql",
        "server.address": "127.0.0.1",
    }


async def test_spans_carry_the_load_run_and_the_new_id_and_durations_are_synthetic(
    client: AsyncClient, recorded: RecordedSpans, metrics: InMemoryMetricReader
) -> None:
    owner = {"name": "Ana", "email": unique_email()}
    response = await client.post("/owners", json=owner, headers=RUN)

    server, database = recorded.request()
    assert (server.attributes or {})["clinic.owner.id"] == response.json()["id"]
    for span in (server, database):
        attributes = span.attributes or {}
        assert attributes["k6.test_run_id"] == "20261123-053249-load"
        assert attributes["k6.scenario"] == "load"
        assert attributes["clinic.operation"] == "POST /owners"
    labels = [dict(point.attributes) for point in points(metrics, "http.server.request.duration")]
    assert {
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "http.route": "/owners",
        "url.scheme": "http",
        "user_agent.synthetic.type": "test",
    } in labels
    assert not any("k6" in name for label in labels for name in label)


async def test_the_span_continues_the_callers_trace(
    client: AsyncClient, recorded: RecordedSpans
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    await client.get("/owners", headers={"traceparent": parent})

    server, _ = recorded.request()
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"


async def test_load_runs_are_sampled_even_if_the_caller_is_not(
    client: AsyncClient, recorded: RecordedSpans
) -> None:
    unsampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}

    await client.get("/owners", headers=unsampled)
    assert recorded.all() == []

    await client.get("/owners", headers={**unsampled, **RUN})
    assert len(recorded.all()) == 2


@pytest.mark.parametrize(
    ("baggage", "run"),
    [
        (b"k6.test_run_id=a", {"k6.test_run_id": "a"}),
        (b" k6.test_run_id = a ;prop=1 , other=x", {"k6.test_run_id": "a"}),
        (b"k6.scenario=load", {}),
        (b"k6.test_run_id=", {}),
        (b"k6.test_run_id=" + b"x" * 65, {}),
        (b"k6.test_run_id=a b", {}),
        (b"k6.test_run_id=ana%40example.org", {}),
        (b"k6.test_run_id=<script>", {}),
        (b"\xff=;,,=\x00", {}),
        (b"user.email=ana@example.org", {}),
        (b"", {}),
    ],
)
def test_only_run_and_scenario_are_read_from_baggage(baggage: bytes, run: dict[str, str]) -> None:
    assert parse_run(baggage) == run


@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage"])
async def test_malformed_trace_headers_are_ignored(
    client: AsyncClient, recorded: RecordedSpans, header: str
) -> None:
    response = await client.get("/owners", headers={header.encode(): b"\xff;,=garbage" * 50})

    assert response.status_code == 200
    assert recorded.request()[0].parent is None


async def test_unknown_paths_and_methods_are_not_recorded(
    client: AsyncClient, recorded: RecordedSpans
) -> None:
    await client.get("/people/ana@example.org")
    await client.request("BREW", "/owners")

    get, brew = recorded.all()

    assert (get.name, brew.name) == ("GET", "HTTP")
    for span in (get, brew):
        assert "http.route" not in (span.attributes or {})
        assert "url.path" not in (span.attributes or {})


async def test_health_checks_are_not_traced(client: AsyncClient, recorded: RecordedSpans) -> None:
    await client.get("/livez")
    await client.get("/readyz")

    assert recorded.all() == []


async def test_a_failed_statement_marks_only_the_client_span_as_failed(
    client: AsyncClient, owner_id: int, recorded: RecordedSpans
) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    recorded.clear()

    await client.post("/owners", json={"name": "Ana", "email": taken})

    server, database = recorded.request()
    assert server.status.status_code is StatusCode.UNSET
    assert (server.attributes or {})["http.response.status_code"] == 409
    assert database.status.status_code is StatusCode.ERROR
    assert (database.attributes or {})["db.response.status_code"] == "23505"


def server_timing(response: Response) -> dict[str, float]:
    """Return the milliseconds of each metric of the header."""
    metrics = (metric.split(";dur=") for metric in response.headers["server-timing"].split(", "))
    return {name: float(milliseconds) for name, milliseconds in metrics}


def milliseconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e6


async def test_a_load_run_is_told_how_long_server_and_database_took(
    client: AsyncClient, recorded: RecordedSpans
) -> None:
    response = await client.get("/owners", headers=RUN)

    server, database = recorded.request()
    timing = server_timing(response)
    assert list(timing) == ["total", "db"]
    assert timing["db"] == pytest.approx(milliseconds(database), abs=0.001)
    assert timing["db"] < timing["total"] < milliseconds(server)


async def test_nobody_else_is_told_how_long_server_and_database_took(
    client: AsyncClient, settings: Settings
) -> None:
    stranger = await client.get("/owners", headers={"baggage": "user=1"})
    async with running_app(settings, load_runs=False) as app, app_client(app) as refused:
        untrusted = await refused.get("/owners", headers=RUN)
    healthy = await client.get("/livez", headers=RUN)

    for response in (stranger, untrusted, healthy):
        assert response.status_code == 200
        assert "server-timing" not in response.headers


async def test_a_load_run_is_told_the_times_of_refused_requests(
    client: AsyncClient, owner_id: int, recorded: RecordedSpans
) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    recorded.clear()
    conflict = await client.post("/owners", json={"name": "Ana", "email": taken}, headers=RUN)
    _, failed = recorded.request()

    assert conflict.status_code == 409
    assert server_timing(conflict)["db"] == pytest.approx(milliseconds(failed), abs=0.001)
    for method, path, status in (("PUT", "/owners", 405), ("GET", "/nothing", 404)):
        refused = await client.request(method, path, headers=RUN)
        assert refused.status_code == status
        assert server_timing(refused)["db"] == 0


async def test_a_load_run_is_told_the_times_of_a_request_that_failed(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError

    monkeypatch.setattr(Database, "all", fail)

    response = await client.get("/owners", headers=RUN)

    assert response.status_code == 500
    assert server_timing(response)["total"] >= 50


async def test_the_seconds_of_all_statements_of_a_request_add_up(
    client: AsyncClient, recorded: RecordedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_rows = Database.all

    async def twice(*arguments: Any, **values: Any) -> Any:
        await all_rows(*arguments, **values)
        return await all_rows(*arguments, **values)

    monkeypatch.setattr(Database, "all", twice)

    response = await client.get("/owners", headers=RUN)

    statements = [span for span in recorded.all() if span.kind is SpanKind.CLIENT]
    assert len(statements) == 2
    both = sum(map(milliseconds, statements))
    assert server_timing(response)["db"] == pytest.approx(both, abs=0.001)


@pytest.fixture
async def single(
    settings: Settings,
) -> AsyncIterator[tuple[Litestar, InMemoryMetricReader, RecordedSpans]]:
    """Return an app with a single connection, which is open, and what it records."""
    metrics, spans = InMemoryMetricReader(), InMemorySpanExporter()
    one_connection = replace(settings, pool_size=1, pool_timeout=1)
    app = create_app(one_connection, exporter=spans, reader=metrics)
    async with app.lifespan():
        await app.state.database.one(text("SELECT 1"))
        yield app, metrics, RecordedSpans(app.state.telemetry, spans)


async def test_waiting_for_a_connection_is_a_span_of_the_request_and_measured(
    single: tuple[Litestar, InMemoryMetricReader, RecordedSpans],
) -> None:
    app, metrics, recorded = single
    async with app_client(app) as client:
        sleeping = asyncio.create_task(app.state.database.one(text("SELECT pg_sleep(0.8)")))
        await asyncio.sleep(0.05)
        request = asyncio.create_task(client.get("/owners", headers=RUN))
        await asyncio.sleep(0.05)
        (pending,) = points(metrics, "db.client.connection.pending_requests")
        await asyncio.gather(sleeping, request)

    server, _ = recorded.request()
    (wait,) = recorded.waits()
    assert wait.name == "connection wait"
    assert wait.parent is not None
    assert server.context is not None
    assert wait.parent.span_id == server.context.span_id
    assert dict(wait.attributes or {}) == {
        "clinic.operation": "GET /owners",
        "db.client.connection.pool.name": "clinic",
        "k6.scenario": "load",
        "k6.test_run_id": "20261123-053249-load",
    }
    assert wait.start_time is not None
    assert wait.end_time is not None
    seconds = (wait.end_time - wait.start_time) / 1e9
    assert 0.1 < seconds < 3
    assert pending.value == 1
    (wait_time,) = points(metrics, "db.client.connection.wait_time")
    (use_time,) = points(metrics, "db.client.connection.use_time")
    assert wait_time.count == use_time.count == 3
    assert wait_time.max == pytest.approx(seconds)
    assert use_time.max > 0.79
    assert wait_time.attributes == {"db.client.connection.pool.name": "clinic"}


async def test_a_wait_that_is_too_long_is_a_failed_span(
    single: tuple[Litestar, InMemoryMetricReader, RecordedSpans],
) -> None:
    app, metrics, recorded = single
    async with app_client(app) as client:
        sleeping = asyncio.create_task(app.state.database.one(text("SELECT pg_sleep(1.5)")))
        await asyncio.sleep(0.05)
        response = await client.get("/owners")
        await sleeping

    (wait,) = recorded.waits()
    (pending,) = points(metrics, "db.client.connection.pending_requests")
    assert response.status_code == 503
    assert wait.status.status_code is StatusCode.ERROR
    assert (wait.attributes or {})["error.type"] == "TimeoutError"
    assert pending.value == 0


async def test_untraced_waits_and_free_connections_have_no_span(
    client: AsyncClient, owner_id: int, recorded: RecordedSpans, database: Database
) -> None:
    async with asyncio.timeout(60):
        while True:  # A busy machine may interrupt any request for more than 1 ms.
            recorded.clear()
            await client.get(f"/owners/{owner_id}")
            if not recorded.waits():
                break

    async with AsyncExitStack() as taken:
        for _ in range(10):
            await taken.enter_async_context(database.engine.connect())
        waiting = asyncio.create_task(database.one(text("SELECT 1")))
        await asyncio.sleep(0.1)
    assert (await waiting)[0] == 1
    assert recorded.waits() == []


async def test_a_request_that_the_event_loop_served_late_says_so(
    client: AsyncClient, recorded: RecordedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_rows = Database.all

    async def block(*arguments: Any, **values: Any) -> Any:
        time.sleep(0.3)  # noqa: ASYNC251 a blocking call is what the test is about
        return await all_rows(*arguments, **values)

    monkeypatch.setattr(Database, "all", block)
    await client.get("/owners")

    server, _ = recorded.request()
    assert server.start_time is not None
    assert server.end_time is not None
    duration = (server.end_time - server.start_time) / 1e9
    assert 0.27 < float((server.attributes or {})["clinic.event_loop.late"]) < duration  # type: ignore[arg-type]


async def test_no_personal_data_is_recorded(
    client: AsyncClient,
    recorded: RecordedSpans,
    metrics: InMemoryMetricReader,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = ["Zacarias", "zacarias@secret.example", "+56 9 8888", "Drummond", "NoteSecret"]
    owner = {"name": secrets[0], "email": secrets[1], "phone": secrets[2]}
    headers = {"user-agent": "Drummond", "baggage": "user=Drummond", "authorization": "Drummond"}
    all_rows = Database.all

    async def block(database: Database, statement: Any, /, **values: Any) -> Any:
        if secrets[1] in values.values():
            time.sleep(0.3)  # noqa: ASYNC251 the log names a blocking call
        return await all_rows(database, statement, **values)

    monkeypatch.setattr(Database, "all", block)
    with caplog.at_level(logging.DEBUG):
        created = (await client.post("/owners", json=owner, headers=headers)).json()
        await client.post("/owners", json=owner)
        await client.patch(f"/owners/{created['id']}", json=owner)
        await client.get("/appointments", params={"veterinarian": "Drummond"})
        await client.get("/owners/zacarias@secret.example")
        await client.post("/owners", json={**owner, "NoteSecret": 1})
        await client.post("/owners", content=b"NoteSecret")

    texts = [span.to_json() for span in (*recorded.all(), *recorded.waits())]
    texts.append(repr(metrics.get_metrics_data()))
    own = [record for record in caplog.records if not record.name.startswith("http")]
    texts += [JSONFormatter().format(record) for record in own]
    assert "clinic.telemetry.event_loop" in {record.name for record in own}

    for recorded_text in texts:
        assert not [secret for secret in secrets if secret in recorded_text], recorded_text


async def test_errors_are_recorded_without_what_the_caller_sent(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    divide = text("SELECT 1 / (length(CAST(:name AS text)) - 3), CAST(:email AS text), :phone")
    monkeypatch.setattr(statements, "REGISTER", divide)
    app = create_app(settings, exporter=spans, reader=InMemoryMetricReader())
    async with app.lifespan(), app_client(app) as client:
        caplog.handler.addFilter(add_trace_fields)
        response = await client.post(
            "/owners", json={"name": "Zoe", "email": "z@x.cl"}, headers=RUN
        )
        caplog.handler.removeFilter(add_trace_fields)
        app.state.telemetry.flush()
        server = next(span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER)
        await app.state.database.engine.dispose()

    record = next(record for record in caplog.records if record.name == "clinic.problems")
    line = json.loads(JSONFormatter().format(record))
    assert response.status_code == 500
    assert line["message"] == "Unhandled error in POST /owners (DivisionByZeroError)"
    assert server.context is not None
    assert line["trace_id"] == f"{server.context.trace_id:032x}"
    assert line["k6_test_run_id"] == "20261123-053249-load"
    assert server.status.status_code is StatusCode.ERROR
    event = dict(server.events[0].attributes or {})
    assert event["exception.type"] == "sqlalchemy.exc.DBAPIError"
    assert event["exception.stacktrace"] == line["exception"]
    assert "controller.py" in line["exception"]
    assert "DivisionByZeroError" in line["exception"]
    assert "Zoe" not in server.to_json() + repr(line)


def test_log_handlers_are_restored_after_an_error() -> None:
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)

    with pytest.raises(RuntimeError), log_traces():
        raise RuntimeError

    logging.getLogger().removeHandler(handler)
    assert add_trace_fields not in handler.filters


async def test_durations_are_exponential_histograms_with_exemplars(
    client: AsyncClient, metrics: InMemoryMetricReader
) -> None:
    response = await client.get("/owners", params={"limit": 7})

    durations = [
        point
        for point in points(metrics, "http.server.request.duration")
        if point.attributes.get("http.route") == "/owners"
    ]

    trace_id = int(response.headers["traceresponse"].split("-")[1], 16)
    assert all(hasattr(point, "scale") for point in durations)
    assert trace_id in [exemplar.trace_id for point in durations for exemplar in point.exemplars]


async def test_pool_process_and_span_queue_are_measured(
    client: AsyncClient, metrics: InMemoryMetricReader
) -> None:
    await client.get("/owners")

    used = {
        point.attributes["db.client.connection.state"]: point.value
        for point in points(metrics, "db.client.connection.count")
    }

    assert used["used"] == 0
    assert used["idle"] >= 1
    assert {point.value for point in points(metrics, "clinic.database.up")} == {1}
    for name in (
        "db.client.connection.max",
        "db.client.connection.pending_requests",
        "db.client.connection.use_time",
        "db.client.connection.wait_time",
        "process.memory.usage",
        "process.cpu.time",
        "cpython.gc.collections",
        "otel.sdk.processor.span.processed",
        "otel.sdk.processor.span.queue.capacity",
    ):
        assert points(metrics, name), name
