"""Alembic environment: runs migrations on advanced-alchemy's engine, each in a transaction.

A statement that waits for a lock of a table makes all later statements on that table wait behind
it. So it gives up after a second, which the API's requests can wait, and the migration starts again
later.
"""

import asyncio
import logging
import time
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

import clinic.models  # noqa: F401 registers the tables
from clinic.models import Base

# Key of the advisory lock that serializes concurrent migrations; any number will do.
LOCK = 6_019_871
LOCK_SECONDS = 0.2
"""Time between attempts to take it."""
TABLE_LOCK_SECONDS = 1
"""Longest time that a statement waits for a lock of a table."""
RETRY_SECONDS = 2.0
"""Time in which the requests that have waited run, before the migration starts again."""
PATIENCE_SECONDS = 600.0
"""Time after which the migration fails if it gets no lock."""
LOCKED = frozenset({"40P01", "55P03"})
"""SQLSTATEs of a deadlock and of a lock that was not granted in time."""

log = logging.getLogger("clinic.migrations")


def run(connection: Connection) -> None:
    """Migrate, each version in a transaction of its own."""
    config: Any = context.config
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=config.compare_type,
        version_table=config.version_table_name,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def lock(connection: AsyncConnection) -> None:
    """Lock migrations for as long as the connection lasts.

    By asking again: indexes that are built concurrently wait for all statements that began before.
    """
    while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({LOCK})")):
        await connection.rollback()
        await asyncio.sleep(LOCK_SECONDS)
    await connection.rollback()


async def run_patiently(connection: AsyncConnection) -> None:
    """Migrate; start again with the version that did not get a lock."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        await connection.execute(text(f"SET lock_timeout = '{TABLE_LOCK_SECONDS}s'"))
        await connection.commit()
        try:
            await connection.run_sync(run)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state not in LOCKED or time.monotonic() > deadline:
                raise
            await connection.rollback()
            log.warning(
                "Another transaction has locked a table; the migration starts again in %s s",
                RETRY_SECONDS,
            )
            await asyncio.sleep(RETRY_SECONDS)
        else:
            await connection.commit()
            return


async def run_on_engine() -> None:
    """Migrate on a connection with transactions: the engine's own are in AUTOCOMMIT."""
    config: Any = context.config
    engine = config.engine.execution_options(isolation_level="READ COMMITTED")
    try:
        async with engine.connect() as connection:
            await lock(connection)
            await run_patiently(connection)
    finally:
        await engine.dispose()


asyncio.run(run_on_engine())
