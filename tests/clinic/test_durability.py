"""Rows that were acknowledged survive SIGKILL of PostgreSQL and of the API."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import psutil
import pytest
from advanced_alchemy.alembic.commands import AlembicCommands

from clinic.database import database_config
from clinic.settings import Settings
from lab.stack import postgres
from lab.stack.config import HOST, StackConfig
from lab.stack.ports import free_ports
from performance.torture.writer import Ledger, writing
from tests.support.clinic import running_postgres, unique_email
from tests.support.server import wait_until_ready

pytestmark = pytest.mark.anyio

SECONDS = 120


class Programs:
    """PostgreSQL and the API, which can be killed and started again."""

    def __init__(self, config: StackConfig, resources: ExitStack) -> None:
        self.config = config
        self.resources = resources
        self.postgres = resources.enter_context(running_postgres(config))
        self.settings = Settings(database_url=config.database_url)
        AlembicCommands(database_config(self.settings)).upgrade()
        self.api = resources.enter_context(self.running_api())

    @contextmanager
    def running_api(self) -> Iterator[subprocess.Popen[str]]:
        environment = {
            "CLINIC_DATABASE_URL": self.config.database_url,
            "CLINIC_PORT": str(self.config.clinic_port),
            "OTEL_SDK_DISABLED": "true",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "clinic"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            try:
                wait_until_ready(server, self.config.api_url)
                yield server
            finally:
                server.kill()

    def kill(self, *names: str) -> None:
        """Kill PostgreSQL, the API or both, and start them again."""
        pids = {"postgres": self.postgres.pid, "api": self.api.pid}
        processes = [psutil.Process(pids[name]) for name in names]
        processes += [child for process in processes for child in process.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=SECONDS)
        if "postgres" in names:
            self.postgres = self.resources.enter_context(running_postgres(self.config))
        if "api" in names:
            self.api = self.resources.enter_context(self.running_api())


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with TemporaryDirectory(prefix="clinic-") as folder, ExitStack() as resources:
        api_port, postgres_port = free_ports(2)
        config = StackConfig(Path(folder), clinic_port=api_port, postgres_port=postgres_port)
        postgres.prepare(config)
        yield Programs(config, resources)


@pytest.fixture
async def database(programs: Programs) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(programs.settings.database_url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def until_rows(ledger: Ledger, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(ledger.acknowledged) < count:  # noqa: ASYNC110 - a test polls
            await asyncio.sleep(0.05)


async def test_no_acknowledged_row_is_lost_or_doubled_by_kills(programs: Programs) -> None:
    async with writing(programs.config.api_url, clients=5, per_second=10) as ledger:
        await until_rows(ledger, 10)
        for names in (["postgres"], ["postgres", "api"]):
            await asyncio.to_thread(programs.kill, *names)
            await until_rows(ledger, len(ledger.writes) + 10)

    connection = await asyncpg.connect(programs.settings.database_url.replace("+asyncpg", ""))
    found = await ledger.compare(connection)
    await connection.close()
    assert ledger.unexpected == []
    assert found.exact, found
    assert found.unknown == 0
    assert found.acknowledged == len(ledger.writes)


async def send(programs: Programs, body: str, key: str) -> asyncio.StreamWriter:
    """Send a request to register an owner, and read no answer."""
    _, writer = await asyncio.open_connection(HOST, programs.config.clinic_port)
    writer.write(
        f"POST /owners HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nIdempotency-Key: {key}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    return writer


async def until_found(database: Any, statement: str, *values: object) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (value := await database.fetchval(statement, *values)):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
    return value


async def repeat(programs: Programs, body: str, key: str) -> httpx.Response:
    """Repeat a request as long as the first one is in progress."""
    headers = {"content-type": "application/json", "idempotency-key": key}
    async with (
        httpx.AsyncClient(base_url=programs.config.api_url) as client,
        asyncio.timeout(SECONDS),
    ):
        while True:
            response = await client.post("/owners", content=body, headers=headers)
            if response.status_code != 409 or "retry-after" not in response.headers:
                return response
            await asyncio.sleep(0.2)


OWNER = "SELECT id FROM owner WHERE email = $1"
COUNT = "SELECT count(*) FROM owner WHERE email = $1"


async def test_a_repeat_gets_the_row_whose_answer_was_lost(
    programs: Programs, database: Any
) -> None:
    email = unique_email()
    body = f'{{"name": "Ana", "email": "{email}"}}'

    writer = await send(programs, body, "lost")
    written = await until_found(database, OWNER, email)
    await asyncio.to_thread(programs.kill, "api")
    writer.close()
    response = await repeat(programs, body, "lost")

    assert response.status_code == 201
    assert response.json()["id"] == written
    assert await database.fetchval(COUNT, email) == 1


async def test_a_repeat_writes_the_row_that_was_not_committed(
    programs: Programs, database: Any
) -> None:
    email = unique_email()
    body = f'{{"name": "Ana", "email": "{email}"}}'
    # Unlike pg_stat_activity, it is read anew within a transaction.
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted"

    async with database.transaction():
        await database.execute("LOCK TABLE owner IN SHARE MODE")
        writer = await send(programs, body, "never")
        await until_found(database, waits)
        await asyncio.to_thread(programs.kill, "api")
        assert await database.fetchval(COUNT, email) == 0
    writer.close()
    response = await repeat(programs, body, "never")

    assert response.status_code == 201
    assert response.json()["id"] == await database.fetchval(OWNER, email)
    assert await database.fetchval(COUNT, email) == 1
