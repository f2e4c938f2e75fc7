"""The API under test: its PostgreSQL, apps on it and clients of them."""

import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from advanced_alchemy.alembic.commands import AlembicCommands
from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import make_url

from clinic.app import create_app
from clinic.database import database_config
from clinic.settings import Settings
from lab.stack import postgres
from lab.stack.config import API_ROLE, HOST, StackConfig, write_private
from lab.stack.ports import free as free_port


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


@contextmanager
def new_database(*statements: str) -> Iterator[Settings]:
    """Run PostgreSQL without the clinic's schema; return settings that connect as its owner.

    The superuser runs the statements first.
    """
    with TemporaryDirectory(prefix="clinic-") as folder:
        config = StackConfig(Path(folder), postgres_port=free_port())
        password = secrets.token_hex(24)
        for file in (config.password_file, config.api_password_file):
            write_private(file, password)
        postgres.prepare(config)
        if statements:
            postgres.single_user(postgres.data_directory(config), "clinic", *statements)
        with running_postgres(config):
            yield Settings(database_url=config.database_url)


@contextmanager
def migrated_database(*statements: str) -> Iterator[Settings]:
    """Run PostgreSQL with the clinic's schema; return settings that connect as its owner.

    The superuser runs the statements first.
    """
    with new_database(*statements) as settings:
        AlembicCommands(database_config(settings)).upgrade()
        yield settings


def as_api(settings: Settings) -> Settings:
    """Return settings that connect as the API's role, which has the owner's password here."""
    url = make_url(settings.database_url).set(username=API_ROLE)
    return replace(settings, database_url=url.render_as_string(hide_password=False))


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection beside those of the API."""
    connection = await asyncpg.connect(settings.database_url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def running_app(settings: Settings, **changes: Any) -> AsyncIterator[Litestar]:
    """Run an app with changed settings."""
    app = create_app(
        replace(settings, **changes),
        exporter=InMemorySpanExporter(),
        reader=InMemoryMetricReader(),
    )
    async with app.lifespan():
        yield app


def app_client(app: Litestar, host: str = HOST) -> AsyncClient:
    """Return a client at that address; exceptions become answers, as over HTTP."""
    transport = ASGITransport(
        app,  # type: ignore[arg-type]  # Litestar types scopes more narrowly than ASGI does
        raise_app_exceptions=False,
        client=(host, 49152),
    )
    return AsyncClient(transport=transport, base_url="http://localhost")


def http_scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> Any:
    """Return the scope of a request without a server."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
        "scheme": "http",
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 49152),
        "root_path": "",
        "state": {},
    }


def unique_email() -> str:
    return f"owner-{secrets.token_hex(8)}@example.org"
