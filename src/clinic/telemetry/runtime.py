"""Metrics of the process, and whether the database is available."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from opentelemetry.metrics import Meter, Observation
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

PING = text("SELECT 1")
PING_SECONDS = 5
"""Interval at which the availability of the database is checked."""

MEMORY = "process.memory.usage"
PROCESS_METRICS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    MEMORY: None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "cpython.gc.collections": None,
}

workers = 1
"""Processes that share memory with this one and with the parent that has forked them."""


def process_metrics(meter: Meter) -> dict[str, list[str] | None]:
    """Return what to measure of the process; measure the memory of a worker here.

    The resident memory of workers counts what they share once for each, and leaves out their
    parent.
    """
    if workers == 1 or not proportional_set("self").exists():
        return PROCESS_METRICS
    meter.create_observable_up_down_counter(
        MEMORY,
        [lambda _: [Observation(memory("self") + memory(str(os.getppid())) // workers)]],
        "By",
        "Memory of the process, with its part of what it shares with others.",
    )
    return {name: kinds for name, kinds in PROCESS_METRICS.items() if name != MEMORY}


def memory(process: str) -> int:
    """Return the bytes of private memory, and the process's part of what it shares."""
    lines = proportional_set(process).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def proportional_set(process: str) -> Path:
    return Path(f"/proc/{process}/smaps_rollup")


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
            except Exception:  # noqa: BLE001 SQLAlchemy's errors and those of the driver
                available = False
            await asyncio.sleep(PING_SECONDS)

    task = asyncio.create_task(check())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
