"""How Alembic runs a migration: on advanced-alchemy's engine, all or nothing."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

import clinic.models  # noqa: F401 registers the tables
from clinic.models import Base

# Any number: those who migrate at the same time wait for each other at it.
LOCK = 6_019_871


def run(connection: Connection) -> None:
    """Migrate in one transaction, alone."""
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
    """Run on a connection of its own, with transactions where the clinic itself has none."""
    config: Any = context.config
    engine = config.engine.execution_options(isolation_level="READ COMMITTED")
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(run_on_engine())
