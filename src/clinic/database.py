"""PostgreSQL: engine and pool, and statements that each run in a transaction of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advanced_alchemy.extensions.litestar import (
    AlembicAsyncConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
)
from msgspec import Struct
from sqlalchemy import Column, Executable, Row, Table, event
from sqlalchemy.exc import InvalidatePoolError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from clinic.models import Base
from clinic.settings import Settings

ResultRow = Row[*tuple[Any, ...]]
MIGRATIONS = Path(__file__).parent / "migrations"


def database_config(settings: Settings) -> SQLAlchemyAsyncConfig:
    """Configure the engine and its migrations for advanced-alchemy.

    AUTOCOMMIT, because a request runs one statement wherever one is enough: its row is durable
    when the statement returns, and BEGIN and COMMIT would turn one round trip into three.
    """
    return SQLAlchemyAsyncConfig(
        connection_string=settings.database_url,
        metadata=Base.metadata,
        engine_config=EngineConfig(
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.pool_timeout,
            connect_args={
                "timeout": settings.pool_timeout,
                "command_timeout": settings.statement_timeout,
                "server_settings": {"application_name": "clinic"},
            },
        ),
        alembic_config=AlembicAsyncConfig(
            script_location=str(MIGRATIONS),
            script_config=str(MIGRATIONS / "alembic.ini"),
            compare_type=True,
            render_as_batch=False,
        ),
    )


class Database:
    """Runs statements, each in a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        event.listen(engine.sync_engine, "checkout", replace_dead_connection)

    async def one(self, statement: Executable, /, **values: Any) -> ResultRow:
        """Run the statement and return its first row; raise NoResultFound if there is none."""
        row = await self.first(statement, **values)
        if row is None:
            raise NoResultFound("The statement returned no row.")
        return row

    async def first(self, statement: Executable, /, **values: Any) -> ResultRow | None:
        """Run the statement and return its first row, or None."""
        rows = await self.all(statement, **values)
        return rows[0] if rows else None

    async def all(self, statement: Executable, /, **values: Any) -> Sequence[ResultRow]:
        """Run the statement and return its rows.

        In one greenlet: AsyncConnection would spawn three greenlets and a task, which cost about a
        third of the request's time.
        """
        return await greenlet_spawn(self._run, statement, values)

    def _run(self, statement: Executable, values: dict[str, Any]) -> Sequence[ResultRow]:
        with self.engine.sync_engine.connect() as connection:
            return connection.execute(statement, values).all()


def replace_dead_connection(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace pooled connections that PostgreSQL has closed, without a round trip to test them.

    The event loop has already seen the socket close. The first request after a restart of
    PostgreSQL gets a new connection instead of an error.
    """
    if dbapi_connection.driver_connection.is_closed():
        raise InvalidatePoolError


def columns(table: Table, struct: type[Struct]) -> list[Column[Any]]:
    """Return the table's columns in the order of the struct's fields, for `struct(*row)`."""
    return [table.c[name] for name in struct.__struct_fields__]
