"""Liveness and readiness."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from litestar import Controller, Litestar, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text

from clinic.database import Database, database_config
from clinic.migrations import NEWEST
from clinic.models import Base
from clinic.openapi import error_responses
from clinic.problems import (
    DATABASE_READ_ONLY,
    DATABASE_UNAVAILABLE,
    RefusedError,
    database_refusal,
    unavailable,
)
from clinic.settings import Settings

STATE = text(
    """
    SELECT
        current_setting('transaction_read_only') = 'on' AS read_only,
        (SELECT max(version_num) FROM alembic_versions) AS revision,
        ARRAY(
            SELECT name FROM unnest(CAST(:tables AS text[])) AS name
            WHERE to_regclass(name) IS NULL ORDER BY name
        ) AS missing
    """
)
TABLES = [*Base.metadata.tables]
NO_TABLE = "42P01"
NO_SCHEMA = unavailable("The database has no schema: run `clinic migrate`.", "database")
OLD_SCHEMA = unavailable(
    "The database's schema is older than the API's: run `clinic migrate`.", "database"
)
NEW_SCHEMA = unavailable(
    "The database's schema is newer than the API's: start the version that migrated it.", "database"
)

REMEMBER_SECONDS = 1.0
WATCH_SECONDS = 1.0
"""Time between readings of the schema: after a migration, requests may write for so long."""


class Health(Struct):
    status: str = "ok"


class NoAnswerError(RefusedError):
    """The database did not say in which state it is."""


class Readiness:
    """The state of the database, read at most once a second and shared by all callers.

    Anybody may call: more callers must not cost more connections or statements.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.check: asyncio.Task[Health | RefusedError] | None = None
        self.expiry = 0.0
        self.write_refusal: RefusedError | None = DATABASE_UNAVAILABLE
        """Why no request may write: the schema is not the API's, or has never been read."""
        self.has_read = False
        self.available = True
        """Whether the database answered the watch, whatever its schema."""

    async def state(self) -> Health | RefusedError:
        now = asyncio.get_running_loop().time()
        if self.check is None or (self.check.done() and now >= self.expiry):
            self.check = asyncio.create_task(self.ask())
        return await asyncio.shield(self.check)  # other callers wait for it, too

    async def ask(self) -> Health | RefusedError:
        try:
            return await self.read_state(self.database)
        finally:
            self.expiry = asyncio.get_running_loop().time() + REMEMBER_SECONDS

    @asynccontextmanager
    async def watch(self, _: Litestar) -> AsyncGenerator[None]:
        """Read the state every second, so that no request has to before it writes.

        On a connection of its own: requests that use all others, or wait for them, hide neither
        another schema nor a database that does not answer.
        """
        database = Database(database_config(replace(self.settings, pool_size=1)).get_engine())
        await self.read_availability(database)
        task = asyncio.create_task(self.read_on(database))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await database.engine.dispose()

    async def read_on(self, database: Database) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.read_availability(database)

    async def read_availability(self, database: Database) -> None:
        state = await self.read_state(database)
        self.available = not isinstance(state, NoAnswerError)

    async def read_state(self, database: Database) -> Health | RefusedError:
        try:
            row = await database.one(STATE, tables=TABLES)
        except Exception as error:  # noqa: BLE001 after any error the API is not ready
            if getattr(getattr(error, "orig", None), "sqlstate", None) == NO_TABLE:
                self.write_refusal = NO_SCHEMA
                return NO_SCHEMA
            refusal = database_refusal(error) or DATABASE_UNAVAILABLE
            known = NoAnswerError(refusal.status, refusal.detail, down=refusal.down)
            known.__cause__ = error  # for the log
            if not self.has_read:
                self.write_refusal = known
            return known
        self.has_read = True
        self.write_refusal = schema_refusal(row.revision, row.missing)
        return self.write_refusal or (DATABASE_READ_ONLY if row.read_only else Health())


def schema_refusal(revision: str | None, missing: list[str]) -> RefusedError | None:
    """Return why a schema is not the API's, or None."""
    if revision is None:
        return NO_SCHEMA
    if revision != NEWEST:
        return OLD_SCHEMA if revision < NEWEST else NEW_SCHEMA
    if missing:
        tables = ", ".join(f"`{name}`" for name in missing)
        return unavailable(f"The database's schema is incomplete: no {tables}.", "database")
    return None


class HealthController(Controller):
    tags = ("Health",)
    security = ()

    @get(
        "/livez",
        operation_id="live",
        summary="Check liveness",
        responses=error_responses(400),
    )
    async def live(self) -> Health:
        """Return 200 while the process runs, whatever the state of the database."""
        return Health()

    @get(
        "/readyz",
        operation_id="ready",
        summary="Check readiness",
        responses=error_responses(400, 503),
    )
    async def ready(self, readiness: NamedDependency[Readiness]) -> Health:
        """Return 200 if the database is available and writable and has the API's schema, else 503.

        `down` names what is unavailable, `detail` says why. The state is up to a second old.
        """
        state = await readiness.state()
        if isinstance(state, RefusedError):
            raise RefusedError(state.status, state.detail, down=state.down) from state.__cause__
        return state
