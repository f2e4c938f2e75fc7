"""The API watches its database also under overload, and PostgreSQL watches its clients."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest
from httpx import AsyncClient
from litestar import Litestar
from sqlalchemy import text

from clinic.migrations import NEWEST
from clinic.settings import Settings
from tests.support.clinic import (
    app_client,
    as_api,
    connected,
    migrated_database,
    running_app,
    unique_email,
)
from tests.support.metrics import points
from tests.support.server import serving

pytestmark = pytest.mark.anyio

CLIENTS = 30


@pytest.fixture(scope="module")
def owner() -> Iterator[Settings]:
    with migrated_database() as settings:
        yield settings


@asynccontextmanager
async def overloaded(settings: Settings) -> AsyncIterator[Litestar]:
    """Run an app with a small pool for which many clients wait all the time."""
    ended = False

    async def read(client: AsyncClient) -> None:
        while not ended:
            await client.get("/owners")

    async with (
        running_app(settings, pool_size=2, pool_timeout=1, statement_timeout=2) as app,
        app_client(app) as client,
    ):
        clients = [asyncio.create_task(read(client)) for _ in range(CLIENTS)]
        try:
            yield app
        finally:
            ended = True
            await asyncio.gather(*clients)


def is_up(app: Litestar) -> bool:
    (point,) = points(app.state.telemetry.reader, "clinic.database.up")
    return bool(point.value)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)


async def until_up_is(state: int, app: Litestar) -> None:
    async def is_state() -> bool:
        return is_up(app) == state

    await until(is_state)


@contextmanager
def halted(server: psutil.Process) -> Iterator[None]:
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_a_database_that_halts_under_load_is_down_and_up_again_afterwards(
    owner: Settings,
) -> None:
    async with overloaded(as_api(owner)) as app:
        (pid,) = await app.state.database.one(text("SELECT pg_backend_pid()"))
        server = psutil.Process(pid).parent()
        assert server is not None
        await until_up_is(1, app)
        with halted(server):
            await until_up_is(0, app)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                assert not is_up(app)
                await asyncio.sleep(0.1)
        await until_up_is(1, app)


async def test_an_exhausted_pool_is_no_database_that_is_down_and_hides_no_migration(
    owner: Settings,
) -> None:
    async with (
        running_app(as_api(owner), pool_size=2, pool_timeout=1) as app,
        app_client(app) as client,
        connected(owner) as other,
        AsyncExitStack() as taken,
    ):
        for _ in range(2):
            await taken.enter_async_context(app.state.database.engine.connect())

        async def detail() -> str:
            body = {"name": "Ana", "email": unique_email()}
            return str((await client.post("/owners", json=body)).json()["detail"])

        for _ in range(4):
            assert (await detail()).startswith("All connections to the database are in use.")
            assert is_up(app)

        async def is_newer() -> bool:
            return "schema is newer" in await detail()

        await other.execute("UPDATE alembic_versions SET version_num = '9999'")
        try:
            await until(is_newer)
            assert is_up(app)
        finally:
            await other.execute("UPDATE alembic_versions SET version_num = $1", NEWEST)


async def test_postgresql_ends_a_statement_whose_api_was_killed(owner: Settings) -> None:
    async with connected(owner) as other:

        async def waits() -> Any:
            # Unlike pg_stat_activity, it is read anew within a transaction.
            return await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")

        async def waits_no_more() -> bool:
            return not await waits()

        async def register(url: str) -> None:
            async with AsyncClient(base_url=url, timeout=300) as http:
                with suppress(httpx.TransportError):
                    await http.post("/owners", json={"name": "Ana", "email": unique_email()})

        # By themselves the wait for the lock would end after 300 s, and the statement after 601 s.
        with serving(owner, CLINIC_STATEMENT_TIMEOUT="600", OTEL_SDK_DISABLED="true") as (api, url):
            async with other.transaction():
                await other.execute("LOCK TABLE owner IN SHARE MODE")
                request = asyncio.create_task(register(url))
                await until(waits)
                api.kill()
                await until(waits_no_more)
            await request
