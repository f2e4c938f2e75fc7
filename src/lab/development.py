"""Work on the API against the running stack: serve it with reload, open psql, write a migration."""

import os
import sys
from typing import NoReturn

from lab.paths import PROJECT
from lab.stack import postgres
from lab.stack.config import HOST, StackConfig
from lab.stack.inherited import base_environment
from lab.stack.services import api_environment


def serve_with_reload(config: StackConfig, database_url: str, port: int) -> NoReturn:
    """Serve src/clinic on a port of its own; uvicorn restarts it when a file changes."""
    command = [sys.executable, "-m", "uvicorn", "clinic.app:create_app", "--factory"]
    command += ["--reload", "--reload-dir", str(PROJECT / "src" / "clinic"), "--no-access-log"]
    command += ["--http", "clinic.telemetry.arrival:HTTPProtocol", "--ws", "none"]
    command += ["--host", HOST, "--port", str(port)]
    execute(command, api_environment(config, database_url))


def write_migration(config: StackConfig, database_url: str, message: str) -> NoReturn:
    """Write a migration from the difference between src/clinic/models.py and the database."""
    command = [sys.executable, "-m", "clinic", "revision", message]
    execute(command, api_environment(config, database_url))


def downgrade(config: StackConfig, database_url: str, revision: str) -> NoReturn:
    """Return the database to an older schema."""
    command = [sys.executable, "-m", "clinic", "downgrade", revision]
    execute(command, api_environment(config, database_url))


def open_psql(database_url: str, arguments: tuple[str, ...]) -> NoReturn:
    """Run psql on the stack's database, with the password in the environment, not in `ps`."""
    environment = postgres.client_environment(database_url)
    execute([str(postgres.binary("psql")), *arguments], environment)


def execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process, so that signals and the terminal belong to the program."""
    os.execve(command[0], command, base_environment() | environment)  # noqa: S606 - our own programs
