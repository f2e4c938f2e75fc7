"""The owner of the schema, the API and the metrics have a role each."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
import pytest
from advanced_alchemy.alembic.commands import AlembicCommands

from clinic.database import database_config
from clinic.settings import Settings
from lab.paths import PROJECT
from lab.stack import postgres
from lab.stack.config import API_ROLE, OWNER_ROLE, StackConfig
from lab.stack.ports import free as free_port
from tests.support.clinic import app_client, running_app, running_postgres, unique_email


@pytest.fixture
def config() -> Iterator[StackConfig]:
    with TemporaryDirectory(prefix="clinic-") as folder:
        config = StackConfig(Path(folder), postgres_port=free_port())
        postgres.prepare(config)
        yield config


def migrate(config: StackConfig) -> None:
    AlembicCommands(database_config(Settings(database_url=config.database_url))).upgrade()


@asynccontextmanager
async def session(config: StackConfig, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(config.database_url_of(role).replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def registers_an_owner(config: StackConfig) -> bool:
    settings = Settings(database_url=config.database_url_of(API_ROLE))
    async with running_app(settings) as app, app_client(app) as client:
        body = {"name": "Ana", "email": unique_email()}
        response = await client.post("/owners", json=body, headers={"Idempotency-Key": "a"})
        return response.status_code == 201 and (await client.get("/readyz")).status_code == 200


FORBIDDEN = [
    "CREATE TABLE x ()",
    "CREATE TEMPORARY TABLE x ()",
    "CREATE SCHEMA x",
    "CREATE ROLE x",
    "ALTER TABLE owner ADD COLUMN x int",
    "ALTER TABLE owner DISABLE TRIGGER ALL",
    "CREATE INDEX x ON owner (id)",
    "DROP TABLE idempotency_key",
    "TRUNCATE idempotency_key",
    "ALTER ROLE clinic PASSWORD 'another'",
    "ALTER SYSTEM SET fsync = off",
    "SET ROLE clinic",
    "COPY owner TO '/tmp/x'",
]


def test_the_role_of_the_api_reads_and_writes_rows_and_nothing_else(config: StackConfig) -> None:
    async def refused() -> list[str]:
        found = []
        async with session(config, API_ROLE) as api:
            for statement in FORBIDDEN:
                try:
                    await api.execute(statement)
                except asyncpg.InsufficientPrivilegeError:
                    found.append(statement)
        return found

    with running_postgres(config):
        migrate(config)
        assert asyncio.run(registers_an_owner(config))
        assert asyncio.run(refused()) == FORBIDDEN


def test_data_of_an_earlier_version_gets_the_role_at_the_next_start(config: StackConfig) -> None:
    # As that version left it: one role, which owns the tables, and its rows.
    with running_postgres(config):
        migrate(config)
    data = postgres.data_directory(config)
    postgres.single_user(data, "clinic", "DROP OWNED BY clinic_api", "DROP ROLE clinic_api")
    config.api_password_file.unlink()
    assert postgres.lacks_roles(config)

    postgres.prepare(config)

    assert not postgres.lacks_roles(config)
    with running_postgres(config):
        assert asyncio.run(registers_an_owner(config))

        async def create_table() -> None:
            async with session(config, OWNER_ROLE) as owner:
                await owner.execute("CREATE TABLE later (id int)")
            async with session(config, API_ROLE) as api:
                await api.execute("INSERT INTO later VALUES (1)")

        asyncio.run(create_table())


def test_a_lost_data_folder_is_created_anew_with_the_passwords_that_exist(
    config: StackConfig,
) -> None:
    data = postgres.data_directory(config)
    data.rename(data.with_name("moved away"))

    postgres.prepare(config)

    async def connect() -> None:
        for role in (OWNER_ROLE, API_ROLE):
            async with session(config, role):
                pass
        password = config.monitor_password_file.read_text().strip()
        url = config.database_url_with("monitor", password).replace("+asyncpg", "")
        await (await asyncpg.connect(url)).close()

    with running_postgres(config):
        asyncio.run(connect())


def test_both_backends_create_the_same_roles() -> None:
    script = (PROJECT / "observability" / "postgres" / "roles.sh").read_text()
    sql = " ".join(line for line in script.splitlines() if not line.startswith("\\"))

    for statement in (*postgres.api_role("*"), *postgres.monitor_role("*")):
        assert re.sub("'[*]'$", ":'password'", statement) + ";" in " ".join(sql.split())
