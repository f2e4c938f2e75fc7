"""The servers that are compared, pinned to a core, and what they use."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from clinic.settings import Settings
from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import HOST
from lab.stack.ports import free
from tests.support.clinic import migrated_database
from tests.support.rows import MAY_FILL

SERVER_CORE, LOAD_CORE = 0, 1
BOTH = frozenset({SERVER_CORE, LOAD_CORE})
HERE = Path(__file__).parent
START_SECONDS = 60
STOP_SECONDS = 30
PACKAGES = (
    "fastapi==0.165.0",
    "pydantic[email]==2.13.4",
    "sqlalchemy==2.0.58",
    "uvicorn[standard]==0.54.0",
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-fastapi==0.66b1",
    "opentelemetry-instrumentation-sqlalchemy==0.66b1",
)
"""The reference's own; SQLAlchemy is the newest that its instrumentation supports."""
UVICORN = ("uvicorn", "--host", HOST, "--no-access-log", "--log-level", "warning", "--port", "{}")
CLINIC = (sys.executable, "-m", "clinic")
NESTED = {"REFERENCE_NESTED": "1"}


@dataclass(frozen=True)
class Server:
    command: Sequence[str]
    """`{}` stands for the port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    traced: bool = False
    cores: frozenset[int] = frozenset({SERVER_CORE})


def reference(*, traced: bool, **environment: str) -> Server:
    uv = (os.environ.get("UV", "uv"), "run", "--quiet", "--isolated", "--no-project")
    options = ("--python", sys.executable, *(f"--with={package}" for package in PACKAGES))
    instrument = ("opentelemetry-instrument",) if traced else ()
    app = ("reference:app", "--app-dir", str(HERE))
    return Server((*uv, *options, *instrument, *UVICORN, *app), environment, traced)


SERVERS = {
    "floor": Server((sys.executable, "-m", *UVICORN, "performance.bench.floor:app")),
    "clinic": Server(CLINIC, {"OTEL_SDK_DISABLED": "true"}),
    "clinic, traced": Server(CLINIC, traced=True),
    "clinic, traced, 2 workers": Server(CLINIC, {"CLINIC_WORKERS": "2"}, traced=True, cores=BOTH),
    "reference": reference(traced=False),
    "reference, traced": reference(traced=True),
    "reference, nested": reference(traced=False, **NESTED),
    "reference, nested, traced": reference(traced=True, **NESTED),
}


SINK = Server(
    (sys.executable, "-m", *UVICORN, "--lifespan", "off", "performance.bench.sink:app"),
    cores=frozenset({LOAD_CORE}),
)


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """Start processes on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def database() -> Iterator[Settings]:
    """Run PostgreSQL with empty tables beside the load."""
    with ExitStack() as stack:
        with on_cores(LOAD_CORE):
            settings = stack.enter_context(migrated_database(MAY_FILL))
        yield settings


@contextmanager
def running(server: Server, **environment: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server; return its address and its process. At the end it stops in order."""
    port = free()
    settings = {**os.environ, "CLINIC_PORT": str(port), **environment, **server.environment}
    command = [word.replace("{}", str(port)) for word in server.command]
    with on_cores(*server.cores):
        process = subprocess.Popen(  # noqa: S603 our own servers
            command, cwd=PROJECT, env=settings, stdout=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"`{' '.join(command)}` did not start.")
            time.sleep(0.05)
        yield f"http://{HOST}:{port}", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process and those below it."""
    return sum(sum(it.cpu_times()[:2]) for it in family(process))


def resident_megabytes(process: psutil.Process) -> float:
    return float(sum(it.memory_info().rss for it in family(process))) / 1e6


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and those below it, without uv, which only starts one."""
    return [it for it in (process, *process.children(recursive=True)) if it.name() != "uv"]


class OtherCpu:
    """The share of the machine's CPU time that other programs used."""

    def __init__(self) -> None:
        self.began = self.read()

    def share(self) -> float:
        total, busy, own = (now - then for now, then in zip(self.read(), self.began, strict=True))
        return max(0.0, busy - own) / total

    @staticmethod
    def read() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0)
        ended = os.times()
        own = cpu_seconds(psutil.Process()) + ended.children_user + ended.children_system
        return total, total - times.idle - getattr(times, "iowait", 0), own
