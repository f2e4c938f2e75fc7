"""A PostgreSQL of its own for each worker, migrated by Alembic, and the app on it."""

import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from advanced_alchemy.alembic.commands import AlembicCommands
from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clinic.app import create_app
from clinic.database import Database, database_config
from clinic.settings import Settings
from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from lab.stack import postgres, programs
from lab.stack.config import HOST, StackConfig
from lab.stack.ports import free as free_port
from tests.support.fake_series import a_prometheus

PROGRAMS = ("k6", "prometheus", "promtool", "alertmanager", "amtool", "jaeger", "node_exporter")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the stack's programs before the first test, with progress: it may take minutes."""
    chosen = any(item.get_closest_marker("stack") for item in session.items)
    if session.config.option.collectonly or not chosen:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            for name in PROGRAMS:
                programs.find(name)
        except UserError as error:
            pytest.exit(str(error), returncode=1)


@contextmanager
def running_postgres(config: StackConfig) -> Iterator[subprocess.Popen[bytes]]:
    """Run the stack's PostgreSQL without its supervisor."""
    with (config.state / "postgres.log").open("ab") as log:
        server = subprocess.Popen(
            postgres.command(config),
            stdout=log,
            stderr=log,
            cwd="/",
            user=postgres.user(),
            group=postgres.user(),
            extra_groups=[] if postgres.user() else None,
        )
    try:
        deadline = time.monotonic() + 30
        while not postgres.ready(config.postgres_port):
            assert server.poll() is None, (config.state / "postgres.log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL is not ready after 30 s"
            time.sleep(0.05)
        yield server
    finally:
        server.send_signal(2)
        server.wait(30)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def passable_dir() -> Iterator[Path]:
    """Make a folder that PostgreSQL's own user can reach: pytest closes its folders to others."""
    with TemporaryDirectory(prefix="clinic-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with a_prometheus(tmp_path_factory.mktemp("prometheus")) as client:
        yield client


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    with fresh_database() as settings:
        yield settings


@contextmanager
def fresh_database() -> Iterator[Settings]:
    """Give the settings of an app on a running, migrated database."""
    with TemporaryDirectory(prefix="clinic-") as folder:
        config = StackConfig(Path(folder), postgres_port=free_port())
        postgres.prepare(config)
        with running_postgres(config):
            settings = Settings(database_url=config.database_url)
            AlembicCommands(database_config(settings)).upgrade()
            yield settings


@pytest.fixture(scope="session")
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="session")
def metrics() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture(scope="session")
async def app(
    settings: Settings, spans: InMemorySpanExporter, metrics: InMemoryMetricReader
) -> AsyncIterator[Litestar]:
    app = create_app(settings, exporter=spans, reader=metrics)
    async with app.lifespan():
        yield app


@pytest.fixture(scope="session")
def database(app: Litestar) -> Database:
    database: Database = app.state.database
    return database


def caller(app: Litestar, host: str = HOST) -> AsyncClient:
    """Call the app from that host; its errors come as answers, as they would over HTTP."""
    transport = ASGITransport(
        app,  # type: ignore[arg-type]  # Litestar types scopes more narrowly than ASGI does
        raise_app_exceptions=False,
        client=(host, 49152),
    )
    return AsyncClient(transport=transport, base_url="http://clinic")


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[AsyncClient]:
    async with caller(app) as client:
        yield client


@asynccontextmanager
async def another_app(settings: Settings, **changes: Any) -> AsyncIterator[Litestar]:
    """Run a second app whose settings differ."""
    app = create_app(
        replace(settings, **changes),
        exporter=InMemorySpanExporter(),
        reader=InMemoryMetricReader(),
    )
    async with app.lifespan():
        yield app
    # advanced-alchemy disposes the engine of a process's first app only.
    await app.state.database.engine.dispose()


def an_email() -> str:
    return f"owner-{secrets.token_hex(8)}@example.org"


@pytest.fixture
async def owner_id(client: AsyncClient) -> int:
    answer = await client.post("/owners", json={"name": "Ana Rojas", "email": an_email()})
    return int(answer.json()["id"])


@pytest.fixture
async def pet_id(client: AsyncClient, owner_id: int) -> int:
    answer = await client.post(f"/owners/{owner_id}/pets", json={"name": "Luna", "species": "dog"})
    return int(answer.json()["id"])
