"""The stack in Docker: `docker compose` on compose.yaml, which shows its progress itself.

Not by python-on-whales: it has no timeout for an engine that hangs, starts one `docker inspect` for
each container instead of one `compose ps` for all, and mixes Docker's message with its own.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version as installed
from pathlib import Path

import msgspec

from lab.clients.endpoint import remote_endpoint
from lab.console import echo, say
from lab.errors import UserError
from lab.paths import PROJECT, RESULTS_VARIABLE, results_folder
from lab.stack import log_lines, ports, postgres
from lab.stack.base import (
    UP,
    ServiceError,
    ServiceStatus,
    ignore_interrupts,
    overview,
    unknown_service,
)
from lab.stack.compose import FILE, services, tag
from lab.stack.config import (
    API_ROLE,
    HOST,
    OWNER_ROLE,
    REPLICAS_VARIABLE,
    StackConfig,
    claim,
)
from lab.stack.log_lines import LogLine, parse_container
from lab.stack.modes import allow_reading

DOCKER = "docker"
ANSWER_SECONDS = 2
WAIT_SECONDS = 240
LOG_LINES = 15
TIMED = ("--no-color", "--timestamps")
PASSWORD_FILES = {
    OWNER_ROLE: "/run/clinic/postgres-password",
    API_ROLE: "/run/api/postgres-password",
}
OTHER_MAJOR = "there appears to be PostgreSQL data in"
"""What the image's entrypoint writes instead of starting on the data of another major version."""
UNREADABLE = re.compile(
    r"(?P<variable>CLINIC_API_TOKEN_FILE): \S+ cannot be read \(Permission denied\)"
    r"|(?P<otlp>OTEL_EXPORTER_OTLP_(?:CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY)): expected a file"
)
"""What the API writes if a file that compose.yaml mounts can be read by its owner only."""
ROLES = ("sh", "/docker-entrypoint-initdb.d/roles.sh")
PASSWORD = f"by `docker compose exec postgres cat {PASSWORD_FILES[OWNER_ROLE]}`"


class Container(msgspec.Struct, rename="pascal"):
    """A container of the stack, as `docker compose ps` describes it."""

    service: str
    image: str
    state: str
    status: str
    health: str
    exit_code: int
    labels: str = ""
    name: str = ""

    @property
    def checkout(self) -> str:
        """The folder of the checkout that started it."""
        found = re.search(r"(?:^|,)com\.docker\.compose\.project\.working_dir=([^,]*)", self.labels)
        return found[1] if found else ""

    @property
    def number(self) -> int:
        """Which of the service's replicas it is."""
        found = re.search(r"\d+$", self.name)
        return int(found[0]) if found else 0

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def is_ready(self) -> bool:
        return self.is_running and self.health in ("healthy", "")

    @property
    def has_failed(self) -> bool:
        ended = self.state in ("restarting", "dead") or self.exit_code != 0
        return ended or self.health == "unhealthy"

    @property
    def version(self) -> str:
        number = re.match(r"v?(\d[\w.]*)", tag(self.image))
        return number[1] if number else installed("vet-clinic")

    @property
    def uptime(self) -> str:
        up = re.match(r"Up ([^(]+)", self.status)
        return up[1].strip() if up else "-"

    @property
    def summary(self) -> str:
        if self.is_ready:
            return UP
        return "not answering" if self.is_running else f"down ({self.status or self.state})"


class Compose:
    """The command line of Docker and its compose plugin."""

    def __init__(self, config: StackConfig) -> None:
        self.environment = {
            **os.environ,
            **{name: str(it) for name, it in config.ports.items()},
            RESULTS_VARIABLE: str(results_folder()),
            REPLICAS_VARIABLE: str(config.replicas),
        }
        if config.replicas > 1:
            self.environment["CLINIC_LAST_PORT"] = str(config.clinic_port + config.replicas - 1)

    def unavailable(self) -> str:
        """Say why Docker cannot be used, or return an empty string."""
        version = (DOCKER, "version", "--format={{.Server.Version}}")
        try:
            server = self.run(*version, timeout=ANSWER_SECONDS)
        except FileNotFoundError:
            return "docker is not on PATH"
        except subprocess.TimeoutExpired:
            return f"the Docker engine did not answer within {ANSWER_SECONDS} s"
        if server.returncode:
            return "the Docker engine does not answer"
        compose = self.run(DOCKER, "compose", "version")
        if compose.returncode:
            return "docker has no compose plugin"
        if "podman-compose" in compose.stdout:
            options = self.run(DOCKER, "compose", "up", "--help").stdout
            if "--wait-timeout" not in options:
                return "this podman-compose cannot wait for services (`up --wait-timeout`)"
        return ""

    def build(self) -> None:
        """Build the API's image, which later services use; show the progress in this terminal."""
        try:
            self.show("build", "api")
        except UserError as error:
            if self.run(DOCKER, "buildx", "version").returncode == 0:
                raise
            raise UserError(
                f"{error.message}\nIf it says that compose requires buildx, which docker does not "
                "have here: install that plugin (docker-buildx-plugin, or docker-buildx), or run "
                "`STACK_BACKEND=native just up`."
            ) from error

    def published(self, service: str, port: int) -> str:
        """Return the address at which a running service publishes a port, or an empty string."""
        return self.run(*self.command("port", service, str(port))).stdout.strip()

    def command(self, *arguments: str) -> list[str]:
        # k6's profile: `up` names its services, so k6 starts by `run` only and `down` removes it.
        return [DOCKER, "compose", f"--file={FILE}", "--profile=load", *arguments]

    def run(self, *command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(  # noqa: S603 - docker, from PATH
            command,
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        # Not as text, in which a carriage return in a log would be a line break.
        output, errors = decoded(result.stdout), decoded(result.stderr)
        return subprocess.CompletedProcess(command, result.returncode, output, errors)

    def output(self, *arguments: str) -> str:
        """Return what a compose command prints; raise with the last line of its error."""
        result = self.run(*self.command(*arguments))
        if result.returncode:
            raise UserError(f"`docker compose {arguments[0]}` failed: {last_line(result.stderr)}")
        return result.stdout

    def lines(self, *arguments: str) -> Iterator[str]:
        """Yield the lines that a compose command prints, until it ends."""
        with subprocess.Popen(  # noqa: S603 - docker, from PATH
            self.command(*arguments), env=self.environment, stdout=subprocess.PIPE
        ) as process:
            for line in process.stdout or []:
                yield decoded(line).removesuffix("\n")

    def show(self, *arguments: str) -> None:
        """Run a compose command in this terminal."""
        status = subprocess.call(  # noqa: S603 - docker, from PATH
            self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL
        )
        if status:
            raise UserError(f"`docker compose {arguments[0]}` failed; its message is above.")

    def containers(self) -> list[Container]:
        """List the containers of the stack, whether they run or not.

        Raises UserError if another checkout has started them.
        """
        output = self.output("ps", "--all", "--format=json")
        if output.startswith("["):  # Compose before 2.21; newer ones print an object a line
            containers = msgspec.json.decode(output, type=list[Container])
        else:
            containers = msgspec.json.Decoder(Container).decode_lines(output)
        for checkout in {container.checkout for container in containers} - {""}:
            if Path(checkout).resolve() != PROJECT:
                raise UserError(
                    f"The stack in Docker belongs to the checkout {checkout}: run `just down` "
                    "there first. For one of its own beside it, set COMPOSE_PROJECT_NAME, "
                    "CLINIC_SUBNET and all ports here, or STACK_BACKEND=native."
                )
        return containers


class DockerStack:
    """The stack in containers of Docker."""

    def __init__(self, config: StackConfig) -> None:
        self.config = config
        self.compose = Compose(config)

    @property
    def addresses(self) -> dict[str, str]:
        """Return where each service can be reached from this machine, in the order of start."""
        return {
            "postgres": f"{HOST}:{self.config.postgres_port}",
            "gateway": "in front of the next three, at their addresses",
            "prometheus": self.config.prometheus_url,
            "tempo": self.config.traces_url,
            "notifications": "`just logs notifications`",
            "alertmanager": self.config.alertmanager_url,
            "node-exporter": "node-exporter:9100 in the stack's network",
            "postgres-exporter": "postgres-exporter:9187 in the stack's network",
            "postgres-sampler": "postgres-sampler:9188 in the stack's network",
            "grafana": self.config.grafana_url,
            "api": self.config.api_url
            + ("" if self.config.replicas == 1 else ", the others at the ports after it"),
        }

    @property
    def replica_ports(self) -> dict[str, int]:
        """Return the ports of the API's further replicas, by what sets them."""
        first = self.config.clinic_port
        return {
            f"CLINIC_PORT + {number}": first + number for number in range(1, self.config.replicas)
        }

    def up(self) -> None:
        """Start what is not running; if that fails, stop what this call started."""
        for prefix in ("REMOTE_WRITE", "REMOTE_TRACES"):
            if remote_endpoint(prefix):
                raise UserError(
                    f"{prefix}_URL is set, which only the native stack honours: unset it, or set "
                    "STACK_BACKEND=native."
                )
        claim(self.config.state)
        results_folder().mkdir(parents=True, exist_ok=True)  # else Docker makes it, as root
        for path in mounted():
            allow_reading(path, "the containers' users")
        was_running = any(container.is_running for container in self.compose.containers())
        if not was_running:
            ports.check(self.config.ports | self.replica_ports)
        self.compose.build()
        try:
            self.start("postgres")
            # A volume of an earlier version lacks roles; a fresh one has all.
            self.compose.output("exec", "--no-TTY", "postgres", *ROLES)
            self.start(*self.addresses)
        except BaseException:
            if not was_running:
                say("Stopping what was started.")
                with ignore_interrupts():
                    self.compose.output("down")
            raise
        self.config.save(DOCKER)
        echo(overview(self.addresses, PASSWORD, ""))

    def restart(self, service: str) -> None:
        """Replace the container of a service; rebuild the API's image first."""
        if not self.states():
            raise UserError("Nothing is running; `just up` starts the stack.")
        if service not in self.addresses:
            raise unknown_service(service, list(self.addresses))
        if service == "api":
            self.compose.build()
        self.start("--force-recreate", service)

    def start(self, *arguments: str) -> None:
        """Run `docker compose up` until the services are ready, pulling missing images first."""
        try:
            self.compose.show(
                "up", "--detach", "--wait", f"--wait-timeout={WAIT_SECONDS}", *arguments
            )
        except UserError:
            raise self.failure() from None

    def failure(self) -> UserError:
        """Name the service that failed or is not ready, with the end of its log."""
        containers = self.compose.containers()
        failed = [it for it in containers if it.has_failed]
        waiting = [it for it in containers if it.is_running and not it.is_ready]
        for container in failed or waiting:
            service = container.service
            log = self.compose.output("logs", "--no-log-prefix", f"--tail={LOG_LINES}", service)
            if service == "postgres" and OTHER_MAJOR in log:
                return UserError(
                    f"The data was created by another version of PostgreSQL than "
                    f"{container.version}, which cannot read it. {postgres.TAKE_ROWS}"
                )
            if service == "api" and (private := UNREADABLE.search(log)):
                return UserError(
                    f"The API's container, whose user has the id 10001, cannot read the file of "
                    f"{private['variable'] or private['otlp']}. `chmod o+r` it in a folder that "
                    "only you can enter, then run `just up` again."
                )
            return ServiceError(
                f"{service} did not start ({container.status}). Fix the error in its log, then run "
                "`just up` again.",
                service,
                log.removesuffix("\n").split("\n"),
            )
        return UserError(
            "Docker did not start the stack; its message is above. Fix that, or run "
            "`STACK_BACKEND=native just up`, which needs no images."
        )

    def down(self) -> None:
        """Remove the containers; the volumes stay."""
        containers = self.compose.containers()
        self.config.saved.unlink(missing_ok=True)
        if not containers:
            echo("Nothing is running.")
            return
        self.compose.show("down", "--remove-orphans")
        echo(f"The stack is down; its data stays in {self.data()}.")

    def states(self) -> list[ServiceStatus]:
        """Return the state of each service, or nothing if none is running."""
        containers = self.compose.containers()
        if not any(container.is_running for container in containers):
            return []
        rows = []
        for name, address in self.addresses.items():
            replicas = [it for it in containers if it.service == name]
            replicas.sort(key=lambda it: it.number)
            rows += [
                ServiceStatus(
                    name if len(replicas) == 1 else f"{name}-{it.number}",
                    it.version,
                    it.summary,
                    it.uptime,
                    address,
                )
                for it in replicas
            ] or [ServiceStatus(name, "", "down (not started)", "-", address)]
        return rows

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last log lines of one service, or of all in order, and optionally new ones."""
        if not self.logged(service):
            echo("Nothing has been started; `just up` starts the stack.")
            return
        if not service:
            log_lines.show(self.read_lines(f"--tail={lines}"))
            if follow:
                self.follow_all()
            return
        options = ["--no-color", f"--tail={lines}", *(["--follow"] if follow else [])]
        with suppress(KeyboardInterrupt):
            for line in self.compose.lines("logs", *options, "--no-log-prefix", service):
                echo(line)

    def logged(self, service: str | None) -> list[str]:
        """Name the services that have a log; raise if the one that is asked for has none."""
        services = sorted({container.service for container in self.compose.containers()})
        if service and services and service not in services:
            raise UserError(f"There is no log of {service!r}, only of {', '.join(services)}.")
        return services

    def log_lines(self, service: str | None = None) -> list[LogLine]:
        """Return all log lines that are kept of one service, or of all."""
        if not self.logged(service):
            return []
        return self.read_lines(*([service] if service else []))

    def read_lines(self, *options: str) -> list[LogLine]:
        output = self.compose.output("logs", *TIMED, *options)
        return log_lines.in_order(filter(None, map(parse_container, output.split("\n"))))

    def follow_all(self) -> None:
        """Print new lines of all services until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            for line in self.compose.lines("logs", *TIMED, "--tail=0", "--follow"):
                log_lines.show(filter(None, [parse_container(line)]))

    def database_url(self, role: str = OWNER_ROLE) -> str:
        read = ("exec", "--no-TTY", "postgres", "cat", PASSWORD_FILES[role])
        return self.config.database_url_with(role, self.compose.output(*read).strip())

    @contextmanager
    def without_api(self) -> Iterator[None]:
        if not self.states():
            raise UserError("Nothing is running; `just up` starts the stack.")
        self.compose.output("stop", "api")
        try:
            yield
        finally:
            self.compose.show("run", "--rm", "--no-TTY", "migrate")
            self.start("api")

    def data(self) -> str:
        """Name the volumes, if there are any."""
        project = json.loads(self.compose.output("config", "--format=json"))["name"]
        label = f"label=com.docker.compose.project={project}"
        output = self.compose.run(DOCKER, "volume", "ls", "--quiet", "--filter", label).stdout
        names = sorted(output.split())
        return f"the volumes {', '.join(names)}" if names else ""

    def destroy(self) -> None:
        """Remove the containers and the volumes."""
        self.compose.containers()  # raises if they are another checkout's
        self.compose.output("down", "--remove-orphans", "--volumes")
        self.config.saved.unlink(missing_ok=True)


def mounted() -> list[Path]:
    """List the files and folders of the project that containers mount."""
    volumes = [it for service in services().values() for it in service.get("volumes", [])]
    sources = {volume.partition(":")[0] for volume in volumes}
    return [PROJECT / source for source in sorted(sources) if source.startswith("./")]


def decoded(output: bytes) -> str:
    """Return what docker prints, without what Compose 2.26 puts before each line of a log."""
    return re.sub(r"(?m)^\x1b\[2K", "", output.decode(errors="replace"))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
