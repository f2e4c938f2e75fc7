"""A service of the native stack, and the record of what was started."""

import ssl
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec

from lab.paths import PROJECT
from lab.stack import ports, postgres
from lab.stack.config import StackConfig, write_private

# Services of the stack answer without TLS. To read the system's certificates for each request would
# take longer than their answers.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
READY_TIMEOUT = 3


@dataclass(frozen=True)
class Service:
    """One program of the stack, as the supervisor runs it."""

    name: str
    version: str
    address: str
    health: str
    """A URL that answers 200 or 401 when the service is ready, or postgresql:PORT."""
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """The files that the service reads when it starts, and their digests."""
    folder: str = str(PROJECT)
    user: str = ""
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    start_seconds: int = 60

    def ready(self) -> bool:
        kind, _, port = self.health.partition(":")
        if kind == "postgresql":
            return postgres.ready(int(port))
        try:
            # Without the environment: a proxy does not reach the services.
            response = httpx.get(
                self.health, timeout=READY_TIMEOUT, trust_env=False, verify=NO_CERTIFICATES
            )
        except httpx.HTTPError:
            return False
        # What asks for a password is ready to check it.
        return response.status_code in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)

    def without_secrets(self) -> "Service":
        """Replace the values of the environment by their digests."""
        values = self.environment.items()
        return replace(self, environment={name: digest(value.encode()) for name, value in values})

    def changes(self, started: "Service") -> list[str]:
        """Name what has changed since the service was started."""
        before, after = (
            {
                "version": service.version,
                "command line": service.command,
                **service.environment,
                **service.files,
            }
            for service in (started, self.without_secrets())
        )
        names = before.keys() | after.keys()
        return sorted(name for name in names if before.get(name) != after.get(name))


@dataclass(frozen=True)
class InternalPorts:
    """Ports that only services of the stack use: free ones, chosen when the stack starts."""

    prometheus: int
    alertmanager: int
    traces: int
    otlp: int
    notifications: int
    node_exporter: int
    postgres_exporter: int
    postgres_sampler: int
    tempo_grpc: int
    tempo_ready: int
    jaeger_health: int
    jaeger_metrics: int
    api: tuple[int, ...] = field(default=(), kw_only=True)
    """A port for each replica of the API, beside the one that they share."""

    @classmethod
    def free(cls) -> "InternalPorts":
        return cls(*ports.free_ports(len(fields(cls)) - 1))

    def with_replicas(self, replicas: int) -> "InternalPorts":
        """Add ports for replicas that have none yet."""
        missing = replicas - len(self.api)
        return replace(self, api=(*self.api, *ports.free_ports(missing))) if missing > 0 else self


@dataclass(frozen=True)
class StartedStack:
    """The services as they were started, without secrets, for later commands."""

    services: dict[str, Service]
    internal_ports: InternalPorts

    def save(self, config: StackConfig) -> None:
        content = msgspec.json.format(msgspec.json.encode(self)).decode()
        write_private(started_file(config), content)

    @classmethod
    def load(cls, config: StackConfig) -> "StartedStack":
        try:
            return msgspec.json.decode(started_file(config).read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):  # or written by another version
            return cls({}, InternalPorts.free())


def started_file(config: StackConfig) -> Path:
    return config.state / "services.json"


def digests(*paths: Path) -> dict[str, str]:
    """Return the digest of each file, and of each file below a folder, by its path."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return {
        str(file.relative_to(PROJECT)): digest(file.read_bytes())
        for file in sorted(files)
        if file.is_file() and "__pycache__" not in file.parts
    }


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
