"""Alembic environment: runs migrations on advanced-alchemy's engine, in one transaction."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

import clinic.models  # noqa: F401 registers the tables
from clinic.models import Base

# Key of the advisory lock that serializes concurrent migrations; any number will do.
LOCK = 6_019_871


def run(connection: Connection) -> None:
    """Migrate in one transaction, under the lock."""
    config: Any = context.config
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=config.compare_type,
        version_table=config.version_table_name,
    )
    with context.begin_transaction():
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context.run_migrations()


async def run_on_engine() -> None:
    """Migrate on a connection with transactions: the engine's own are in AUTOCOMMIT."""
    config: Any = context.config
    engine = config.engine.execution_options(isolation_level="READ COMMITTED")
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(run_on_engine())
