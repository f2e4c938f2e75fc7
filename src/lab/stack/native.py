"""Bring the stack up and down: in order, each part ready before the next, or nothing at all."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from filelock import FileLock, Timeout
from rich.console import Console

from lab.console import say, short_path
from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack import ports, postgres
from lab.stack import services as service_files
from lab.stack.base import UP, ServiceError, ServiceStatus, line_migrated, line_ready, links
from lab.stack.config import StackConfig, ports_from_env, saved_ports
from lab.stack.services import Service, api_environment
from lab.stack.supervisor import POLL_SECONDS, Supervisor, around_proxies

TAIL_LINES = 15
BYTES_A_LINE = 400
MIGRATION_SECONDS = 120
API = "api"
NATIVE = "native"
FOLLOW_SECONDS = 0.3


def failed(sentence: str, log: Path, since: int = 0) -> ServiceError:
    return ServiceError(sentence, str(log), tail(log, since=since))


class NativeStack:
    """The stack as processes of this machine, in one state folder."""

    def __init__(self, config: StackConfig) -> None:
        self.config = config
        self.supervisor = Supervisor(config.state)

    def up(self) -> None:
        """Start whatever does not run; a failure takes back what this call started."""
        self.make_state_folder()
        with self.alone():
            if self.supervisor.running():
                self.complete()
            else:
                self.start_all()

    def down(self) -> None:
        if not self.config.state.exists():
            click.echo("Nothing runs, so there is nothing to stop.")
            return
        with self.alone():
            if self.supervisor.running():
                self.stop_all()
                click.echo(f"The stack is down; its data stays in {short_path(self.config.state)}.")
            elif names := self.supervisor.clear_leftovers():
                self.config.saved.unlink(missing_ok=True)
                click.echo(f"Stopped what had outlived its supervisor: {', '.join(sorted(names))}.")
            else:
                self.config.saved.unlink(missing_ok=True)
                click.echo("Nothing runs, so there is nothing to stop.")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one command at a time change what runs."""
        lock = FileLock(self.config.state / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("Another command is bringing the stack up or down; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make_state_folder(self) -> None:
        state = self.config.state
        try:
            state.mkdir(parents=True, exist_ok=True)
            self.supervisor.logs.mkdir(exist_ok=True)
            (state / "lock").touch()
        except OSError as error:
            raise UserError(
                f"The stack keeps its data in {state}, which cannot be written "
                f"({error.strerror or error}). Make it writable, or name another folder by "
                "CLINIC_STATE_DIR."
            ) from error

    def complete(self) -> None:
        """Start the parts of a running stack that have died."""
        for name, port in saved_ports(self.config.state).items():
            wanted = ports_from_env().get(name, port)
            if wanted != port:
                raise UserError(
                    f"The stack already runs with {name}={port}, and {wanted} is asked for; "
                    "`just down` first, then `just up`."
                )
        services = service_files.saved(self.config)
        dead = [service for service in services if not self.supervisor.process(service.name).alive]
        started: list[Service] = []
        try:
            for service in services:
                if service in dead:
                    started.append(service)
                    self.start(service)
                elif not service.ready():
                    self.wait_until_ready(service)
        except BaseException:
            with uninterrupted():
                for service in reversed(started):
                    self.supervisor.stop(service)
            raise
        if not dead:
            click.echo("The stack is up already; nothing was changed.")
        self.tell(services)

    def start_all(self) -> None:
        if names := self.supervisor.clear_leftovers():
            say(f"Stopped what had outlived its supervisor: {', '.join(sorted(names))}.")
        ports.check(service_files.listening_ports(self.config))
        postgres.prepare(self.config)
        services = service_files.assemble(self.config)
        service_files.save(services, self.config)
        try:
            self.supervisor.launch(services)
            self.config.save(NATIVE)
            for service in services:
                self.start(service)
        except BaseException:
            with uninterrupted():
                if self.supervisor.running():
                    say("Stopping what was started.")
                    self.stop_all(quiet=True)
            raise
        self.tell(services)

    def start(self, service: Service) -> None:
        if service.name == API:
            self.migrate()
        started = time.monotonic()
        written = size(self.supervisor.log(service.name))
        with Console(stderr=True).status(f"starting {service.name} {service.version}"):
            self.supervisor.start(service.name)
            self.wait_until_ready(service, since=written)
        seconds = time.monotonic() - started
        click.echo(line_ready(service.name, service.version, seconds, service.address))

    def wait_until_ready(self, service: Service, since: int = 0) -> None:
        """Wait for the part's own word that it serves; its first death or silence is an error."""
        log = self.supervisor.log(service.name)
        deadline = time.monotonic() + service.start_seconds
        pid = 0
        while True:
            process = self.supervisor.process(service.name)
            pid = pid or process.pid
            if not process.alive or (process.pid and process.pid != pid):
                raise failed(
                    f"{service.name} {process.words}; its log says why. Mend that and try `just up` "
                    "again.",
                    log,
                    since,
                )
            if service.ready():
                return
            if time.monotonic() > deadline:
                raise failed(
                    f"{service.name} runs but was not ready at {service.address} within "
                    f"{service.start_seconds} s; its log may say why.",
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
                    env={**os.environ, **around_proxies(), **api_environment(self.config)},
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
        for service in reversed(service_files.saved(self.config)):
            with Console(stderr=True).status(f"stopping {service.name}"):
                seconds = self.supervisor.stop(service)
            if quiet or seconds is None:
                continue
            killed = seconds >= service.stop_seconds
            how = "killed, as it did not stop by itself," if killed else "stopped"
            click.echo(f"{service.name:<13} {how} in {seconds:>4.1f} s")
        self.supervisor.shutdown()
        self.supervisor.clear_leftovers()
        self.config.saved.unlink(missing_ok=True)

    def tell(self, services: list[Service]) -> None:
        """Say where everything is and what to type next."""
        click.echo(
            links(
                {service.name: service.address for service in services},
                f"in {short_path(self.config.password_file)}",
                f"{short_path(self.supervisor.logs)}, or ",
            )
        )

    def states(self) -> list[ServiceStatus]:
        """Tell of each part, or of none where no supervisor runs."""
        if not self.supervisor.running():
            return []
        return [self.state_of(service) for service in service_files.saved(self.config)]

    def state_of(self, service: Service) -> ServiceStatus:
        process = self.supervisor.process(service.name)
        state, uptime = f"down ({process.words})", "-"
        if process.alive:
            state, uptime = UP if service.ready() else "not answering", span(process.seconds)
        return ServiceStatus(service.name, service.version, state, uptime, service.address)

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last lines of a part's log, or of all, and what is added."""
        kept = sorted(path.stem for path in self.supervisor.logs.glob("*.log"))
        if service and service not in kept:
            known = f"there are logs of {', '.join(kept)}" if kept else "nothing was started yet"
            raise UserError(f"There is no log of {service!r}; {known}.")
        names = [service] if service else kept
        if not names:
            click.echo("Nothing was started yet; `just up` starts the stack.")
        places = {}
        for name in names:
            log = self.supervisor.log(name)
            places[name] = log.stat().st_size
            for line in tail(log, lines if service else min(lines, 10)):
                click.echo(line if service else f"{name} | {line}")
        with suppress(KeyboardInterrupt):
            while follow:
                time.sleep(FOLLOW_SECONDS)
                for name in names:
                    places[name] = self.show_more(name, places[name], prefix=not service)

    def show_more(self, name: str, place: int, *, prefix: bool) -> int:
        """Print what a log gained since a place in it, and give the new place."""
        log = self.supervisor.log(name)
        if not log.exists():
            return 0
        if log.stat().st_size < place:
            place = 0
        with log.open("rb") as file:
            file.seek(place)
            more = file.read()
        complete = more[: more.rfind(b"\n") + 1]
        for line in complete.decode(errors="replace").splitlines():
            click.echo(f"{name} | {line}" if prefix else line)
        return place + len(complete)

    def data(self) -> str:
        """Name the folder of state, where there is one."""
        return str(short_path(self.config.state)) if self.config.state.exists() else ""

    def destroy(self) -> None:
        """Stop all of it and remove the folder of state."""
        self.down()
        shutil.rmtree(self.config.state)


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


def span(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
