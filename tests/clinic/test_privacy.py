"""What callers send is in the database only: in no span, metric, log line or log of PostgreSQL."""

import logging
from asyncio import gather
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from litestar import Litestar
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from clinic.database import Database, database_config
from clinic.logs import JSONFormatter
from clinic.migrations import NEWEST
from clinic.models import Base
from clinic.settings import Settings
from lab.stack import postgres
from lab.stack.config import StackConfig
from lab.stack.ports import free as free_port
from tests.support.clinic import app_client, running_app, running_postgres

pytestmark = pytest.mark.anyio

PLANTED = {
    "name": "Zacarias",
    "email": "zacarias.secret@example.org",
    "domain": "secret-domain",
    "phone": "+56988887777",
    "notes": "NoteSecret",
    "veterinarian": "Drummond",
}
ROUNDS = 60
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = {
    "user-agent": PLANTED["name"],
    "cookie": f"email={PLANTED['email']}",
    "referer": f"http://localhost/{PLANTED['name']}",
    "x-phone": PLANTED["phone"],
    "traceparent": TRACE,
    "tracestate": f"email={PLANTED['name']}@secret",
    "baggage": f"user.email={PLANTED['email']},k6.test_run_id=a-run,k6.scenario=load",
    "authorization": f"Bearer {PLANTED['name']}",
}


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Return what the API's process logs, at every level."""
    output = StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JSONFormatter())
    handler.addFilter(lambda record: not record.name.startswith(("httpx", "httpcore", "asyncio")))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield output
    root.removeHandler(handler)
    root.setLevel(level)


@asynccontextmanager
async def an_app(folder: Path) -> AsyncIterator[tuple[Litestar, StackConfig]]:
    """Run the app on a PostgreSQL whose log can be read."""
    config = StackConfig(folder, postgres_port=free_port())
    postgres.prepare(config)
    with running_postgres(config):
        settings = Settings(
            database_url=config.database_url, statement_timeout=1, pool_size=3, pool_timeout=2
        )
        await migrate(settings)
        async with running_app(settings) as app:
            yield app, config


async def migrate(settings: Settings) -> None:
    """Create the tables from the models: the migrations run in a process of their own."""
    engine = database_config(settings).get_engine()
    async with engine.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(
            text(f"CREATE TABLE alembic_versions AS SELECT '{NEWEST}' AS version_num")
        )
    await engine.dispose()


async def use(client: AsyncClient, number: int) -> None:
    """Send what succeeds, and what fails in each way that a caller can cause."""
    owner = {
        "name": PLANTED["name"],
        "email": f"{number}{PLANTED['email']}",
        "phone": PLANTED["phone"],
    }
    appointment = {
        "scheduled_at": "2999-01-01T09:30:00Z",
        "reason": PLANTED["notes"],
        "veterinarian": PLANTED["veterinarian"],
        "notes": PLANTED["notes"],
    }
    key = {"idempotency-key": f"{PLANTED['name']}-{number}"}
    created = await client.post("/owners", json=owner, headers=key)
    path = created.headers["location"]
    pet = await client.post(f"{path}/pets", json={"name": PLANTED["name"], "species": "dog"})
    booking = f"{pet.headers['location']}/appointments"
    statuses = [
        (await client.request(method, target, **body)).status_code
        for method, target, body in requests(owner, appointment, path, booking)
    ]
    assert set(statuses) >= {200, 201, 400, 404, 405, 409, 413, 415, 422}
    assert not [status for status in statuses if status >= 500]


def requests(
    owner: dict[str, str], appointment: dict[str, str], path: str, booking: str
) -> list[tuple[str, str, dict[str, Any]]]:
    json = {"content-type": "application/json"}
    name, email, vet = PLANTED["name"], PLANTED["email"], PLANTED["veterinarian"]
    return [
        ("GET", path, {}),
        ("PATCH", path, {"json": {"phone": PLANTED["phone"], "name": name}}),
        ("POST", booking, {"json": appointment}),
        ("POST", booking, {"json": appointment}),
        ("POST", booking, {"json": {**appointment, "scheduled_at": "1999-01-01T09:30:00Z"}}),
        ("POST", "/owners", {"json": owner}),
        ("POST", "/owners", {"json": {**owner, "email": owner["email"].upper()}}),
        ("POST", "/owners", {"json": {**owner, name: 1}}),
        ("POST", "/owners", {"json": {**owner, "email": f"{email} "[::-1]}}),
        ("POST", "/owners", {"json": {**owner, "name": f"{name}\u202e"}}),
        ("POST", "/owners", {"content": f'{{"name": "{name}', "headers": json}),
        ("POST", "/owners", {"content": f'{{"name": "{name}\xff'.encode("latin-1")}),
        ("POST", "/owners", {"content": f'{{"name": "{name}\xff"}}'.encode("latin-1")}),
        ("POST", "/owners", {"content": name, "headers": {"content-type": f"text/{name}"}}),
        ("POST", "/owners", {"content": name * 10_000, "headers": json}),
        ("POST", "/owners/99999999/pets", {"json": {"name": name, "species": "dog"}}),
        ("GET", f"/owners/{email}", {}),
        ("GET", f"/{name}?email={email}", {}),
        ("GET", "/appointments", {"params": {"veterinarian": vet}}),
        ("GET", "/appointments", {"params": {"from": vet, "limit": name, name: email}}),
        ("GET", "/owners", {"params": {"cursor": name}}),
        (name.upper(), "/owners", {}),
        ("PUT", path, {"json": owner}),
        ("GET", path, {"headers": {"host": f"{name}.example"}}),
        ("POST", "/owners", {"json": owner, "headers": {"origin": f"http://{name}"}}),
        ("GET", path, {"headers": {"x-forwarded-for": email}}),
        ("PATCH", path, {"json": owner, "headers": {"if-match": f'"{name}"'}}),
    ]


async def break_things(app: Litestar, client: AsyncClient) -> None:
    """Cause failures of the database while personal data is on its way there."""
    database: Database = app.state.database
    owner = {"name": PLANTED["name"], "email": f"late-{PLANTED['email']}"}
    engine = database_config(
        Settings(database_url=database.engine.url.render_as_string(hide_password=False))
    ).get_engine()
    values = {"name": PLANTED["name"], "email": PLANTED["email"], "notes": PLANTED["notes"]}
    async with engine.connect() as connection:
        locking = await connection.execution_options(isolation_level="READ COMMITTED")
        await locking.execute(text("LOCK TABLE owner"))
        late = await gather(client.post("/owners", json=owner), client.get("/owners"))
        await locking.rollback()
        assert {response.status_code for response in late} == {503}
        for statement in (
            "INSERT INTO owner (name, email, phone) VALUES (:name, NULL, :notes)",
            "INSERT INTO pet (owner_id, name, species) SELECT id, NULL, :notes FROM owner LIMIT 1",
            "INSERT INTO owner (name, email) VALUES (:name, '0' || :email)",
            "SELECT CAST(:name AS integer)",
            "SELECT 1 / (length(:name) - length(:name))",
        ):
            with pytest.raises(DBAPIError):
                await locking.execute(
                    text(statement),
                    {key: it for key, it in values.items() if f":{key}" in statement},
                )
            await locking.rollback()
    await engine.dispose()


async def test_nothing_personal_is_recorded(passable_dir: Path, log: StringIO) -> None:
    async with an_app(passable_dir) as (app, config), app_client(app) as client:
        client.headers.update(HEADERS)
        for number in range(ROUNDS):
            await use(client, number)
        await break_things(app, client)
        app.state.telemetry.flush()
        spans = [it.to_json() for it in app.state.telemetry.exporter.get_finished_spans()]
        metrics = app.state.telemetry.reader.get_metrics_data().to_json()
        server_log = (config.state / "postgres.log").read_text()
    assert len(spans) > 27 * ROUNDS
    assert "exemplars" in metrics
    assert "ERROR" in server_log
    recorded = {
        "spans": "\n".join(spans),
        "metrics": metrics,
        "the API's log": log.getvalue(),
        "PostgreSQL's log": server_log,
    }
    found = {
        (where, what): lines_with(value, content)
        for where, content in recorded.items()
        for what, value in PLANTED.items()
        if value.lower() in content.lower()
    }
    assert found == {}


def lines_with(value: str, content: str) -> list[str]:
    return [line[:300] for line in content.splitlines() if value.lower() in line.lower()][:3]
