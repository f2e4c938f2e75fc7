"""Bring the bundle up and down: in order, each part ready before the next, or nothing at all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from filelock import FileLock, Timeout
from rich.console import Console

from observability.bundle import PROJECT, Bundle, BundleError, ports_from_env, saved_ports
from observability.native import parts as bundle_parts
from observability.native import ports, postgres
from observability.native.parts import Part, api_environment
from observability.native.programs import say
from observability.native.supervise import POLL_SECONDS, Supervisor, around_proxies
from observability.way import PartError, line_migrated, line_ready, links, shown

TAIL_LINES = 15
BYTES_A_LINE = 400
MIGRATION_SECONDS = 120
API = "api"
NATIVE = "native"


def failed(sentence: str, log: Path, since: int = 0) -> PartError:
    return PartError(sentence, str(log), tail(log, since=since))


class Lifecycle:
    """The bundle of one state folder, from its start to its stop."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.supervisor = Supervisor(bundle.state)

    def up(self) -> None:
        """Start whatever does not run; a failure takes back what this call started."""
        self.make_state_folder()
        with self.alone():
            if self.supervisor.running():
                self.complete()
            else:
                self.start_all()

    def down(self) -> None:
        if not self.bundle.state.exists():
            click.echo("Nothing runs, so there is nothing to stop.")
            return
        with self.alone():
            if self.supervisor.running():
                self.stop_all()
                click.echo(f"The bundle is down; its data stays in {shown(self.bundle.state)}.")
            elif names := self.supervisor.clear_leftovers():
                self.bundle.saved.unlink(missing_ok=True)
                click.echo(f"Stopped what had outlived its supervisor: {', '.join(sorted(names))}.")
            else:
                self.bundle.saved.unlink(missing_ok=True)
                click.echo("Nothing runs, so there is nothing to stop.")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one command at a time change what runs."""
        lock = FileLock(self.bundle.state / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("Another command is bringing the bundle up or down; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make_state_folder(self) -> None:
        state = self.bundle.state
        try:
            state.mkdir(parents=True, exist_ok=True)
            self.supervisor.logs.mkdir(exist_ok=True)
            (state / "lock").touch()
        except OSError as error:
            raise BundleError(
                f"The bundle keeps its data in {state}, which cannot be written "
                f"({error.strerror or error}). Make it writable, or name another folder by "
                "CLINIC_STATE_DIR."
            ) from error

    def complete(self) -> None:
        """Start the parts of a running bundle that have died."""
        for name, port in saved_ports(self.bundle.state).items():
            wanted = ports_from_env().get(name, port)
            if wanted != port:
                raise BundleError(
                    f"The bundle already runs with {name}={port}, and {wanted} is asked for; "
                    "`just down` first, then `just up`."
                )
        parts = bundle_parts.saved(self.bundle)
        dead = [part for part in parts if not self.supervisor.process(part.name).alive]
        started: list[Part] = []
        try:
            for part in parts:
                if part in dead:
                    started.append(part)
                    self.start(part)
                elif not part.ready():
                    self.wait_until_ready(part)
        except BaseException:
            with uninterrupted():
                for part in reversed(started):
                    self.supervisor.stop(part)
            raise
        if not dead:
            click.echo("The bundle is up already; nothing was changed.")
        self.tell(parts)

    def start_all(self) -> None:
        if names := self.supervisor.clear_leftovers():
            say(f"Stopped what had outlived its supervisor: {', '.join(sorted(names))}.")
        ports.check(bundle_parts.listens_on(self.bundle))
        postgres.prepare(self.bundle)
        parts = bundle_parts.assemble(self.bundle)
        bundle_parts.save(parts, self.bundle)
        try:
            self.supervisor.launch(parts)
            self.bundle.save(NATIVE)
            for part in parts:
                self.start(part)
        except BaseException:
            with uninterrupted():
                if self.supervisor.running():
                    say("Stopping what was started.")
                    self.stop_all(quiet=True)
            raise
        self.tell(parts)

    def start(self, part: Part) -> None:
        if part.name == API:
            self.migrate()
        started = time.monotonic()
        written = size(self.supervisor.log(part.name))
        with Console(stderr=True).status(f"starting {part.name} {part.version}"):
            self.supervisor.start(part.name)
            self.wait_until_ready(part, since=written)
        seconds = time.monotonic() - started
        click.echo(line_ready(part.name, part.version, seconds, part.address))

    def wait_until_ready(self, part: Part, since: int = 0) -> None:
        """Wait for the part's own word that it serves; its first death or silence is an error."""
        log = self.supervisor.log(part.name)
        deadline = time.monotonic() + part.start_seconds
        pid = 0
        while True:
            process = self.supervisor.process(part.name)
            pid = pid or process.pid
            if not process.alive or (process.pid and process.pid != pid):
                raise failed(
                    f"{part.name} {process.words}; its log says why. Mend that and try `just up` "
                    "again.",
                    log,
                    since,
                )
            if part.ready():
                return
            if time.monotonic() > deadline:
                raise failed(
                    f"{part.name} runs but was not ready at {part.address} within "
                    f"{part.start_seconds} s; its log may say why.",
                    log,
                    since,
                )
            time.sleep(POLL_SECONDS)

    def migrate(self) -> None:
        """Bring the database to the newest revision of its schema."""
        log = self.supervisor.log("migrations")
        started = time.monotonic()
        with log.open("w") as said, Console(stderr=True).status("migrating the database"):
            try:
                status = subprocess.run(
                    [sys.executable, "-m", "clinic", "migrate"],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    cwd=PROJECT,
                    env={**os.environ, **around_proxies(), **api_environment(self.bundle)},
                    timeout=MIGRATION_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise failed(
                    f"The migrations did not end within {MIGRATION_SECONDS} s; their log may say "
                    "what they wait for.",
                    log,
                ) from error
        if status:
            raise failed(
                f"The migrations failed (exit code {status}); their log says why. Mend that and "
                "try `just up` again.",
                log,
            )
        seconds = time.monotonic() - started
        click.echo(line_migrated(seconds))

    def stop_all(self, *, quiet: bool = False) -> None:
        """Stop every part, the last started first, then the supervisor."""
        for part in reversed(bundle_parts.saved(self.bundle)):
            with Console(stderr=True).status(f"stopping {part.name}"):
                seconds = self.supervisor.stop(part)
            if quiet or seconds is None:
                continue
            killed = seconds >= part.stop_seconds
            how = "killed, as it did not stop by itself," if killed else "stopped"
            click.echo(f"{part.name:<13} {how} in {seconds:>4.1f} s")
        self.supervisor.shutdown()
        self.supervisor.clear_leftovers()
        self.bundle.saved.unlink(missing_ok=True)

    def tell(self, parts: list[Part]) -> None:
        """Say where everything is and what to type next."""
        click.echo(
            links(
                {part.name: part.address for part in parts},
                f"in {shown(self.bundle.password_file)}",
                f"{shown(self.supervisor.logs)}, or ",
            )
        )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish cleaning up even when Ctrl-C comes again."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in kept:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def tail(log: Path, lines: int = TAIL_LINES, since: int = 0) -> list[str]:
    """Give the last lines of a log, none from before a place in it."""
    end = size(log)
    if end == 0:
        return []
    with log.open("rb") as file:
        file.seek(max(0, end - BYTES_A_LINE * lines, since if since <= end else 0))
        return file.read().decode(errors="replace").splitlines()[-lines:]
