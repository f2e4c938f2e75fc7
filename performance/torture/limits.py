"""The disk of PostgreSQL is full, and that of Prometheus."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx

from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from performance.prove.planters import compile_library
from performance.stack import POLL_SECONDS, Stack
from performance.torture.part import Context, Part, Result
from performance.torture.writer import Ledger, writing

POSTGRES, PROMETHEUS = "postgres", "prometheus"
FULL_DISK = Path(__file__).with_name("full_disk.c")
"""Source of a library with which the disk of a program is full while a file exists."""
BEFORE_SECONDS = 10.0
FULL_SECONDS = 60.0
RECOVERY_SECONDS = 180.0
WAL_MESSAGE = "SELECT pg_logical_emit_message(false, 'torture', repeat('x', 1000000))"
"""Fills the write-ahead log, whose next file then cannot be created."""
WAL_MESSAGES = 40
DISK_MIB = 64
READ = "/owners?limit=1"
FAILED_WRITES = "sum(prometheus_tsdb_wal_writes_failed_total)"


def fill_disk_of_postgresql(context: Context) -> Result:
    stack = context.stack
    folder = Path(context.resources.enter_context(tempfile.TemporaryDirectory(prefix="clinic-")))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    library, flag = folder / "full_disk.so", folder / "full"
    compile_library(FULL_DISK, library)
    environment = {"LD_PRELOAD": str(library), "FULL_DISK_FLAG": str(flag)}
    with stack.replaced(POSTGRES, environment):
        return asyncio.run(write_to_a_full_disk(context, stack, flag))


async def write_to_a_full_disk(context: Context, stack: Stack, flag: Path) -> Result:
    url = stack.config.api_url
    before = stack.process(POSTGRES).pid
    async with writing(url) as ledger, reading(url) as reads:
        await asyncio.sleep(context.seconds(BEFORE_SECONDS))
        filled = time.monotonic()
        flag.touch()  # noqa: ASYNC240 - a local file
        context.say("PostgreSQL's disk is full.")
        await fill_wal(stack)
        await asyncio.sleep(context.seconds(FULL_SECONDS))
        freed = time.monotonic()
        flag.unlink()  # noqa: ASYNC240 - a local file
        context.say("PostgreSQL's disk has space again.")
        recovery = await seconds_until_written(ledger, freed)
    connection = await stack.connect()
    try:
        found = await ledger.compare(connection)
    finally:
        await connection.close()
    for text in ledger.unexpected:
        context.say(text)
    wrong = {status: count for status, count in reads.items() if status not in {"200", "503"}}
    passed = found.exact and not (found.unknown or ledger.unexpected_count or wrong)
    return Result(
        passed,
        {
            "full, s": round(freed - filled, 1),
            "acknowledged rows": found.acknowledged,
            "missing": found.missing,
            "altered": found.altered,
            "twice": found.twice,
            "never answered": found.unknown,
            "503": ledger.answers["503 with Retry-After"],
            "unexpected": ledger.unexpected_count,
            "reads": in_words(reads),
            "PostgreSQL restarted": "no" if stack.process(POSTGRES).pid == before else "yes",
            "recovery, s": round(recovery, 1),
        },
    )


def in_words(answers: Counter[str]) -> str:
    return ", ".join(f"{count} times {status}" for status, count in answers.items())


@asynccontextmanager
async def reading(url: str) -> AsyncGenerator[Counter[str]]:
    """Read until the block ends, and count the answers."""
    answers: Counter[str] = Counter()

    async def read(http: httpx.AsyncClient) -> None:
        while True:
            answers[str((await http.get(READ)).status_code)] += 1
            await asyncio.sleep(POLL_SECONDS)

    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        task = asyncio.create_task(read(http))
        try:
            yield answers
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def fill_wal(stack: Stack) -> None:
    """Write to the write-ahead log until PostgreSQL stops."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection = await stack.connect()
        for _ in range(WAL_MESSAGES):
            await connection.execute(WAL_MESSAGE)


async def seconds_until_written(ledger: Ledger, since: float) -> float:
    """Wait until a request is acknowledged; return how long it took."""
    while not (ledger.acknowledged_at and ledger.acknowledged_at[-1] > since):
        if time.monotonic() > since + RECOVERY_SECONDS:
            raise UserError(
                f"Nothing was written for {RECOVERY_SECONDS:.0f} s after there was space."
            )
        await asyncio.sleep(POLL_SECONDS)
    return ledger.acknowledged_at[-1] - since


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a file system of `DISK_MIB`; only root may."""
    with tempfile.TemporaryDirectory(prefix="clinic-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", folder]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if mounted.returncode:
            raise UserError(f"A small file system cannot be mounted: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=False)  # noqa: S603, S607 - fixed words


def fill_disk_of_prometheus(context: Context) -> Result:
    stack = context.stack
    if sys.platform != "linux":
        raise UserError("A small file system is mounted on Linux only.")
    folder = context.resources.enter_context(small_disk())
    original = stack.services[PROMETHEUS].command
    path = "--storage.tsdb.path="
    command = [f"{path}{folder}" if it.startswith(path) else it for it in original]
    with stack.replaced(PROMETHEUS, {}, command):
        return write_without_metrics(context, stack, folder)


def write_without_metrics(context: Context, stack: Stack, folder: Path) -> Result:
    filler = folder / "filler"
    url = stack.config.prometheus_url
    with Prometheus(url) as prometheus, httpx.Client(trust_env=False) as http:
        process = stack.process(PROMETHEUS).pid
        before = wait_for_sample(prometheus, time.time() + BEFORE_SECONDS)
        with filler.open("wb") as file, suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(65536))
        filled = time.time()
        context.say("Prometheus's disk is full.")
        statuses: Counter[str] = Counter()
        while time.time() < filled + context.seconds(FULL_SECONDS):
            statuses[str(http.get(f"{stack.config.api_url}{READ}").status_code)] += 1
            time.sleep(POLL_SECONDS)
        last = newest_sample(prometheus)
        alerts = http.get(f"{url}/api/v1/alerts").json()["data"]["alerts"]
        freed = time.time()
        filler.unlink()
        context.say("Prometheus's disk has space again.")
        first = wait_for_sample(prometheus, freed)
        failed = prometheus.number(FAILED_WRITES, time.time()) or 0
        survived = stack.process(PROMETHEUS).pid == process
        # The write-ahead log ends in half a record, after which nothing is read at a start.
        restart(stack)
        after = wait_for_sample(prometheus, time.time() + BEFORE_SECONDS)
        restart(stack)
        wait_for_sample(prometheus, time.time())
        kept = [prometheus.number(f"count(up @ {at})", time.time()) for at in (before, after)]
    return Result(
        survived and all(kept) and set(statuses) == {"200"},
        {
            "full, s": round(freed - filled, 1),
            "failed writes": failed,
            "without samples, s": round(first - last, 1),
            "requests to the API": in_words(statuses),
            "alerts while full": ", ".join(sorted({it["labels"]["alertname"] for it in alerts})),
            "targets before, after": ", ".join(f"{it or 0:.0f}" for it in kept),
            "recovery, s": round(first - freed, 1),
        },
    )


def restart(stack: Stack) -> None:
    stack.native.supervisor.stop(PROMETHEUS)
    stack.native.supervisor.start(PROMETHEUS)
    stack.wait_until_ready(PROMETHEUS)


def newest_sample(prometheus: Prometheus) -> float:
    """Return when Prometheus last stored a sample of itself."""
    return prometheus.number('max(timestamp(up{job="prometheus"}))', time.time()) or 0.0


def wait_for_sample(prometheus: Prometheus, since: float) -> float:
    """Wait for a sample that is newer than this, and return its time."""
    while (newest := newest_sample(prometheus)) <= since:
        if time.time() > since + RECOVERY_SECONDS:
            raise UserError("Prometheus stores no new samples.")
        time.sleep(POLL_SECONDS)
    return newest


PARTS = (
    Part(
        "full-disk-postgres",
        "While PostgreSQL's disk is full, writes are 503; when there is space again, all goes on "
        "by itself, and every row that was answered with 201 is there.",
        minutes=4,
        run=fill_disk_of_postgresql,
    ),
    Part(
        "full-disk-prometheus",
        "While Prometheus's disk is full, the API serves and queries are answered; when there is "
        "space again, it stores samples by itself, and keeps them after a restart.",
        minutes=3,
        run=fill_disk_of_prometheus,
    ),
)
