"""Metrics of shared resources: connection pool, database, event loop and process."""

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
"""Interval at which the event-loop delay is measured."""

PING = text("SELECT 1")
PING_SECONDS = 5
"""Interval at which the availability of the database is checked."""

PROCESS_METRICS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "cpython.gc.collections": None,
}


def observe_pool(meter: Meter, engine: AsyncEngine) -> None:
    """Report used, idle and maximum connections to PostgreSQL."""
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
async def measure_event_loop(meter: Meter) -> AsyncGenerator[None]:
    """Measure the event-loop delay, which every request waits before its code runs."""
    delay = meter.create_histogram(
        "clinic.event_loop.lag", "s", "Delay between the due time of a timer and its execution."
    )
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            delay.record(max(0.0, loop.time() - due))

    async with background_task(measure()):
        yield


@asynccontextmanager
async def monitor_database(meter: Meter, engine: AsyncEngine) -> AsyncGenerator[None]:
    """Report whether the database is available, even without requests."""
    available = True
    meter.create_observable_gauge(
        "clinic.database.up",
        [lambda _: [Observation(int(available))]],
        description="1 while the database is available to the API, else 0.",
    )

    async def check() -> None:
        nonlocal available
        while True:
            try:
                async with engine.connect() as connection:
                    await connection.execute(PING)
                available = True
            except PoolTimeoutError:
                pass  # The pool is exhausted: that says nothing about the database.
            except (SQLAlchemyError, OSError):
                available = False
            await asyncio.sleep(PING_SECONDS)

    async with background_task(check()):
        yield


@asynccontextmanager
async def background_task(coroutine: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
