"""The native backend: the stack as processes under supervisord, with its data in a state folder."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout
from rich.console import Console

from lab.console import duration, echo, say, short_path
from lab.errors import UserError
from lab.paths import PROJECT, results_folder
from lab.stack import log_lines, ports, postgres, programs, services
from lab.stack.base import (
    UP,
    ServiceError,
    ServiceStatus,
    ignore_interrupts,
    overview,
    unknown_service,
)
from lab.stack.config import (
    OWNER_ROLE,
    StackConfig,
    check_removable,
    claim,
    ports_from_env,
    saved_ports,
)
from lab.stack.inherited import base_environment
from lab.stack.log_lines import LogLine
from lab.stack.service import InternalPorts, Service, StartedStack
from lab.stack.services import API, api_environment, is_api
from lab.stack.supervisor import POLL_SECONDS, Supervisor
from lab.stack.tail import new_lines, size, split_lines, tail

NATIVE = "native"
POSTGRES = "postgres"
MIGRATION_SECONDS = 7200  # a statement may take an hour, and waits for locks
FOLLOW_SECONDS = 0.3


class NativeStack:
    def __init__(self, config: StackConfig, reason: str = "") -> None:
        """Take the reason for this backend if it is the default; `up` prints it."""
        self.config = config
        self.reason = reason
        self.supervisor = Supervisor(config.state)

    def up(self) -> None:
        """Start all services, or those of a running stack that are down or have changed.

        A first start that fails stops everything again.
        """
        self.make_state_folder()
        with self.lock():
            if self.supervisor.running():
                self.check_ports()
                if not self.update():
                    echo("The stack is already up; nothing changed.")
            else:
                self.start_all()
            self.print_overview()

    def down(self) -> None:
        if not self.config.state.exists():
            echo("Nothing is running.")
            return
        with self.lock():
            if self.supervisor.running():
                self.stop_all()
                echo(f"The stack is down; its data stays in {short_path(self.config.state)}.")
                return
            self.config.saved.unlink(missing_ok=True)
            if not self.end_orphans():
                echo("Nothing is running.")

    def restart(self, service: str) -> None:
        self.make_state_folder()
        with self.lock():
            if not self.supervisor.running():
                raise UserError("Nothing is running; `just up` starts the stack.")
            self.update(service)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one command at a time start and stop services."""
        lock = FileLock(self.config.state / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("Waiting for another command that starts or stops the stack.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make_state_folder(self) -> None:
        state = self.config.state
        try:
            claim(state)
            results_folder().mkdir(parents=True, exist_ok=True)
            os.umask(0o077)
            self.supervisor.logs.mkdir(exist_ok=True)
            (state / "lock").touch()
        except OSError as error:
            raise UserError(
                f"The state folder {state} cannot be written ({error.strerror or error}). "
                "Make it writable, or choose another folder with CLINIC_STATE_DIR."
            ) from error

    def end_orphans(self) -> bool:
        names = self.supervisor.end_orphans()
        if names:
            say(f"Ended services whose supervisor had been killed: {', '.join(names)}.")
        return bool(names)

    def check_ports(self) -> None:
        for name, port in saved_ports(self.config.state).items():
            wanted = ports_from_env().get(name, port)
            if wanted != port:
                raise UserError(
                    f"The stack already runs with {name}={port}; to use {wanted}, run `just down` "
                    "and then `just up`."
                )

    def start_all(self) -> None:
        if self.reason:
            say(f"Backend: native ({self.reason}). STACK_BACKEND=docker or native selects one.")
        self.end_orphans()
        ports.check(services.listening_ports(self.config))
        postgres.prepare(self.config)
        services.remove_written_config(self.config)
        internal = InternalPorts.free().with_replicas(self.config.replicas)
        stack = services.assemble(self.config, internal)
        started = StartedStack({it.name: it.without_secrets() for it in stack}, internal)
        started.save(self.config)
        first_api = next(service for service in stack if is_api(service.name))
        if any(service.name == "jaeger" for service in stack):
            say(
                f"Jaeger stores the traces: Tempo {programs.oldest('tempo')} or newer is not on "
                "PATH."
            )
        try:
            self.supervisor.launch(stack)
            self.config.save(NATIVE)
            for service in stack:
                if service == first_api:
                    self.migrate()
                self.start(service)
        except BaseException:
            with ignore_interrupts():
                if self.supervisor.running():
                    say("Stopping the services that were started.")
                    self.stop_all(quiet=True)
            raise

    def update(self, only: str | None = None) -> list[str]:
        """Start or restart one service, or all that are down or have changed; return which.

        Replicas of the API restart one after the other: the next one once this one is ready. A
        service that fails to start is stopped; the others stay as they are.
        """
        postgres.check_major(postgres.data_directory(self.config))  # before anything stops
        started = StartedStack.load(self.config)
        internal = started.internal_ports.with_replicas(self.config.replicas)
        started = StartedStack(started.services, internal)
        wanted = {it.name: it for it in services.assemble(self.config, internal)}
        chosen = selected(only, wanted) if only else []
        if only and not chosen:
            raise unknown_service(only, list(wanted))
        self.config.save(NATIVE)
        self.supervisor.reload(wanted.values())
        for name in started.services.keys() - wanted.keys():
            self.supervisor.stop(name)
            self.supervisor.remove(name)
            del started.services[name]
            echo(f"{name:<17} stopped: it is no longer part of the stack")
        reasons = {
            name: self.restart_reason(service, started.services.get(name))
            for name, service in wanted.items()
        }
        due = chosen or [name for name, reason in reasons.items() if reason]
        first_api = next(filter(is_api, due), None)
        for name in due:
            if reasons[name]:
                echo(f"{name:<17} {reasons[name]}")
            if name == first_api:
                self.migrate()
            self.supervisor.stop(name)
            if name == POSTGRES:
                postgres.prepare(self.config)
            self.supervisor.replace(name)
            started.services[name] = wanted[name].without_secrets()
            started.save(self.config)
            self.start(wanted[name])
        for name in [] if only else wanted:
            if not wanted[name].ready():
                self.wait_until_ready(wanted[name])
        return due

    def restart_reason(self, service: Service, started: Service | None) -> str:
        """Say why a service has to be started or restarted; empty if it need not."""
        if started is None:
            return "is new"
        process = self.supervisor.process(service.name)
        if not process.alive:
            return f"is down ({process.reason})"
        changes = service.changes(started)
        if (service.name == POSTGRES or is_api(service.name)) and postgres.lacks_roles(self.config):
            changes = ["the database's roles", *changes]
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return f"restarts: {changes[0]}{more} changed" if changes else ""

    def start(self, service: Service) -> None:
        started = time.monotonic()
        log_size = size(self.supervisor.log(service.name))
        try:
            with Console(stderr=True).status(f"starting {service.name} {service.version}"):
                self.supervisor.start(service.name)
                self.wait_until_ready(service, log_size)
        except BaseException:
            with ignore_interrupts():
                self.supervisor.stop(service.name)
            raise
        seconds = time.monotonic() - started
        echo(
            f"{service.name:<17} {service.version:<8} ready in {seconds:>4.1f} s  {service.address}"
        )

    def wait_until_ready(self, service: Service, log_start: int = 0) -> None:
        """Wait until a service is ready; raise when it exits or `start_seconds` are over."""
        deadline = time.monotonic() + service.start_seconds
        pid = 0
        while True:
            process = self.supervisor.process(service.name)
            pid = pid or process.pid
            # Another process id: supervisord has restarted it.
            if not process.alive or (process.pid and process.pid != pid):
                raise self.failure(
                    f"{service.name} did not start ({process.reason}). Fix the cause and run "
                    "`just up` again.",
                    service.name,
                    log_start,
                )
            if service.ready():
                return
            if time.monotonic() > deadline:
                raise self.failure(
                    f"{service.name} runs but was not ready at {service.address} within "
                    f"{service.start_seconds} s. Fix the cause and run `just up` again.",
                    service.name,
                    log_start,
                )
            time.sleep(POLL_SECONDS)

    def failure(self, message: str, service: str, log_start: int = 0) -> ServiceError:
        log = self.supervisor.log(service)
        return ServiceError(message, str(short_path(log)), tail(log, start=log_start))

    def migrate(self) -> None:
        """Migrate the database to the newest schema."""
        started = time.monotonic()
        with (
            self.supervisor.log("migrations").open("w") as output,
            Console(stderr=True).status("migrating the database"),
        ):
            try:
                status = subprocess.run(
                    [sys.executable, "-m", "clinic", "migrate"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=PROJECT,
                    env={
                        **base_environment(),
                        **api_environment(self.config, self.config.database_url),
                    },
                    timeout=MIGRATION_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise self.failure(
                    f"The migrations did not finish within {MIGRATION_SECONDS} s. Fix the cause "
                    "and run `just up` again.",
                    "migrations",
                ) from error
        if status:
            raise self.failure(
                f"The migrations failed (exit code {status}). Fix the cause and run `just up` "
                "again.",
                "migrations",
            )
        echo(f"{'migrations':<17} {'':<8} done in {time.monotonic() - started:>5.1f} s")

    def stop_all(self, *, quiet: bool = False) -> None:
        """Stop the services, the last started first, and supervisord."""
        for service in reversed(StartedStack.load(self.config).services.values()):
            with Console(stderr=True).status(f"stopping {service.name}"):
                seconds = self.supervisor.stop(service.name)
            if not quiet and seconds is not None:
                killed = seconds >= service.stop_seconds
                how = "killed after" if killed else "stopped in"
                echo(f"{service.name:<17} {how} {seconds:>4.1f} s")
        self.supervisor.shutdown()
        self.supervisor.end_orphans()
        self.config.saved.unlink(missing_ok=True)

    def print_overview(self) -> None:
        started = StartedStack.load(self.config).services.values()
        echo(
            overview(
                {service.name: service.address for service in started},
                f"in {short_path(self.config.password_file)}",
                f"{short_path(self.supervisor.logs)}, or ",
            )
        )

    def states(self) -> list[ServiceStatus]:
        if not self.supervisor.running():
            return []
        return [self.state(service) for service in StartedStack.load(self.config).services.values()]

    def state(self, service: Service) -> ServiceStatus:
        process = self.supervisor.process(service.name)
        state, uptime = f"down ({process.reason})", "-"
        if process.alive:
            state, uptime = UP if service.ready() else "not answering", duration(process.seconds)
        return ServiceStatus(service.name, service.version, state, uptime, service.address)

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last log lines of one service, or of all in order, and optionally new ones."""
        names = self.logged(service)
        if not names:
            echo("Nothing has been started; `just up` starts the stack.")
            return
        positions = {name: size(self.supervisor.log(name)) for name in names}
        only = names[0] if service and len(names) == 1 else None
        self.show_lines({name: tail(self.supervisor.log(name), lines) for name in names}, only)
        with suppress(KeyboardInterrupt):
            while follow:
                time.sleep(FOLLOW_SECONDS)
                new = {}
                for name, position in positions.items():
                    log = self.supervisor.log(name)
                    new[name], positions[name] = new_lines(log, position)
                self.show_lines(new, only)

    def logged(self, service: str | None) -> list[str]:
        """Name the services that have a log, or the one that is asked for."""
        existing = sorted(path.stem for path in self.supervisor.logs.glob("*.log"))
        found = selected(service, existing) if service else existing
        if existing and not found:
            raise UserError(f"There is no log of {service!r}, only of {', '.join(existing)}.")
        return found

    @staticmethod
    def show_lines(lines: Mapping[str, list[str]], service: str | None) -> None:
        if service:
            for line in lines[service]:
                echo(line)
            return
        parsed = (line for name, texts in lines.items() for line in log_lines.parse(name, texts))
        log_lines.show(log_lines.in_order(parsed))

    def log_lines(self, service: str | None = None) -> list[LogLine]:
        """Return all log lines that are kept of one service, or of all."""
        return [
            line
            for name in self.logged(service)
            # supervisord numbers older files from the newest on.
            for log in sorted(self.supervisor.logs.glob(f"{name}.log*"), reverse=True)
            for line in log_lines.parse(name, split_lines(log.read_bytes()))
        ]

    def database_url(self, role: str = OWNER_ROLE) -> str:
        return self.config.database_url_of(role)

    @contextmanager
    def without_api(self) -> Iterator[None]:
        self.make_state_folder()
        with self.lock():
            if not self.supervisor.running():
                raise UserError("Nothing is running; `just up` starts the stack.")
            for name in filter(is_api, StartedStack.load(self.config).services):
                self.supervisor.stop(name)
            try:
                yield
            finally:
                self.update(API)

    def data(self) -> str:
        if not self.config.state.exists():
            return ""
        check_removable(self.config.state)
        return str(self.config.state)

    def destroy(self) -> None:
        check_removable(self.config.state)
        self.down()
        shutil.rmtree(self.config.state)


def selected(service: str, existing: Iterable[str]) -> list[str]:
    """Return a service's own name, or for `api` the names of its replicas."""
    return [name for name in existing if name == service or (service == API and is_api(name))]
