import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from httpx import AsyncClient
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from clinic.app import create_app
from clinic.logs import JSONFormatter
from clinic.settings import Settings
from clinic.telemetry import Telemetry
from clinic.telemetry.context import add_trace_fields, parse_run
from tests.conftest import an_email, caller

pytestmark = pytest.mark.anyio

RUN = {"baggage": "k6.test_run_id=20261123-053249-load,k6.scenario=load"}


class Seen:
    """The spans that ended since the test began."""

    def __init__(self, telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
        self.telemetry = telemetry
        self.exporter = exporter

    def spans(self) -> list[ReadableSpan]:
        self.telemetry.flush()
        return list(self.exporter.get_finished_spans())

    def request(self) -> tuple[ReadableSpan, ReadableSpan]:
        """Return the server span and the database span of the only request."""
        database, server = sorted(self.spans(), key=lambda span: span.kind is SpanKind.SERVER)
        return server, database


@pytest.fixture
def seen(app: Litestar, spans: InMemorySpanExporter) -> Iterator[Seen]:
    seen = Seen(app.state.telemetry, spans)
    seen.spans()
    spans.clear()
    yield seen
    spans.clear()


def points(metrics: InMemoryMetricReader, name: str) -> list[Any]:
    data = metrics.get_metrics_data()
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


async def test_a_request_is_one_server_span_and_one_database_span(
    client: AsyncClient, owner_id: int, seen: Seen
) -> None:
    seen.spans()
    seen.exporter.clear()

    await client.get(f"/owners/{owner_id}")

    server, database = seen.request()
    assert server.name == "GET /owners/{owner_id}"
    assert server.parent is None
    assert dict(server.attributes or {}) == {
        "clinic.operation": "GET /owners/{owner_id}",
        "clinic.owner.id": owner_id,
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/owners/{owner_id}",
        "network.protocol.version": "1.1",
        "server.address": "clinic",
        "url.path": f"/owners/{owner_id}",
        "url.scheme": "http",
    }
    assert database.name == "SELECT owner"
    assert database.kind is SpanKind.CLIENT
    assert database.parent is not None
    assert database.parent.span_id == (server.context.span_id if server.context else 0)
    attributes = dict(database.attributes or {})
    assert attributes.pop("db.query.text", "").startswith("SELECT owner.id")  # type: ignore[union-attr]
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


async def test_both_spans_and_the_metric_know_the_load_run(
    client: AsyncClient, seen: Seen, metrics: InMemoryMetricReader
) -> None:
    await client.post("/owners", json={"name": "Ana", "email": an_email()}, headers=RUN)

    for span in seen.request():
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


async def test_what_a_call_made_is_named_on_its_span(client: AsyncClient, seen: Seen) -> None:
    answer = await client.post("/owners", json={"name": "Ana", "email": an_email()})

    server, _ = seen.request()

    assert (server.attributes or {})["clinic.owner.id"] == answer.json()["id"]


async def test_the_answer_says_which_trace_it_is(client: AsyncClient, seen: Seen) -> None:
    answer = await client.get("/owners")

    server, _ = seen.request()

    assert server.context is not None
    assert answer.headers["traceresponse"] == (
        f"00-{server.context.trace_id:032x}-{server.context.span_id:016x}-01"
    )


async def test_a_callers_trace_goes_on_here(client: AsyncClient, seen: Seen) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    await client.get("/owners", headers={"traceparent": parent})

    server, _ = seen.request()
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"


async def test_a_load_run_is_traced_even_where_its_caller_is_not(
    client: AsyncClient, seen: Seen
) -> None:
    unsampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}

    await client.get("/owners", headers=unsampled)
    assert seen.spans() == []

    await client.get("/owners", headers={**unsampled, **RUN})
    assert len(seen.spans()) == 2


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
def test_only_a_run_and_its_scenario_are_taken_from_baggage(
    baggage: bytes, run: dict[str, str]
) -> None:
    assert parse_run(baggage) == run


@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage"])
async def test_garbage_in_headers_changes_no_answer(
    client: AsyncClient, seen: Seen, header: str
) -> None:
    answer = await client.get("/owners", headers={header.encode(): b"\xff;,=garbage" * 50})

    assert answer.status_code == 200
    assert seen.request()[0].parent is None


async def test_unknown_paths_share_one_name_and_keep_their_secret(
    client: AsyncClient, seen: Seen
) -> None:
    await client.get("/people/ana@example.org")
    await client.request("BREW", "/owners")

    get, brew = seen.spans()

    assert (get.name, brew.name) == ("GET", "HTTP")
    for span in (get, brew):
        assert "http.route" not in (span.attributes or {})
        assert "url.path" not in (span.attributes or {})


async def test_health_checks_are_not_traced(client: AsyncClient, seen: Seen) -> None:
    await client.get("/livez")
    await client.get("/readyz")

    assert seen.spans() == []


async def test_a_refused_statement_fails_its_span_but_not_the_servers(
    client: AsyncClient, owner_id: int, seen: Seen
) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    seen.spans()
    seen.exporter.clear()

    await client.post("/owners", json={"name": "Ana", "email": taken})

    server, database = seen.request()
    assert server.status.status_code is StatusCode.UNSET
    assert (server.attributes or {})["http.response.status_code"] == 409
    assert database.status.status_code is StatusCode.ERROR
    assert (database.attributes or {})["db.response.status_code"] == "23505"


async def test_nothing_personal_is_kept(
    client: AsyncClient, seen: Seen, metrics: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ["Zacarias", "zacarias@secret.example", "+56 9 8888", "Drummond", "NoteSecret"]
    owner = {"name": secrets[0], "email": secrets[1], "phone": secrets[2]}
    headers = {"user-agent": "Drummond", "baggage": "user=Drummond", "authorization": "Drummond"}
    with caplog.at_level(logging.DEBUG):
        made = (await client.post("/owners", json=owner, headers=headers)).json()
        await client.post("/owners", json=owner)
        await client.patch(f"/owners/{made['id']}", json=owner)
        await client.get("/appointments", params={"veterinarian": "Drummond"})
        await client.get("/owners/zacarias@secret.example")
        await client.post("/owners", json={**owner, "NoteSecret": 1})
        await client.post("/owners", content=b"NoteSecret")

    kept = [span.to_json() for span in seen.spans()]
    kept.append(repr(metrics.get_metrics_data()))
    own = [record for record in caplog.records if not record.name.startswith("http")]
    kept += [JSONFormatter().format(record) for record in own]

    for text in kept:
        assert not [secret for secret in secrets if secret in text], text


async def test_a_failure_is_told_without_what_the_caller_sent(
    settings: Settings, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    # The server's own database has no tables of the clinic.
    elsewhere = replace(
        settings, database_url=settings.database_url.removesuffix("clinic") + "postgres"
    )
    app = create_app(elsewhere, exporter=spans, reader=InMemoryMetricReader())
    async with app.lifespan(), caller(app) as client:
        caplog.handler.addFilter(add_trace_fields)
        answer = await client.post("/owners", json={"name": "Zoe", "email": "z@x.cl"}, headers=RUN)
        caplog.handler.removeFilter(add_trace_fields)
        app.state.telemetry.flush()
        server = next(span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER)
        await app.state.database.engine.dispose()

    record = next(record for record in caplog.records if record.name == "clinic.problems")
    line = json.loads(JSONFormatter().format(record))
    assert answer.status_code == 500
    assert server.context is not None
    assert line["trace_id"] == f"{server.context.trace_id:032x}"
    assert line["k6_test_run_id"] == "20261123-053249-load"
    assert server.status.status_code is StatusCode.ERROR
    event = dict(server.events[0].attributes or {})
    assert event["exception.type"] == "sqlalchemy.exc.ProgrammingError"
    assert event["exception.stacktrace"] == line["exception"]
    assert "controller.py" in line["exception"]
    assert "UndefinedTableError" in line["exception"]
    assert "Zoe" not in server.to_json() + repr(line)


async def test_durations_are_exponential_and_lead_to_traces(
    client: AsyncClient, metrics: InMemoryMetricReader
) -> None:
    answer = await client.get("/owners", params={"limit": 7})

    durations = [
        point
        for point in points(metrics, "http.server.request.duration")
        if point.attributes.get("http.route") == "/owners"
    ]

    trace_id = int(answer.headers["traceresponse"].split("-")[1], 16)
    assert all(hasattr(point, "scale") for point in durations)
    assert trace_id in [exemplar.trace_id for point in durations for exemplar in point.exemplars]


async def test_pool_runtime_and_own_losses_are_measured(
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
        "process.memory.usage",
        "process.cpu.time",
        "cpython.gc.collections",
        "otel.sdk.processor.span.processed",
        "otel.sdk.processor.span.queue.capacity",
    ):
        assert points(metrics, name), name
