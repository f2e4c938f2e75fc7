"""Alembic environment: runs migrations on advanced-alchemy's engine, each in a transaction."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

import clinic.models  # noqa: F401 registers the tables
from clinic.models import Base

# Key of the advisory lock that serializes concurrent migrations; any number will do.
LOCK = 6_019_871
LOCK_SECONDS = 0.2
"""Time between attempts to take it."""


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


async def run_on_engine() -> None:
    """Migrate on a connection with transactions: the engine's own are in AUTOCOMMIT."""
    config: Any = context.config
    engine = config.engine.execution_options(isolation_level="READ COMMITTED")
    async with engine.connect() as connection:
        await lock(connection)
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(run_on_engine())
