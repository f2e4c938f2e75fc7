"""The stack in containers: brought up and down, its states, its logs, its end."""

import re
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version as installed
from typing import Any

import click
from rich.console import Console

from lab.console import say
from lab.errors import UserError
from lab.stack import ports
from lab.stack.base import UP, ServiceError, ServiceStatus, line_migrated, line_ready, links
from lab.stack.config import StackConfig
from lab.stack.docker_engine import DOCKER, Engine, last_line
from lab.stack.native import uninterrupted

WAIT_SECONDS = 240
POLL_SECONDS = 0.5
LOG_LINES = 15
LOG_LINE = re.compile(r"^(?P<part>[\w-]+?)-\d+\s+\| ?")
NATIVE_HINT = "`STACK_BACKEND=native just up` runs the stack without containers."
PASSWORD = "by `docker compose exec postgres cat /run/clinic/postgres-password`"  # noqa: S105


class DockerStack:
    """What the commands do where a Docker engine runs."""

    def __init__(self, config: StackConfig) -> None:
        self.config = config
        self.engine = Engine(config)

    @property
    def addresses(self) -> dict[str, str]:
        """Say where this machine reaches each part, in the order of their start."""
        return {
            "postgres": f"127.0.0.1:{self.config.postgres_port}",
            "prometheus": self.config.prometheus_url,
            "tempo": self.config.traces_url,
            "notifications": "`just logs notifications`",
            "alertmanager": self.config.alertmanager_url,
            "grafana": self.config.grafana_url,
            "api": self.config.api_url,
        }

    def up(self) -> None:
        """Start whatever does not run; a failure takes back what this call started."""
        self.config.state.mkdir(parents=True, exist_ok=True)
        running = {
            service["Service"]
            for service in self.engine.containers()
            if service["State"] == "running"
        }
        if not running:
            ports.check(self.config.ports)
        self.fetch()
        self.build()
        try:
            self.start()
        except BaseException:
            if not running:
                say("Stopping what was started.")
                with uninterrupted():
                    self.engine.ask("down")
            raise
        self.config.save(DOCKER)
        click.echo(links(self.addresses, PASSWORD, ""))

    def fetch(self) -> None:
        """Pull the images that are not here: the only time that the internet is needed."""
        missing = self.engine.missing_images()
        for number, image in enumerate(missing, 1):
            say(f"Fetching image {number} of {len(missing)}, once: {image}")
            pulled = self.engine.run(DOCKER, "pull", "--quiet", image)
            if pulled.returncode:
                raise UserError(
                    f"The image {image} is not here and cannot be pulled "
                    f"({last_line(pulled.stderr)}). Missing: {', '.join(missing[number - 1 :])}. "
                    f"Try again with the registry in reach, or {NATIVE_HINT}"
                )

    def build(self) -> None:
        started = time.monotonic()
        with Console(stderr=True).status("building the API's image"):
            built = self.engine.run(*self.engine.compose("build", "api"))
        if built.returncode:
            raise ServiceError(
                "The API's image could not be built. Mend what the last lines say and try again, "
                f"or {NATIVE_HINT}",
                "the build",
                (built.stdout + built.stderr).splitlines()[-LOG_LINES:],
            )
        click.echo(f"{'image':<13} {'':<8} built in {time.monotonic() - started:>4.1f} s")

    def start(self) -> None:
        """Start the services in the order of compose.yaml, telling of each that is ready."""
        started = time.monotonic()
        before = {
            service["ID"]
            for service in self.engine.containers()
            if is_up(service) or has_ended_well(service)
        }
        told: set[str] = set()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(  # noqa: S603 - docker, from PATH
                self.engine.compose(
                    "up", "--detach", "--wait", f"--wait-timeout={WAIT_SECONDS}", *self.addresses
                ),
                env=self.engine.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            with Console(stderr=True).status("starting the containers"):
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    self.tell(told, before, time.monotonic() - started)
            self.tell(told, before, time.monotonic() - started)
            if process.returncode:
                said.seek(0)
                raise self.failure(last_line(said.read()))
        if not told:
            click.echo("The stack is up already; nothing was changed.")

    def tell(self, told: set[str], before: set[str], seconds: float) -> None:
        for service in self.engine.containers():
            name = service["Service"]
            if service["ID"] in before or name in told:
                continue
            if name in self.addresses and is_up(service):
                told.add(name)
                click.echo(line_ready(name, version(service), seconds, self.addresses[name]))
            elif name == "migrate" and has_ended_well(service):
                told.add(name)
                click.echo(line_migrated(seconds))

    def failure(self, words: str) -> UserError:
        """Name the part that kept the stack from coming up, with the end of its log."""
        for service in self.engine.containers():
            name = service["Service"]
            if service["Name"] in words or f'"{name}"' in words or has_failed(service):
                log = self.engine.ask("logs", "--no-log-prefix", f"--tail={LOG_LINES}", name)
                return ServiceError(
                    f"{name} did not come up ({service['Status']}); its log says why. Mend that and "
                    "try `just up` again.",
                    name,
                    log.splitlines(),
                )
        return UserError(f"The containers did not come up: {words}")

    def down(self) -> None:
        """Remove the containers; the volumes stay."""
        there = self.engine.containers()
        self.config.saved.unlink(missing_ok=True)
        if not there:
            click.echo("Nothing runs, so there is nothing to stop.")
            return
        started = time.monotonic()
        with Console(stderr=True).status("stopping the containers"):
            self.engine.ask("down", "--remove-orphans")
        seconds = time.monotonic() - started
        click.echo(f"The stack is down after {seconds:.1f} s; its data stays in {self.data()}.")

    def states(self) -> list[ServiceStatus]:
        """Tell of each service, or of none where there is no container."""
        services = {service["Service"]: service for service in self.engine.containers()}
        if not any(service["State"] == "running" for service in services.values()):
            return []
        return [
            ServiceStatus(
                name,
                version(services[name]) if name in services else "",
                state_of(services[name]) if name in services else "down (not started)",
                uptime(services[name]) if name in services else "-",
                address,
            )
            for name, address in self.addresses.items()
        ]

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last lines of a part's log, or of all, and what is added."""
        kept = sorted(container["Service"] for container in self.engine.containers())
        if service and service not in kept:
            known = f"there are logs of {', '.join(kept)}" if kept else "nothing was started yet"
            raise UserError(f"There is no log of {service!r}; {known}.")
        if not kept:
            click.echo("Nothing was started yet; `just up` starts the stack.")
            return
        words = ["logs", "--no-color", f"--tail={lines if service else min(lines, 10)}"]
        command = self.engine.compose(
            *words, *(["--follow"] if follow else []), *([service] if service else [])
        )
        with subprocess.Popen(  # noqa: S603 - docker, from PATH
            command,
            env=self.engine.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None  # noqa: S101 - told by stdout=PIPE above
            with suppress(KeyboardInterrupt):
                for line in process.stdout:
                    click.echo(LOG_LINE.sub("" if service else r"\g<part> | ", line.rstrip("\n")))

    def data(self) -> str:
        """Name the volumes, where there are any."""
        project = self.engine.project()
        label = f"label=com.docker.compose.project={project}"
        said = self.engine.run(DOCKER, "volume", "ls", "--quiet", "--filter", label).stdout
        names = sorted(said.split())
        return f"the volumes {', '.join(names)}" if names else ""

    def destroy(self) -> None:
        """Remove containers and volumes."""
        self.engine.ask("down", "--remove-orphans", "--volumes")
        self.config.saved.unlink(missing_ok=True)


def is_up(service: dict[str, Any]) -> bool:
    return service["State"] == "running" and service["Health"] in ("healthy", "")


def has_ended_well(service: dict[str, Any]) -> bool:
    return bool(service["State"] == "exited" and service["ExitCode"] == 0)


def has_failed(service: dict[str, Any]) -> bool:
    ended = service["State"] in ("exited", "restarting", "dead") and not has_ended_well(service)
    return bool(ended or service["Health"] == "unhealthy")


def version(service: dict[str, Any]) -> str:
    """Read a part's version off its image."""
    tag = re.search(r":v?(\d[\w.]*)", service["Image"])
    return tag[1] if tag else installed("vet-clinic")


def state_of(service: dict[str, Any]) -> str:
    if is_up(service):
        return UP
    if service["State"] == "running":
        return "not answering"
    return f"down ({service['Status'] or service['State']})"


def uptime(service: dict[str, Any]) -> str:
    words = re.match(r"Up ([^(]+)", service["Status"])
    return words[1].strip() if words else "-"
