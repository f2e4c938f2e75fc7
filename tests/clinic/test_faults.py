"""Faults of the caller are no 5xx, faults that will pass are a 503, and telemetry makes none."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from httpx import AsyncClient
from litestar import Litestar
from sqlalchemy import event, make_url, text
from sqlalchemy.util import greenlet_spawn

from clinic import health
from clinic.database import Database
from clinic.settings import Settings
from clinic.telemetry import requests
from tests.support.clinic import app_client, http_scope, running_app, unique_email
from tests.support.metrics import points

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}

NOT_UTF_8 = [
    b'{"name": "Jos\xe9", "email": "a@b.cl"}',
    b'{"name": "\xff", "email": "a@b.cl"}',
    b'{"name": "\xc0\xaf", "email": "a@b.cl"}',
    b'{"name": "\xed\xa0\x80", "email": "a@b.cl"}',
    b'{"name": "\xf5\x80\x80\x80", "email": "a@b.cl"}',
    b'{"na\xe9me": "A", "email": "a@b.cl"}',
    b'{"name": "A", "email": "a@b.cl", "phone": "\xf0\x9f"}',
    '{"name": "Ana"}'.encode("utf-16"),
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", NOT_UTF_8)
async def test_a_body_that_is_not_utf_8_is_400(
    client: AsyncClient, owner_id: int, body: bytes
) -> None:
    for method, path in (("POST", "/owners"), ("PATCH", f"/owners/{owner_id}")):
        response = await client.request(method, path, content=body, headers=JSON)
        assert response.status_code == 400
        assert response.json()["errors"]


@pytest.mark.parametrize("path", ["/owners", "/owners/1", "/appointments/1/cancel"])
async def test_a_client_that_goes_away_is_no_server_error(
    settings: Settings, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [
        {"type": "http.request", "body": b'{"na', "more_body": True},
        {"type": "http.disconnect"},
    ]
    statuses = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    async with running_app(settings) as app:
        scope = http_scope("PATCH" if path == "/owners/1" else "POST", path)
        scope["headers"] += [(b"content-type", b"application/json"), (b"content-length", b"99")]
        with caplog.at_level(logging.INFO, "clinic"):
            await app(scope, receive, send)
        app.state.telemetry.flush()
        span = app.state.telemetry.exporter.get_finished_spans()[-1]
        (duration,) = points(app.state.telemetry.reader, "http.server.request.duration")
    assert statuses[0] == 400
    assert span.status.is_unset
    assert "error.type" not in duration.attributes
    assert [record.levelname for record in caplog.records if record.name == "clinic.body"] == [
        "INFO"
    ]


VALUES = ["1", "0", "-1", "abc", "%00", "%ff", "é", "a/b", "1.5", "9" * 400, "..", "ui", "{x}"]


async def test_every_route_answers_whatever_its_parameters_are(app: Litestar) -> None:
    templates = {route.path_format for route in app.routes}
    assert any("schema" in template for template in templates)
    async with app_client(app) as client:
        for template in templates:
            for value in VALUES:
                path = "/".join(value if "{" in part else part for part in template.split("/"))
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
                    response = await client.request(method, path)
                    assert response.status_code < 500
                    assert "html" not in response.headers.get("content-type", "")
                    if response.status_code >= 400 and method != "HEAD":
                        assert response.json()["status"] == response.status_code
                    if not path.endswith("z"):
                        assert "traceresponse" in response.headers


@pytest.mark.parametrize("broken", ["match", "request_attributes", "statement"])
async def test_telemetry_never_breaks_a_request(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise TypeError

    match broken:
        case "match":
            monkeypatch.setattr(requests.TracedApp, "match_route", fail)
        case "request_attributes":
            monkeypatch.setattr(requests, "request_attributes", fail)
        case "statement":
            monkeypatch.setattr("clinic.telemetry.database.statement_attributes", fail)

    body = {"name": "Ana", "email": unique_email()}

    assert (await client.post("/owners", json=body)).status_code == 201
    assert (await client.get("/owners?limit=1")).status_code == 200


def with_sqlstate(state: str) -> Exception:
    error = asyncpg.exceptions.PostgresError.new({"C": state, "M": "message"})
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    ("state", "sentence", "down"),
    [
        ("25006", "The database is read-only.", ["database"]),
        ("28P01", "The database is unavailable.", ["database"]),
        ("28000", "The database is unavailable.", ["database"]),
        ("3D000", "The database is unavailable.", ["database"]),
        ("53100", "The database's disk is full.", ["database"]),
        ("53200", "The database is unavailable.", ["database"]),
        ("53300", "The database accepts no more connections.", ["database"]),
        ("57P01", "The database is unavailable.", ["database"]),
        ("57P03", "The database is unavailable.", ["database"]),
        ("08006", "The database is unavailable.", ["database"]),
        ("57014", "The database did not answer in time.", ["database"]),
        ("40001", "Another request changed the same data at the same time.", []),
        ("40P01", "Another request changed the same data at the same time.", []),
        ("55P03", "The data is locked.", []),
    ],
)
async def test_faults_that_will_pass_are_503(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, state: str, sentence: str, down: list[str]
) -> None:
    def fail(*_: object) -> Any:
        raise with_sqlstate(state)

    async with running_app(settings) as app, app_client(app) as client:
        # The app's own check, which connects before this request, is not cut off by the end.
        assert (await client.get("/owners?limit=1")).status_code == 200
        monkeypatch.setattr(app.state.database, "connect", fail)
        for path in ("/owners", "/readyz"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["detail"] == f"{sentence} Try again in 2 s."
            assert response.json().get("down", []) == down
            assert response.headers["retry-after"] == "2"


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[Any]:
    url = make_url(settings.database_url).set(drivername="postgresql")
    connected = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        yield connected
    finally:
        await connected.close()


async def test_a_read_only_database_is_503_for_writers_only(settings: Settings) -> None:
    role = make_url(settings.database_url).username
    async with connection(settings) as other:
        await other.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    try:
        async with running_app(settings) as app, app_client(app) as client:
            body = {"name": "Ana", "email": unique_email()}
            written = await client.post("/owners", json=body)
            read = await client.get("/owners?limit=1")
            ready = await client.get("/readyz")
    finally:
        async with connection(settings) as other:
            await other.execute("SET default_transaction_read_only = off")
            await other.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
    assert written.status_code == 503
    assert "read-only" in written.json()["detail"]
    assert read.status_code == 200
    assert ready.status_code == 503
    assert ready.json() == written.json()


async def test_a_wrong_password_is_503(settings: Settings) -> None:
    url = make_url(settings.database_url).set(password="another")
    wrong = url.render_as_string(hide_password=False)
    async with running_app(settings, database_url=wrong) as app, app_client(app) as client:
        for path in ("/owners", "/readyz"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["down"] == ["database"]


async def test_a_row_that_stays_locked_is_503(settings: Settings, owner_id: int) -> None:
    async with (
        running_app(settings, statement_timeout=1) as app,
        app_client(app) as client,
        connection(settings) as other,
        other.transaction(),
    ):
        await other.execute("SELECT 1 FROM owner WHERE id = $1 FOR UPDATE", owner_id)
        response = await client.patch(f"/owners/{owner_id}", json={"name": "Ana"})
    assert response.status_code == 503
    assert response.json()["detail"].startswith("The data is locked.")
    assert response.headers["retry-after"] == "2"


async def test_an_exhausted_pool_is_not_called_an_unavailable_database(settings: Settings) -> None:
    async with (
        running_app(settings, pool_size=1, pool_timeout=1) as app,
        app_client(app) as client,
        app.state.database.engine.connect(),
    ):
        response = await client.get("/owners")
    assert response.status_code == 503
    assert response.json()["detail"].startswith("All connections to the database are in use.")
    assert "down" not in response.json()


async def test_statements_run_again_after_a_migration(settings: Settings) -> None:
    async with running_app(settings, pool_size=3) as app, app_client(app) as client:
        database: Database = app.state.database
        await asyncio.gather(*(client.get("/owners?limit=1") for _ in range(20)))
        async with connection(settings) as other:
            await other.execute("ALTER TABLE owner ALTER COLUMN phone TYPE varchar(40)")
        try:
            responses = await asyncio.gather(*(client.get("/owners?limit=1") for _ in range(20)))
        finally:
            await database.engine.dispose()
            async with connection(settings) as other:
                await other.execute("ALTER TABLE owner ALTER COLUMN phone TYPE varchar")
    assert {response.status_code for response in responses} == {200}


async def test_a_request_that_is_cut_off_by_a_stop_is_503(settings: Settings) -> None:
    async with (
        running_app(settings) as app,
        connection(settings) as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE owner")
        sent = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        task = asyncio.create_task(app(http_scope("GET", "/owners"), receive, send))
        await asyncio.sleep(0.3)
        task.cancel()
        await task
        app.state.telemetry.flush()
        names = [span.name for span in app.state.telemetry.exporter.get_finished_spans()]
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"2") in sent[0]["headers"]
    assert "GET /owners" in names


async def test_postgresql_itself_ends_statements_and_abandoned_transactions(
    settings: Settings,
) -> None:
    async with running_app(settings, statement_timeout=4) as app:
        database: Database = app.state.database
        for name, value in {
            "statement_timeout": "5s",
            "lock_timeout": "2s",
            "tcp_keepalives_idle": "60",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "idle_in_transaction_session_timeout": "1min",
        }.items():
            row = await database.one(text(f"SHOW {name}"))
            assert row[0] == value


OLDER = "The database's schema is older than the API's: run `clinic migrate`. Try again in 2 s."
MISSING = "The database has no schema: run `clinic migrate`. Try again in 2 s."
NEWER = (
    "The database's schema is newer than the API's: start the version that migrated it. "
    "Try again in 2 s."
)
SCHEMAS = {
    "UPDATE alembic_versions SET version_num = '0001'": OLDER,
    "UPDATE alembic_versions SET version_num = '0000'": OLDER,
    "UPDATE alembic_versions SET version_num = '9999'": NEWER,
    "DELETE FROM alembic_versions": MISSING,
    "DROP TABLE alembic_versions": MISSING,
    "ALTER TABLE alembic_versions RENAME TO others": MISSING,
    "DROP TABLE appointment": (
        "The database's schema is incomplete: no `appointment`. Try again in 2 s."
    ),
    "ALTER TABLE pet RENAME TO pets; DROP TABLE idempotency_key": (
        "The database's schema is incomplete: no `idempotency_key`, `pet`. Try again in 2 s."
    ),
}


@pytest.mark.parametrize("change", SCHEMAS)
async def test_readiness_names_a_schema_that_is_not_the_apis(
    settings: Settings, change: str
) -> None:
    async with (
        running_app(settings, pool_size=1) as app,
        app_client(app) as client,
        app.state.database.transaction() as transaction,
    ):
        # The only connection of the pool, in a transaction that is never committed.
        app.state.database.all = transaction.all
        for statement in change.split("; "):
            await greenlet_spawn(transaction.connection.execute, text(statement))
        response = await client.get("/readyz")
        await greenlet_spawn(transaction.connection.rollback)

    assert response.status_code == 503
    assert response.json()["detail"] == SCHEMAS[change]
    assert response.json()["down"] == ["database"]
    assert response.headers["retry-after"] == "2"


async def test_an_api_with_its_schema_and_a_writable_database_is_ready(client: AsyncClient) -> None:
    response = await client.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_readiness_costs_one_statement_however_many_ask(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REMEMBER_SECONDS", 3600.0)
    statements = []
    async with running_app(settings, pool_size=2) as app, app_client(app) as client:
        asked = asyncio.Event()

        def note(*call: Any) -> None:
            if "alembic_versions" in call[2]:
                statements.append(call[2])
                asked.set()

        event.listen(app.state.database.engine.sync_engine, "before_cursor_execute", note)
        impatient, *callers = [asyncio.create_task(client.get("/readyz")) for _ in range(20)]
        await asked.wait()
        impatient.cancel()
        responses = [await caller for caller in callers]
        responses += await asyncio.gather(*(client.get("/readyz") for _ in range(200)))

    assert {response.status_code for response in responses} == {200}
    assert len(statements) == 1


async def test_readiness_follows_a_database_that_becomes_read_only_and_writable_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REMEMBER_SECONDS", 0.0)
    statuses = []
    async with running_app(settings, pool_size=1) as app, app_client(app) as client:
        for read_only in ("off", "on", "off"):
            async with app.state.database.engine.connect() as only:
                await only.execute(text(f"SET default_transaction_read_only = {read_only}"))
            statuses.append((await client.get("/readyz")).status_code)

    assert statuses == [200, 503, 200]
