"""Gauges of what requests share: the connection pool, the event loop and the process."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

TICK_SECONDS = 0.25
"""How often the event loop's lag is measured."""

PING = text("SELECT 1")
PING_SECONDS = 5
"""How often the database is asked whether it answers."""

PROCESS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "cpython.gc.collections": None,
}


def observe_pool(meter: Meter, engine: AsyncEngine) -> None:
    """Report how many connections to PostgreSQL are used, idle and allowed."""
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool):
        return
    name = {"db.client.connection.pool.name": "clinic"}

    def connections(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(pool.checkedout(), {**name, "db.client.connection.state": "used"})
        yield Observation(pool.checkedin(), {**name, "db.client.connection.state": "idle"})

    meter.create_observable_up_down_counter(
        "db.client.connection.count", [connections], "{connection}", "Connections by state."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.max",
        [lambda _: [Observation(pool.size(), name)]],
        "{connection}",
        "Connections allowed.",
    )


@asynccontextmanager
async def watched_event_loop(meter: Meter) -> AsyncGenerator[None]:
    """Measure meanwhile how late the event loop wakes a sleeper: what a request waits its turn."""
    lag = meter.create_histogram(
        "clinic.event_loop.lag", "s", "How late the event loop wakes a sleeper."
    )
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            lag.record(max(0.0, loop.time() - due))

    async with meanwhile(watch()):
        yield


@asynccontextmanager
async def watched_database(meter: Meter, engine: AsyncEngine) -> AsyncGenerator[None]:
    """Report meanwhile whether the database answers, so that it is known without a request."""
    answers = True
    meter.create_observable_gauge(
        "clinic.database.up",
        [lambda _: [Observation(int(answers))]],
        description="1 while the database answers the clinic, 0 while it does not.",
    )

    async def watch() -> None:
        nonlocal answers
        while True:
            try:
                async with engine.connect() as connection:
                    await connection.execute(PING)
                answers = True
            except PoolTimeoutError:
                pass  # no connection was free to ask by
            except (SQLAlchemyError, OSError):
                answers = False
            await asyncio.sleep(PING_SECONDS)

    async with meanwhile(watch()):
        yield


@asynccontextmanager
async def meanwhile(watch: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    watching = asyncio.create_task(watch)
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
