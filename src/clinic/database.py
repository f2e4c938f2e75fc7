"""PostgreSQL: engine and pool, and statements that each run in a transaction of their own."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any

# Not from its extension for Litestar, whose import takes as long as that of Litestar.
from advanced_alchemy.config import AlembicAsyncConfig, EngineConfig, SQLAlchemyAsyncConfig
from msgspec import Struct
from sqlalchemy import Column, Connection, Executable, Row, Table, event
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from clinic import migrations
from clinic.models import Base
from clinic.settings import Settings

ResultRow = Row[*tuple[Any, ...]]


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
                "server_settings": {
                    "application_name": "clinic",
                    # For when the API cannot cancel a statement any more.
                    "statement_timeout": f"{settings.statement_timeout + 1}s",
                    "lock_timeout": f"{settings.statement_timeout * 500}ms",
                    "idle_in_transaction_session_timeout": "60s",
                    # A statement ends if its client has gone, for example killed.
                    "client_connection_check_interval": "1s",
                    # Connections of a machine that is gone end after a minute and a half.
                    "tcp_keepalives_idle": "60",
                    "tcp_keepalives_interval": "10",
                    "tcp_keepalives_count": "3",
                    # An index serves every statement. PostgreSQL prefers a sequential scan of a
                    # small table, and would keep that plan while the table grows.
                    "enable_seqscan": "off",
                },
            },
        ),
        alembic_config=AlembicAsyncConfig(
            script_location=str(migrations.FOLDER).replace("%", "%%"),  # Alembic interpolates
            script_config=str(migrations.FOLDER / "alembic.ini"),
            compare_type=True,
            render_as_batch=False,
        ),
    )


class Statements(ABC):
    """Runs statements."""

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

    @abstractmethod
    async def all(self, statement: Executable, /, **values: Any) -> Sequence[ResultRow]:
        """Run the statement and return its rows."""


class Database(Statements):
    """Runs statements, each in a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.connect: Callable[[], AbstractContextManager[Connection]] = engine.sync_engine.connect
        """Takes a connection from the pool; telemetry replaces it, to measure the wait."""
        event.listen(engine.sync_engine, "checkout", replace_dead_connection)

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        """Close the connections when the app stops."""
        try:
            yield
        finally:
            await self.engine.dispose()

    async def all(self, statement: Executable, /, **values: Any) -> Sequence[ResultRow]:
        """Run the statement and return its rows.

        In one greenlet: AsyncConnection would spawn three greenlets and a task, which cost about a
        third of the request's time.
        """
        return await greenlet_spawn(self._run, statement, values)

    def _run(self, statement: Executable, values: dict[str, Any]) -> Sequence[ResultRow]:
        try:
            with self.connect() as connection:
                return connection.execute(statement, values).all()
        except DBAPIError as error:
            if not is_stale_plan(error):
                raise
        with self.connect() as connection:
            return connection.execute(statement, values).all()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator["Transaction"]:
        """Run statements in one transaction; an exception rolls it back."""
        stack = ExitStack()
        try:
            connection = await greenlet_spawn(self._begin, stack)
            yield Transaction(connection)
            await greenlet_spawn(connection.commit)
        finally:
            await greenlet_spawn(stack.close)

    def _begin(self, stack: ExitStack) -> Connection:
        connection = stack.enter_context(self.connect())
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        connection.begin()
        return connection


class Transaction(Statements):
    """Runs statements in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def all(self, statement: Executable, /, **values: Any) -> Sequence[ResultRow]:
        return await greenlet_spawn(self._run, statement, values)

    def _run(self, statement: Executable, values: dict[str, Any]) -> Sequence[ResultRow]:
        return self.connection.execute(statement, values).all()


def is_stale_plan(error: BaseException) -> bool:
    """Say whether a statement was refused because the schema has changed since it was prepared.

    It has done nothing, and SQLAlchemy discards all prepared statements, so it can run again.
    """
    stale = AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError
    return isinstance(error, DBAPIError) and isinstance(error.orig, stale)


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
