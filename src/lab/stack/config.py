"""The stack's settings: its ports, its addresses and the state folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISREG
from typing import Any
from urllib.parse import quote

from lab.clients.endpoint import Endpoint, remote_endpoint
from lab.errors import UserError
from lab.paths import PROJECT, results_folder

HOST = "127.0.0.1"

OWNER_ROLE = "clinic"
"""Owns the schema: migrations and psql."""
API_ROLE = "clinic_api"
"""Reads and writes rows: the API."""

STATE_VARIABLE = "CLINIC_STATE_DIR"
BACKEND_VARIABLE = "STACK_BACKEND"
REPLICAS_VARIABLE = "CLINIC_REPLICAS"
MOST_REPLICAS = 8
"""So many can have 10 connections each to PostgreSQL, which lets the API's role have 80."""
MARKER = "vet-clinic-state"
"""Empty file in a state folder, by which `destroy` knows it."""
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class StackConfig:
    """Every address of the stack, and the state folder: data, logs and password."""

    state: Path
    clinic_port: int = 8000
    postgres_port: int = 5433
    prometheus_port: int = 9090
    traces_port: int = 3200
    otlp_port: int = 4318
    alertmanager_port: int = 9093
    grafana_port: int = 3000
    replicas: int = 1
    """Services `api-1`, `api-2`, … that share the API's port; with one, `api` has it alone."""

    @classmethod
    def from_env(cls) -> "StackConfig":
        """Take each setting from the environment, else from the running stack, else the default."""
        state = Path(os.environ.get(STATE_VARIABLE) or PROJECT / ".clinic").resolve()
        ports = {**PORTS, **saved_ports(state), **ports_from_env()}
        return cls(
            state,
            **{name.lower(): port for name, port in ports.items()},
            replicas=replicas_from_env() or int(read_saved(state).get(REPLICAS_VARIABLE, 1)),
        )

    @property
    def ports(self) -> dict[str, int]:
        return {name.upper(): port for name, port in asdict(self).items() if name.endswith("_port")}

    def save(self, backend: str) -> None:
        """Save ports, backend and replicas, so that commands elsewhere find this stack."""
        saved = {BACKEND_VARIABLE: backend, **self.ports, REPLICAS_VARIABLE: self.replicas}
        self.saved.write_text(json.dumps(saved, indent=2) + "\n")

    @property
    def saved(self) -> Path:
        return self.state / "stack.json"

    @property
    def password_file(self) -> Path:
        return self.state / "postgres-password"

    @property
    def api_password_file(self) -> Path:
        return self.state / "postgres-api-password"

    @property
    def monitor_password_file(self) -> Path:
        return self.state / "postgres-monitor-password"

    @property
    def credentials(self) -> Path:
        """The folder of the services' credentials; configuration files name it as ../../run/web."""
        return self.state / "run" / "web"

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.clinic_port}"

    @property
    def prometheus_url(self) -> str:
        return f"http://{HOST}:{self.prometheus_port}"

    @property
    def traces_url(self) -> str:
        return f"http://{HOST}:{self.traces_port}"

    @property
    def prometheus(self) -> Endpoint:
        """The Prometheus that reports read: that of PROMETHEUS_URL, else the stack's own."""
        return remote_endpoint("PROMETHEUS") or Endpoint(self.prometheus_url)

    @property
    def trace_store(self) -> Endpoint:
        """The trace store that reports read: that of TEMPO_URL, else the stack's own."""
        return remote_endpoint("TEMPO") or Endpoint(self.traces_url)

    @property
    def alertmanager_url(self) -> str:
        return f"http://{HOST}:{self.alertmanager_port}"

    @property
    def grafana_url(self) -> str:
        return f"http://{HOST}:{self.grafana_port}"

    @property
    def otlp_traces_endpoint(self) -> str:
        return f"http://{HOST}:{self.otlp_port}/v1/traces"

    @property
    def otlp_metrics_endpoint(self) -> str:
        return f"{self.prometheus_url}/api/v1/otlp/v1/metrics"

    @property
    def published_endpoint(self) -> str:
        """Where what `lab` says of runs is written; empty if it would not reach who reads them.

        That is so with a remote Prometheus to which the stack's own does not forward.
        """
        if self.prometheus.is_remote and not remote_endpoint("REMOTE_WRITE"):
            return ""
        return self.otlp_metrics_endpoint

    @property
    def remote_write_url(self) -> str:
        return f"{self.prometheus_url}/api/v1/write"

    @property
    def database_url(self) -> str:
        """The owner's URL with the password; raise UserError before the first `just up`."""
        return self.database_url_of(OWNER_ROLE)

    def database_url_of(self, role: str) -> str:
        """Return a role's URL with the password; raise UserError before the first `just up`."""
        file = {OWNER_ROLE: self.password_file, API_ROLE: self.api_password_file}[role]
        try:
            return self.database_url_with(role, file.read_text().strip())
        except FileNotFoundError as error:
            raise UserError(
                f"There is no database password in {file} yet; `just up` creates the "
                "database and its password."
            ) from error

    def database_url_with(self, role: str, password: str = "") -> str:
        user = f"{role}:{quote(password)}" if password else role
        return f"postgresql+asyncpg://{user}@{HOST}:{self.postgres_port}/clinic"


def claim(state: Path) -> None:
    """Create the state folder, or take that of a stack; raise UserError for any other folder.

    Others can only pass through it, which PostgreSQL's user must if the stack runs as root.
    """
    refuse_shared(state)
    marker = state / MARKER
    others = set(state.iterdir()) - {results_folder()} if state.is_dir() else set()
    if others and not marker.exists() and not is_earlier(state):
        raise UserError(
            f"{state} holds files that are not a stack's. Name an empty folder, or a new one, with "
            f"{STATE_VARIABLE}."
        )
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.touch(0o600)
    for path in (state, *state.iterdir()):
        mode = path.lstat()
        if mode.st_uid == os.geteuid() and (S_ISDIR(mode.st_mode) or S_ISREG(mode.st_mode)):
            passable = 0o711 if path == state and os.geteuid() == 0 else 0o700
            path.chmod(S_IMODE(mode.st_mode) & passable)


def check_removable(state: Path) -> None:
    """Raise UserError unless the folder is a stack's own: `up` has marked it."""
    refuse_shared(state)
    if (state / MARKER).is_file():
        return
    if is_earlier(state):
        raise UserError(
            f"{state} is of an earlier version, or no stack's. If it is a stack's, run `just up` "
            "once, which marks it; then `just destroy` removes it. Nothing was removed."
        )
    raise UserError(f"{state} is not the folder of a stack. Nothing was removed.")


def refuse_shared(state: Path) -> None:
    """Raise UserError for a folder that holds more than a stack by its nature."""
    resolved = state.resolve()
    for folder in (PROJECT.resolve(), *home_folder()):
        if resolved == folder or resolved in folder.parents:
            raise UserError(
                f"{resolved} cannot be the state folder: it is, or contains, {folder}. Name a "
                f"folder of the stack's own with {STATE_VARIABLE}."
            )


def home_folder() -> list[Path]:
    """Return the user's home; nothing for a user without one, as some containers have."""
    try:
        return [Path.home().resolve()]
    except RuntimeError:
        return []


def is_earlier(state: Path) -> bool:
    """Say whether the folder looks like that of a stack from before folders were marked."""
    names = ("postgres-password", "stack.json", "supervisord.conf")
    return any((state / name).is_file() for name in names)


# The default ports, by the variables that set them.
PORTS: dict[str, int] = StackConfig(Path()).ports


def saved_ports(state: Path) -> dict[str, int]:
    return {name: int(port) for name, port in read_saved(state).items() if name in PORTS}


def saved_backend(state: Path) -> str | None:
    """Return the backend of the stack that `just up` started, if it runs."""
    return read_saved(state).get(BACKEND_VARIABLE)


def read_saved(state: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = json.loads((state / "stack.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise UserError(
            f"{state} is the state folder of another user{owner(state)}. Run this as that user, or "
            f"choose another folder with {STATE_VARIABLE}."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{state / 'stack.json'} cannot be read ({error}). Remove it and run `just up` again."
        ) from error
    return saved


def owner(path: Path) -> str:
    """Name the user to whom a path belongs; empty if there is no such user on this machine."""
    try:
        return f", {path.owner()}"
    except (KeyError, OSError):
        return ""


def ports_from_env() -> dict[str, int]:
    ports = {}
    for name in PORTS:
        value = os.environ.get(name)
        if not value:
            continue
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= HIGHEST_PORT:
            raise UserError(f"{name} is {value!r}; expected a port from 1 to {HIGHEST_PORT}.")
        ports[name] = int(value)
    return ports


def replicas_from_env() -> int | None:
    """Return the number of replicas of the API that the environment names, if it does."""
    value = os.environ.get(REPLICAS_VARIABLE)
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= MOST_REPLICAS:
        raise UserError(f"{REPLICAS_VARIABLE} is {value!r}; expected 1 to {MOST_REPLICAS}.")
    return int(value)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only this user can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
