"""An API whose schema is not that of the database reads and does not write."""

import time
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from advanced_alchemy.alembic.commands import AlembicCommands
from anyio.to_thread import run_sync
from httpx import AsyncClient, Response
from sqlalchemy import text

from clinic.database import Database, database_config
from clinic.migrations import NEWEST
from clinic.settings import Settings
from tests.support.clinic import app_client, migrated_database, running_app, unique_email

pytestmark = pytest.mark.anyio
OLDER = "The database's schema is older than the API's: run `clinic migrate`. Try again in 2 s."
NEWER = (
    "The database's schema is newer than the API's: start the version that migrated it. "
    "Try again in 2 s."
)
SET_VERSION = text("UPDATE alembic_versions SET version_num = :version RETURNING 1")
COUNTS = text(
    "SELECT (SELECT count(*) FROM owner), (SELECT count(*) FROM pet),"
    " (SELECT count(*) FROM appointment), (SELECT max(xmin::text::bigint) FROM owner)"
)


@pytest.fixture(scope="module")
def own_settings() -> Iterator[Settings]:
    with migrated_database() as settings:
        yield settings


@pytest.fixture
async def newest(own_settings: Settings) -> AsyncIterator[Settings]:
    """Return settings of a database that has the API's schema before and after the test."""
    yield own_settings
    config = database_config(own_settings)
    async with config.get_engine().connect() as connection:
        await connection.execute(
            text(f"UPDATE alembic_versions SET version_num = '{NEWEST}' WHERE version_num = '9999'")  # noqa: S608 a constant
        )
    await config.get_engine().dispose()
    await run_sync(AlembicCommands(database_config(own_settings)).upgrade)


async def every_write(client: AsyncClient, owner: int, appointment: int) -> list[Response]:
    body = {"name": "Ana", "email": unique_email()}
    return [
        await client.post("/owners", json=body),
        await client.post("/owners", json=body, headers={"Idempotency-Key": body["email"]}),
        await client.patch(f"/owners/{owner}", json={"name": "Eva"}),
        await client.post(f"/owners/{owner}/pets", json={"name": "Luna", "species": "dog"}),
        await client.post(f"/appointments/{appointment}/cancel"),
        await client.delete(f"/owners/{owner}"),
    ]


async def rows(client: AsyncClient) -> tuple[int, int]:
    """Write an owner with a pet and its appointment; return the ids of the first and the last."""
    owner = (await client.post("/owners", json={"name": "Ana", "email": unique_email()})).json()
    pets = f"/owners/{owner['id']}/pets"
    pet = (await client.post(pets, json={"name": "Luna", "species": "dog"})).json()
    body = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
    appointment = (await client.post(f"/pets/{pet['id']}/appointments", json=body)).json()
    return owner["id"], appointment["id"]


async def until_status(client: AsyncClient, status: int) -> None:
    """Wait until an invalid PATCH, which writes nothing in any case, is answered with a status."""
    deadline = time.monotonic() + 30
    while (await client.patch("/owners/1", json={"name": ""})).status_code != status:
        assert time.monotonic() < deadline
        await anyio.sleep(0.05)


@pytest.mark.parametrize(("version", "detail"), [("0004", OLDER), ("9999", NEWER)])
async def test_a_running_api_stops_writing_when_another_version_migrates_its_database(
    newest: Settings, version: str, detail: str
) -> None:
    async with running_app(newest) as app, app_client(app) as client:
        owner, appointment = await rows(client)
        database: Database = app.state.database
        before = await database.one(COUNTS)
        if version < NEWEST:
            await run_sync(AlembicCommands(database_config(newest)).downgrade, version)
        else:
            await database.one(SET_VERSION, version=version)
        await until_status(client, 503)

        refused = await every_write(client, owner, appointment)

        for response in refused:
            assert response.status_code == 503
            assert response.json()["detail"] == detail
            assert response.json()["down"] == ["database"]
            assert response.headers["retry-after"] == "2"
        assert await database.one(COUNTS) == before
        for path in ("/owners", f"/owners/{owner}", "/appointments?veterinarian=x"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/readyz")).json()["detail"] == detail

        if version < NEWEST:
            await run_sync(AlembicCommands(database_config(newest)).upgrade)
        else:
            await database.one(SET_VERSION, version=NEWEST)
        await until_status(client, 400)
        assert (await client.delete(f"/owners/{owner}")).status_code == 204


@pytest.mark.parametrize(("version", "detail"), [("0001", OLDER), ("9999", NEWER)])
async def test_an_api_that_starts_on_another_schema_does_not_write_at_all(
    newest: Settings, version: str, detail: str
) -> None:
    engine = database_config(newest).get_engine()
    async with engine.connect() as connection:
        if version < NEWEST:
            await run_sync(AlembicCommands(database_config(newest)).downgrade, version)
        else:
            await connection.execute(SET_VERSION, {"version": version})
        async with running_app(newest) as app, app_client(app) as client:
            response = await client.post("/owners", json={"name": "Ana", "email": "a@example.org"})
        if version > NEWEST:
            await connection.execute(SET_VERSION, {"version": NEWEST})
    await engine.dispose()

    assert response.status_code == 503
    assert response.json()["detail"] == detail


async def test_reading_what_an_older_schema_lacks_is_503(newest: Settings) -> None:
    engine = database_config(newest).get_engine()
    async with running_app(newest) as app, app_client(app) as client, engine.connect() as other:
        await other.execute(text("ALTER TABLE owner RENAME COLUMN phone TO telephone"))
        response = await client.get("/owners")
        await other.execute(text("ALTER TABLE owner RENAME COLUMN telephone TO phone"))
    await engine.dispose()

    assert response.status_code == 503
    assert response.json()["detail"] == "The database's schema is not the API's. Try again in 2 s."


async def test_strangers_learn_nothing_of_the_schema(newest: Settings) -> None:
    async with running_app(newest) as app, app_client(app, "203.0.113.7") as stranger:
        await app.state.database.one(SET_VERSION, version="9999")
        async with app_client(app) as client:
            await until_status(client, 503)
        response = await stranger.post("/owners", json={"name": "Ana", "email": "a@example.org"})
        await app.state.database.one(SET_VERSION, version=NEWEST)

    assert response.status_code == 403
