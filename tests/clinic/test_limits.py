"""PostgreSQL at its limits: no connection left, no space left."""

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
import pytest
from httpx import AsyncClient, Response

from clinic.settings import Settings
from lab.stack.config import API_ROLE, OWNER_ROLE
from performance.prove.planters import compile_library
from performance.torture.limits import FULL_DISK
from tests.support.clinic import (
    app_client,
    as_api,
    connected,
    migrated_database,
    running_app,
    unique_email,
)

pytestmark = pytest.mark.anyio


def assert_unavailable(response: Response, sentence: str) -> None:
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "2"
    assert response.json()["detail"] == f"{sentence} Try again in 2 s."
    assert response.json()["down"] == ["database"]


async def register(client: AsyncClient, name: str = "Ana") -> Response:
    return await client.post("/owners", json={"name": name, "email": unique_email()})


LIMITS = {
    API_ROLE: "ALTER ROLE clinic_api CONNECTION LIMIT 3",
    # Three more are reserved for superusers.
    OWNER_ROLE: "ALTER SYSTEM SET max_connections = 8",
}


@pytest.fixture(params=LIMITS)
def limited(request: pytest.FixtureRequest) -> Iterator[tuple[Settings, Settings]]:
    """Return settings of a limited database, and those of who takes its connections."""
    with migrated_database(LIMITS[request.param]) as owner:
        yield as_api(owner), as_api(owner) if request.param == API_ROLE else owner


async def test_a_database_that_accepts_no_more_connections_is_503_until_it_does(
    limited: tuple[Settings, Settings],
) -> None:
    sentence = "The database accepts no more connections."
    settings, others = limited
    async with AsyncExitStack() as taken:
        for _ in range(8):
            try:
                await taken.enter_async_context(connected(others))
            except asyncpg.TooManyConnectionsError:
                break
        else:
            pytest.fail("PostgreSQL has no such limit")
        async with running_app(settings) as app, app_client(app) as client:
            for response in (await register(client), await client.get("/owners")):
                assert_unavailable(response, sentence)
            assert_unavailable(await client.get("/readyz"), sentence)
            assert (await client.get("/livez")).status_code == 200
            await taken.aclose()
            await until_created(client)
            assert len((await client.get("/owners")).json()) == 1


async def until_created(client: AsyncClient) -> None:
    """Register an owner: PostgreSQL may still be ending what was closed."""
    async with asyncio.timeout(30):
        while (response := await register(client)).status_code == 503:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)
    assert response.status_code == 201


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file while which exists PostgreSQL's disk is full."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is on PATH")
    with TemporaryDirectory(prefix="clinic-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        library, flag = Path(folder) / "full_disk.so", Path(folder) / "full"
        compile_library(FULL_DISK, library)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("FULL_DISK_FLAG", str(flag))
        yield flag


@pytest.fixture
def owner(full_disk: Path) -> Iterator[Settings]:
    with migrated_database() as owner:
        yield owner
    full_disk.unlink(missing_ok=True)


async def test_a_full_disk_is_503_for_writers_until_there_is_space_and_loses_nothing(
    owner: Settings, full_disk: Path
) -> None:
    acknowledged = set()

    async def write(client: AsyncClient) -> Response:
        response = await register(client, secrets.token_hex(100))
        if response.status_code == 201:
            acknowledged.add(response.json()["id"])
        return response

    async with running_app(as_api(owner)) as app, app_client(app) as client:
        assert (await write(client)).status_code == 201
        full_disk.touch()  # noqa: ASYNC240 - a local file
        for _ in range(1000):  # until the pages that exist are full
            response = await write(client)
            if response.status_code != 201:
                break
        assert_unavailable(response, "The database's disk is full.")
        assert (await client.get("/owners?limit=1")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        full_disk.unlink()  # noqa: ASYNC240 - a local file
        assert (await write(client)).status_code == 201
        async with connected(owner) as connection:
            rows = await connection.fetch("SELECT id FROM owner")
    assert {row["id"] for row in rows} == acknowledged
