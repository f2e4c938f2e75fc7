"""The bundle in containers: brought up and down, its states, its logs, its end."""

import re
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version as installed
from typing import Any

import click
from rich.console import Console

from observability.bundle import Bundle, BundleError
from observability.containers.engine import DOCKER, Engine, last_line
from observability.native import ports
from observability.native.lifecycle import uninterrupted
from observability.native.programs import say
from observability.way import UP, PartError, PartState, line_migrated, line_ready, links

WAIT_SECONDS = 240
POLL_SECONDS = 0.5
LOG_LINES = 15
LOG_LINE = re.compile(r"^(?P<part>[\w-]+?)-\d+\s+\| ?")
NATIVE_HINT = "`CLINIC_BUNDLE=native just up` runs the bundle without containers."
PASSWORD = "by `docker compose exec postgres cat /run/clinic/postgres-password`"  # noqa: S105


class Containers:
    """What the commands do where a Docker engine runs."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.engine = Engine(bundle)

    @property
    def addresses(self) -> dict[str, str]:
        """Say where this machine reaches each part, in the order of their start."""
        return {
            "postgres": f"127.0.0.1:{self.bundle.postgres_port}",
            "prometheus": self.bundle.prometheus_url,
            "tempo": self.bundle.traces_url,
            "notices": "`just logs notices`",
            "alertmanager": self.bundle.alertmanager_url,
            "grafana": self.bundle.grafana_url,
            "api": self.bundle.api_url,
        }

    def up(self) -> None:
        """Start whatever does not run; a failure takes back what this call started."""
        self.bundle.state.mkdir(parents=True, exist_ok=True)
        running = {
            part["Service"] for part in self.engine.containers() if part["State"] == "running"
        }
        if not running:
            ports.check(self.bundle.ports)
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
        self.bundle.save(DOCKER)
        click.echo(links(self.addresses, PASSWORD, ""))

    def fetch(self) -> None:
        """Pull the images that are not here: the only time that the internet is needed."""
        missing = self.engine.missing_images()
        for number, image in enumerate(missing, 1):
            say(f"Fetching image {number} of {len(missing)}, once: {image}")
            pulled = self.engine.run(DOCKER, "pull", "--quiet", image)
            if pulled.returncode:
                raise BundleError(
                    f"The image {image} is not here and cannot be pulled "
                    f"({last_line(pulled.stderr)}). Missing: {', '.join(missing[number - 1 :])}. "
                    f"Try again with the registry in reach, or {NATIVE_HINT}"
                )

    def build(self) -> None:
        started = time.monotonic()
        with Console(stderr=True).status("building the API's image"):
            built = self.engine.run(*self.engine.compose("build", "api"))
        if built.returncode:
            raise PartError(
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
            part["ID"] for part in self.engine.containers() if is_up(part) or has_ended_well(part)
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
            click.echo("The bundle is up already; nothing was changed.")

    def tell(self, told: set[str], before: set[str], seconds: float) -> None:
        for part in self.engine.containers():
            name = part["Service"]
            if part["ID"] in before or name in told:
                continue
            if name in self.addresses and is_up(part):
                told.add(name)
                click.echo(line_ready(name, version(part), seconds, self.addresses[name]))
            elif name == "migrate" and has_ended_well(part):
                told.add(name)
                click.echo(line_migrated(seconds))

    def failure(self, words: str) -> BundleError:
        """Name the part that kept the bundle from coming up, with the end of its log."""
        for part in self.engine.containers():
            name = part["Service"]
            if part["Name"] in words or f'"{name}"' in words or has_failed(part):
                log = self.engine.ask("logs", "--no-log-prefix", f"--tail={LOG_LINES}", name)
                return PartError(
                    f"{name} did not come up ({part['Status']}); its log says why. Mend that and "
                    "try `just up` again.",
                    name,
                    log.splitlines(),
                )
        return BundleError(f"The containers did not come up: {words}")

    def down(self) -> None:
        """Remove the containers; the volumes stay."""
        there = self.engine.containers()
        self.bundle.saved.unlink(missing_ok=True)
        if not there:
            click.echo("Nothing runs, so there is nothing to stop.")
            return
        started = time.monotonic()
        with Console(stderr=True).status("stopping the containers"):
            self.engine.ask("down", "--remove-orphans")
        seconds = time.monotonic() - started
        click.echo(f"The bundle is down after {seconds:.1f} s; its data stays in {self.data()}.")

    def states(self) -> list[PartState]:
        """Tell of each service, or of none where there is no container."""
        parts = {part["Service"]: part for part in self.engine.containers()}
        if not any(part["State"] == "running" for part in parts.values()):
            return []
        return [
            PartState(
                name,
                version(parts[name]) if name in parts else "",
                state_of(parts[name]) if name in parts else "down (not started)",
                uptime(parts[name]) if name in parts else "-",
                address,
            )
            for name, address in self.addresses.items()
        ]

    def logs(self, part: str | None, lines: int, *, follow: bool) -> None:
        """Print the last lines of a part's log, or of all, and what is added."""
        kept = sorted(container["Service"] for container in self.engine.containers())
        if part and part not in kept:
            known = f"there are logs of {', '.join(kept)}" if kept else "nothing was started yet"
            raise BundleError(f"There is no log of {part!r}; {known}.")
        if not kept:
            click.echo("Nothing was started yet; `just up` starts the bundle.")
            return
        words = ["logs", "--no-color", f"--tail={lines if part else min(lines, 10)}"]
        command = self.engine.compose(
            *words, *(["--follow"] if follow else []), *([part] if part else [])
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
                    click.echo(LOG_LINE.sub("" if part else r"\g<part> | ", line.rstrip("\n")))

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
        self.bundle.saved.unlink(missing_ok=True)


def is_up(part: dict[str, Any]) -> bool:
    return part["State"] == "running" and part["Health"] in ("healthy", "")


def has_ended_well(part: dict[str, Any]) -> bool:
    return bool(part["State"] == "exited" and part["ExitCode"] == 0)


def has_failed(part: dict[str, Any]) -> bool:
    ended = part["State"] in ("exited", "restarting", "dead") and not has_ended_well(part)
    return bool(ended or part["Health"] == "unhealthy")


def version(part: dict[str, Any]) -> str:
    """Read a part's version off its image."""
    tag = re.search(r":v?(\d[\w.]*)", part["Image"])
    return tag[1] if tag else installed("vet-clinic")


def state_of(part: dict[str, Any]) -> str:
    if is_up(part):
        return UP
    if part["State"] == "running":
        return "not answering"
    return f"down ({part['Status'] or part['State']})"


def uptime(part: dict[str, Any]) -> str:
    words = re.match(r"Up ([^(]+)", part["Status"])
    return words[1].strip() if words else "-"
