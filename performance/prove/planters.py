"""Plant causes of a bottleneck: each context manager plants one and removes it at its end.

Each yields the settings that the load needs in addition. Times are in milliseconds.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import HOST
from lab.stack.ports import free
from performance.stack import Stack

Settings = dict[str, str]
Planter = Callable[[Stack], AbstractContextManager[Settings]]

BUSY_PROGRAMS_PER_CPU = 2
# A program that keeps a CPU busy for as long as the process that started it lives.
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))\n"


class CannotPlantError(UserError):
    """The cause cannot be planted on this machine; the message says why."""


def nothing() -> Planter:
    @contextmanager
    def plant(_: Stack) -> Iterator[Settings]:
        yield {}

    return plant


def together(*planters: Planter) -> Planter:
    """Plant several causes at once."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        with ExitStack() as planted:
            settings: Settings = {}
            for planter in planters:
                settings |= planted.enter_context(planter(stack))
            yield settings

    return plant


# In PostgreSQL

SLEEP = "PERFORM pg_sleep({milliseconds} / 1000.0);"
BURN = """
    WHILE clock_timestamp() < began + interval '{milliseconds} milliseconds' LOOP
        PERFORM count(*) FROM generate_series(1, 1000);
    END LOOP;"""
COUNT = "UPDATE prove_total SET owners = owners + 1;"


def slow_statement(milliseconds: float, body: str) -> Planter:
    """Let INSERT owner take longer in PostgreSQL."""
    return _trigger(body.format(milliseconds=milliseconds))


def _trigger(body: str, *, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> Planter:
    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        function = (
            "CREATE FUNCTION prove_trigger() RETURNS trigger LANGUAGE plpgsql AS $$"
            f"DECLARE began timestamptz := clock_timestamp(); BEGIN {body} RETURN NEW; END $$"
        )
        trigger = (
            "CREATE TRIGGER prove_trigger BEFORE INSERT ON owner "
            "FOR EACH ROW EXECUTE FUNCTION prove_trigger()"
        )
        stack.execute(*before, function, trigger)
        try:
            yield {}
        finally:
            stack.execute("DROP FUNCTION prove_trigger CASCADE", *after)

    return plant


def row_lock(hold: float, pause: float = 500) -> Planter:
    """Hold, again and again, the lock of a row that each INSERT owner updates."""
    table = "CREATE TABLE prove_total AS SELECT 0 AS owners"
    counted = _trigger(COUNT, before=(table,), after=("DROP TABLE prove_total",))
    lock = _held_lock("SELECT * FROM prove_total FOR UPDATE", hold, pause)
    return together(counted, lock)


def table_lock(hold: float, pause: float = 500) -> Planter:
    """Hold, again and again, a lock of the table pet that excludes everything else."""
    return _held_lock("LOCK TABLE pet IN ACCESS EXCLUSIVE MODE", hold, pause)


def _held_lock(statement: str, hold: float, pause: float) -> Planter:
    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        async def work(stopped: threading.Event) -> None:
            connection = await stack.connect()
            try:
                while not stopped.is_set():
                    async with connection.transaction():
                        await connection.execute(statement)
                        await asyncio.sleep(hold / 1000)
                    await asyncio.sleep(pause / 1000)
            finally:
                await connection.close()

        with _in_background(lambda stopped: asyncio.run(work(stopped))):
            yield {}

    return plant


def slow_flushes(milliseconds: float) -> Planter:
    """Let PostgreSQL's flushes to disk take longer."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        library = stack.config.state / "slow_flush.so"
        compile_library(Path(__file__).with_name("slow_flush.c"), library)
        environment = {"LD_PRELOAD": str(library), "SLOW_FLUSH_MS": str(milliseconds)}
        with stack.replaced("postgres", environment):
            yield {}

    return plant


def compile_library(source: Path, library: Path) -> None:
    if sys.platform != "linux":
        raise CannotPlantError("flushes can be made slower on Linux only")
    uv = os.environ.get("UV") or shutil.which("uv")
    if compiler := shutil.which("cc"):
        command = [compiler]
    elif uv:
        command = [uv, "tool", "run", "--from", "ziglang", "python-zig", "cc"]
    else:
        raise CannotPlantError("neither cc nor uv, which can fetch a compiler, is on PATH")
    command += ["-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own source
    if compiled.returncode:
        raise CannotPlantError(
            f"{source.name} cannot be compiled: {compiled.stderr.strip()[-300:]}"
        )
    library.chmod(0o755)  # PostgreSQL may run as another user


# In the API


def small_pool(size: int = 1) -> Planter:
    """Let the API have this many connections."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        with stack.replaced("api", {"CLINIC_POOL_SIZE": str(size)}):
            yield {}

    return plant


def slow_handler(kind: str, milliseconds: float, **environment: str) -> Planter:
    """Let the handler of POST /owners `burn` CPU time or `block` the event loop."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        program = (sys.executable, "-m", "performance.prove.slow_api", kind, str(milliseconds))
        with stack.replaced("api", environment, program):
            yield {}

    return plant


def halted_api(halt: float, pause: float = 100) -> Planter:
    """Halt the API's process again and again."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        api = stack.process("api")
        with _halted(lambda: api, halt, pause):
            yield {}

    return plant


# Around the two


def slow_network(milliseconds: float) -> Planter:
    """Put a proxy before the API that delays each direction."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[Settings]:
        port = free()
        ports = (str(port), str(stack.config.clinic_port))
        command = [sys.executable, "-m", "performance.prove.slow_proxy", *ports, str(milliseconds)]
        with subprocess.Popen(  # noqa: S603 - our own interpreter
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as proxy:
            assert proxy.stdin is not None  # noqa: S101 - because of PIPE above
            assert proxy.stdout is not None  # noqa: S101 - because of PIPE above
            try:
                if proxy.stdout.readline() != b"ready\n":
                    raise CannotPlantError("the delaying proxy did not start")
                yield {"BASE_URL": f"http://{HOST}:{port}"}
            finally:
                proxy.terminate()

    return plant


def busy_machine(programs_per_cpu: float = BUSY_PROGRAMS_PER_CPU) -> Planter:
    """Let other programs compete for every CPU."""

    @contextmanager
    def plant(_: Stack) -> Iterator[Settings]:
        count = max(1, round(programs_per_cpu * (os.cpu_count() or 1)))
        command = [sys.executable, "-c", BUSY]
        programs = [subprocess.Popen(command) for _ in range(count)]  # noqa: S603 - our own interpreter
        try:
            yield {}
        finally:
            for program in programs:
                program.kill()
            for program in programs:
                program.wait()

    return plant


# In the load generator


def halted_generator(halt: float, pause: float = 100) -> Planter:
    """Halt k6 again and again."""

    @contextmanager
    def plant(_: Stack) -> Iterator[Settings]:
        with _halted(running_k6, halt, pause):
            yield {}

    return plant


def running_k6() -> psutil.Process | None:
    """Find the k6 that runs the load, started by a process that this one has started."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.name() == "k6" and "run" in process.cmdline():
                return process
    return None


@contextmanager
def _halted(find: Callable[[], psutil.Process | None], halt: float, pause: float) -> Iterator[None]:
    halts = 0

    def work(stopped: threading.Event) -> None:
        nonlocal halts
        process = None
        while not stopped.wait(pause / 1000):
            with suppress(psutil.NoSuchProcess):
                if process is None or not process.is_running():
                    process = find()
                if process:
                    process.suspend()
                    try:
                        stopped.wait(halt / 1000)
                    finally:
                        process.resume()
                    halts += 1

    with _in_background(work):
        yield
    if not halts:
        raise UserError("The process to halt was not found.")


@contextmanager
def _in_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function in a thread until the end of the block; raise what it raised."""
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work, stopped)
        try:
            yield
        finally:
            stopped.set()
        working.result()
