"""A native stack of its own: free ports, and its state in a temporary folder."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import psutil

from lab.errors import UserError
from lab.paths import PROJECT, RESULTS_VARIABLE
from lab.stack import services
from lab.stack.base import ignore_interrupts
from lab.stack.config import BACKEND_VARIABLE, PORTS, STATE_VARIABLE, StackConfig
from lab.stack.native import NATIVE, NativeStack
from lab.stack.ports import free_ports
from lab.stack.service import Service, StartedStack

STATEMENT_SECONDS = 30
INTERRUPT_SECONDS = 30
RESTART_SECONDS = 120
POLL_SECONDS = 0.1


class Stack:
    """A running stack whose services can be replaced for a while."""

    def __init__(self, state: Path, results: Path) -> None:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.config = StackConfig(state, **{name.lower(): port for name, port in ports.items()})
        self.environment = {
            **os.environ,
            **{name: str(port) for name, port in ports.items()},
            STATE_VARIABLE: str(state),
            RESULTS_VARIABLE: str(results),
            BACKEND_VARIABLE: NATIVE,
        }
        self.results = results
        self.native = NativeStack(self.config)
        self.services: dict[str, Service] = {}

    def up(self) -> None:
        self.run("up")
        internal = StartedStack.load(self.config).internal_ports
        self.services = {it.name: it for it in services.assemble(self.config, internal)}

    def down(self) -> None:
        with ignore_interrupts():
            self.run("down")

    def run(self, *words: str) -> None:
        finished = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "lab", *words],
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise UserError(f"`just {' '.join(words)}` failed:\n{finished.stdout}")

    def run_load(self, profile: str, settings: Mapping[str, str]) -> str:
        """Run the load test as `just` does, and return the run's id; Ctrl-C ends it."""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "lab", "run", profile],
                cwd=PROJECT,
                env={**self.environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches it through this process, once
            )
            try:
                process.wait()
            except BaseException:
                process.terminate()  # a shell may have let SIGINT be ignored
                try:
                    process.wait(INTERRUPT_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
            output.seek(0)
            text = output.read()
        started = re.search(r"^Run (\S+) against", text, re.MULTILINE)
        if not started:
            raise UserError(f"The load test did not start:\n{text[-2000:]}")
        if not (self.results / f"{started[1]}.json").exists():
            # On a busy machine Prometheus may not have answered in time; it has the run still.
            self.run("report", started[1])
        return started[1]

    def process(self, service: str) -> psutil.Process:
        return psutil.Process(self.native.supervisor.process(service).pid)

    def kill(self, *names: str) -> None:
        """Send SIGKILL to services and to the processes that they have started.

        The supervisor starts them again.
        """
        processes = [self.process(name) for name in names]
        for process in processes:
            children = process.children(recursive=True)
            for one in (process, *children):
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)

    def wait_until_ready(self, *names: str, seconds: float = RESTART_SECONDS) -> None:
        """Wait until services answer that they are ready, whoever starts them."""
        deadline = time.monotonic() + seconds
        for name in names or self.services:
            while not self.services[name].ready():
                if time.monotonic() > deadline:
                    raise UserError(f"{name} was not ready again after {seconds} s.")
                time.sleep(POLL_SECONDS)

    @contextmanager
    def replaced(
        self, name: str, environment: Mapping[str, str], command: Sequence[str] = ()
    ) -> Iterator[None]:
        """Run a service with more environment variables, and perhaps another command line.

        The supervisor runs it like the original, so that all else stays as it is.
        """
        original = self.services[name]
        other = replace(
            original,
            environment={**original.environment, **environment},
            command=tuple(command) or original.command,
        )
        try:
            self._restart(other)
            yield
        finally:
            with ignore_interrupts():
                self._restart(original)

    def _restart(self, service: Service) -> None:
        self.services[service.name] = service
        supervisor = self.native.supervisor
        supervisor.reload(self.services.values())
        supervisor.stop(service.name)
        supervisor.replace(service.name)
        supervisor.start(service.name)
        self.native.wait_until_ready(service)

    async def connect(self) -> asyncpg.Connection:
        """Connect to the database as another program than the API."""
        url = self.config.database_url.replace("+asyncpg", "")
        settings = {"application_name": "performance"}
        return await asyncpg.connect(url, server_settings=settings)

    def value(self, statement: str) -> object:
        """Return the only value that a statement selects."""

        async def run() -> object:
            connection = await self.connect()
            try:
                return await connection.fetchval(statement, timeout=STATEMENT_SECONDS)
            finally:
                await connection.close()

        return asyncio.run(run())

    def execute(self, *statements: str) -> None:
        async def run() -> None:
            connection = await self.connect()
            try:
                for statement in statements:
                    await connection.execute(statement, timeout=STATEMENT_SECONDS)
            finally:
                await connection.close()

        asyncio.run(run())


@contextmanager
def temporary_stack(results: Path, **environment: str) -> Iterator[Stack]:
    """Start a stack below the system's temporary folder; stop it and remove its data at the end.

    The environment adds to this process's own. As root PostgreSQL runs as another user, who has to
    reach its data.
    """
    folder = Path(tempfile.mkdtemp(prefix="clinic-"))
    stack = Stack(folder / "state", results)
    stack.environment |= environment
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(folder)
