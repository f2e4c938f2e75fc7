"""Migrations back to the first schema and forward to the newest while clients read and write."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter
from http import HTTPStatus

import asyncpg  # type: ignore[import-untyped]
import httpx

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.inherited import base_environment
from lab.stack.services import api_environment
from performance.stack import Stack
from performance.torture.part import Context, Figures, Part, Result
from performance.torture.writer import Ledger, writing

ROWS = 100_000
"""Rows of each table."""
BATCH = 10_000
FILL = (
    "INSERT INTO owner (name, email) SELECT 'Ana', 'ana' || n || '@example.org' FROM {n}",
    "INSERT INTO pet (owner_id, name, species) SELECT n, 'Luna', 'dog' FROM {n}",
    # Names with spaces that 0003 has to remove.
    """
    INSERT INTO appointment (pet_id, scheduled_at, reason, veterinarian)
    SELECT n / 2 + 1, timestamptz '2090-01-01 09:30Z' + n * interval '1 min', 'check-up',
        'Dr.  ' || n % 10 FROM {n}
    """,
)
READS = ("/owners?limit=10", "/appointments?limit=10&status=booked&veterinarian=x", "/owners/1")
READ_SECONDS = 0.05
"""Time between two reads."""
ANSWER_SECONDS = 30.0
STEPS = (
    ("downgrade", "0004"),
    ("downgrade", "0003"),
    ("downgrade", "0002"),
    ("downgrade", "0001"),
    ("migrate",),
)
NOTICE_SECONDS = 3.0
"""Time after which the API has noticed another schema, also on a busy machine."""
UNAVAILABLE = "503 with Retry-After"


def run(context: Context) -> Result:
    stack = context.stack
    rows = context.times(ROWS)
    context.say(f"Filling the tables with {rows:,} rows each.")
    asyncio.run(fill(stack, rows))
    return asyncio.run(migrate_under_load(context, stack, rows))


async def fill(stack: Stack, rows: int) -> None:
    connection = await stack.connect()
    try:
        for statement in FILL:
            for first in range(1, rows + 1, BATCH):
                n = f"generate_series({first}, {min(first + BATCH - 1, rows)}) AS n"
                await connection.execute(statement.format(n=n))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def migrate_under_load(context: Context, stack: Stack, rows: int) -> Result:
    reads: Counter[str] = Counter()
    durations: list[float] = []
    seconds: dict[str, float] = {}
    written = 0
    connection = await stack.connect()
    stopping = asyncio.Event()
    try:
        async with writing(stack.config.api_url, clients=10, per_second=30) as ledger:
            reading = asyncio.create_task(read(stack.config.api_url, reads, durations, stopping))
            try:
                await asyncio.sleep(context.seconds(5))
                started = time.monotonic()
                for step in STEPS:
                    context.say(f"clinic {' '.join(step)}")
                    began = time.monotonic()
                    await asyncio.to_thread(clinic, stack, *step)
                    seconds[f"s for {step[-1]}"] = round(time.monotonic() - began, 1)
                    if step == STEPS[-2]:
                        written = await rows_written(connection)
                await asyncio.sleep(context.seconds(10))
            finally:
                stopping.set()
                await reading
        comparison = await ledger.compare(connection)
    finally:
        await connection.close()
    others = [answer for answer in reads if answer not in {"200", UNAVAILABLE}]
    kept = comparison.exact and not comparison.unknown
    figures: Figures = {
        "rows of each table": rows,
        **seconds,
        **{f"reads {answer}": count for answer, count in sorted(reads.items())},
        **{f"writes {answer}": count for answer, count in sorted(ledger.answers.items())},
        "acknowledged": comparison.acknowledged,
        "missing": comparison.missing,
        "twice": comparison.twice,
        "never answered": comparison.unknown,
        "written on another schema": written,
        "s of the longest read": round(max(durations, default=0), 1),
        "s without a write": round(ledger.longest_gap(started), 1),
        **unexpected(ledger),
    }
    return Result(kept and not written and not others and not ledger.unexpected_count, figures)


def unexpected(ledger: Ledger) -> Figures:
    return {"unexpected": "; ".join(ledger.unexpected[:3])} if ledger.unexpected else {}


async def read(
    url: str, answers: Counter[str], durations: list[float], stopping: asyncio.Event
) -> None:
    """Read at a steady pace; count the answers and note how long they took."""
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
        for path in itertools.cycle(READS):
            if stopping.is_set():
                return
            began = time.monotonic()
            try:
                response = await client.get(path)
            except httpx.TransportError as error:
                answers[type(error).__name__] += 1
            else:
                is_refused = response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
                is_polite = is_refused and "retry-after" in response.headers
                answers[UNAVAILABLE if is_polite else str(response.status_code)] += 1
            durations.append(time.monotonic() - began)
            await asyncio.sleep(READ_SECONDS)


async def rows_written(connection: asyncpg.Connection) -> int:
    """Count the rows that are written while the API has another schema than the database."""
    count = "SELECT (SELECT count(*) FROM owner) + (SELECT count(*) FROM appointment)"
    await asyncio.sleep(NOTICE_SECONDS)
    before = await connection.fetchval(count)
    await asyncio.sleep(NOTICE_SECONDS)
    return int(await connection.fetchval(count) - before)


def clinic(stack: Stack, *words: str) -> None:
    """Run a command of the API's as the schema's owner."""
    finished = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "clinic", *words],
        cwd=PROJECT,
        env={**base_environment(), **api_environment(stack.config, stack.config.database_url)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise UserError(f"`clinic {' '.join(words)}` failed:\n{finished.stdout}")


PARTS = (
    Part(
        "migrations",
        "Migrations to the first schema and back on 100,000 rows of each table, while the API "
        "serves: each answer is right or 503 with Retry-After, nothing is written on another "
        "schema, and no acknowledged row is lost.",
        minutes=3,
        run=run,
    ),
)
