"""Kill PostgreSQL and the API while clients write; every acknowledged row must be there."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from lab.errors import UserError
from lab.stack.config import API_ROLE
from performance.stack import POLL_SECONDS, Stack
from performance.torture.part import Context, Figures, Part, Result
from performance.torture.writer import Ledger, writing

API, POSTGRES = "api", "postgres"
CLIENTS = 20
WRITES_PER_SECOND = 60
RECOVERY_SECONDS = 120
ROWS_BETWEEN_KILLS = 60
"""Rows acknowledged after an outage before the next kill, so that the load is back."""
LATEST_KILL_SECONDS = 2.0


def kill_backend(stack: Stack) -> None:
    """Kill one process of PostgreSQL that serves the API; PostgreSQL then ends all and recovers."""
    backends = [
        child
        for child in stack.process(POSTGRES).children()
        if child.cmdline()[0].startswith(f"postgres: {API_ROLE} ")
    ]
    with suppress(psutil.NoSuchProcess):
        random.choice(backends).kill()  # noqa: S311 - no secret


KILLS: dict[str, tuple[int, Callable[[Stack], None]]] = {
    "PostgreSQL": (6, lambda stack: stack.kill(POSTGRES)),
    "a backend": (4, kill_backend),
    "the API": (5, lambda stack: stack.kill(API)),
    "both": (5, lambda stack: stack.kill(POSTGRES, API)),
}
"""What is killed, and how often."""
OF_THE_API = {"the API", "both"}


def run(context: Context) -> Result:
    stack = context.stack
    return asyncio.run(write_and_kill(context, stack))


async def write_and_kill(context: Context, stack: Stack) -> Result:
    kills = [name for name, (count, _) in KILLS.items() for _ in range(context.times(count))]
    random.shuffle(kills)
    outages = []
    url = stack.config.api_url
    async with writing(url, clients=CLIENTS, per_second=WRITES_PER_SECOND) as ledger:
        await rows_arrive(ledger, time.monotonic())
        for number, name in enumerate(kills, 1):
            await asyncio.sleep(random.uniform(0, LATEST_KILL_SECONDS))  # noqa: S311 - no secret
            api = stack.process(API).pid
            killed = time.monotonic()
            await asyncio.to_thread(KILLS[name][1], stack)
            await rows_arrive(ledger, time.monotonic())
            outages.append(ledger.longest_gap(killed))
            context.say(f"{number}/{len(kills)}: killed {name}; no row for {outages[-1]:.1f} s")
            restarted = stack.process(API).pid != api
            if restarted != (name in OF_THE_API):
                raise AssertionError(f"the API's process after a kill of {name} is not as expected")
    connection = await stack.connect()
    try:
        found = await ledger.compare(connection)
    finally:
        await connection.close()
    figures: Figures = {
        "kills": len(kills),
        "acknowledged rows": found.acknowledged,
        "missing": found.missing,
        "altered": found.altered,
        "twice": found.twice,
        "never answered": found.unknown,
        "answers lost": found.lost,
        "of these written before": found.committed_before,
        "of these written by the repeat": found.created_by_repeat,
        "503": ledger.answers["503 with Retry-After"],
        "refused": ledger.answers["connection refused"],
        "unexpected": ledger.unexpected_count,
        "longest time without a row, s": round(max(outages), 1),
    }
    for text in ledger.unexpected:
        context.say(text)
    passed = found.exact and not found.unknown and not ledger.unexpected_count
    return Result(passed, figures)


async def rows_arrive(ledger: Ledger, since: float) -> None:
    """Wait until requests that began later than this are acknowledged, as before an outage."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (
        sum(write.began > since for write in ledger.acknowledged[-2 * ROWS_BETWEEN_KILLS :])
        < ROWS_BETWEEN_KILLS
    ):
        if time.monotonic() > deadline:
            raise UserError(f"No rows for {RECOVERY_SECONDS} s after an outage.")
        await asyncio.sleep(POLL_SECONDS)


PARTS = (
    Part(
        "durability",
        "Every row that was answered with 201 is there, once, after 20 kills of PostgreSQL, of one "
        "of its processes, of the API and of both.",
        minutes=5,
        run=run,
    ),
)
