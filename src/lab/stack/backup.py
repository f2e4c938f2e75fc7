"""Back up and restore the database, by the programs of the wheel in both backends.

A backup is an archive of pg_dump: all tables of the clinic, without owners and rights, which the
stack's own roles get when it is restored.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import IO

from rich.console import Console

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack import postgres
from lab.stack.inherited import base_environment

FOLDER = PROJECT / "backups"
MIGRATIONS = PROJECT / "src" / "clinic" / "migrations" / "versions"
POLL_SECONDS = 0.1
TABLES = ("owner", "pet", "appointment")
"""The tables whose rows are counted."""

DUMP = ("--format=custom", "--no-owner", "--no-privileges", "--exclude-extension=*")
DUMP_LOCKS = "--lock-wait-timeout=60s"
PSQL = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
ARE_THERE = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
REMOVE = """\
BEGIN;
SET LOCAL lock_timeout = '15s';
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname = 'public' ORDER BY tablename
    LOOP EXECUTE 'DROP TABLE ' || name || ' CASCADE'; END LOOP;
END $$;
"""
"""Tables of a later version must not stay: its migrations would fail on them."""
VERSION = re.compile(r"^COPY public\.alembic_versions .*;\n(\w+)\n", re.MULTILINE)


def new_file(name: str = "clinic") -> Path:
    """Name a backup of this moment."""
    return FOLDER / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"


def write(database_url: str, file: Path) -> int:
    """Write a backup and return its size in bytes; the file appears when it is complete.

    Raises UserError if the file exists or cannot be written, or if the database does not answer.
    """
    refusal = UserError(f"{file} exists; a backup replaces no file. Name another one.")
    if file.exists():
        raise refusal
    partial = None
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = mkstemp(prefix=f".{file.name}.", dir=file.parent)  # only its user can read
        partial = Path(name)
        with os.fdopen(handle, "rb") as written:
            dump(database_url, partial)
            os.fsync(written.fileno())
        os.link(partial, file)
        return file.stat().st_size
    except FileExistsError:
        raise refusal from None
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror or error}).") from error
    finally:
        if partial:
            partial.unlink(missing_ok=True)


def dump(database_url: str, file: Path) -> None:
    # By its name: on standard output pg_dump leaves the places of the tables out.
    command = [str(postgres.binary("pg_dump")), *DUMP, DUMP_LOCKS, f"--file={file.resolve()}"]
    with started(command, database_url) as (process, errors), progress() as show:
        while process.poll() is None:
            show(f"backing up: {megabytes(file.stat().st_size)}")
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
        if process.returncode:
            raise unavailable("backed up", errors)


def check(file: Path) -> None:
    """Raise UserError unless the file is a complete backup that this version can restore."""
    if not file.is_file():
        raise UserError(f"There is no file {file}.")
    read_archive(file, "--file=/dev/null")
    version = VERSION.search(
        read_archive(file, "--data-only", "--table=alembic_versions", "--file=-")
    )
    if not version:
        raise UserError(f"{file} is a backup of another database: it has no version of a schema.")
    if version[1] > newest():
        raise UserError(
            f"{file} has the schema {version[1]}, and this version of the project knows those up "
            f"to {newest()}. Restore it with the version that wrote it, or a later one."
        )


def read_archive(file: Path, *options: str) -> str:
    command = [str(postgres.binary("pg_restore")), *options, str(file.resolve())]
    with started(command, stdout=subprocess.PIPE) as (process, errors):
        output, _ = process.communicate()
        if process.returncode:
            reason = last_line(text_of(errors))
            raise UserError(f"{file} is not a complete backup of `just backup`: {reason}.")
    return output.decode(errors="replace")


def newest() -> str:
    """Return the number of the newest migration."""
    return max(file.name.partition("_")[0] for file in MIGRATIONS.glob("[0-9]*.py"))


def restore(database_url: str, file: Path) -> None:
    """Replace all tables by those of a backup in one transaction: if it fails, nothing changes."""
    read = [str(postgres.binary("pg_restore")), "--no-owner", "--no-privileges", "--file=-"]
    write = [str(postgres.binary("psql")), *PSQL]
    with (
        started([*read, str(file.resolve())], stdout=subprocess.PIPE) as (source, source_errors),
        started(write, database_url, stdin=subprocess.PIPE) as (target, target_errors),
        progress() as show,
    ):
        show(f"restoring {megabytes(file.stat().st_size)}")
        if source.stdout is None or target.stdin is None:
            raise RuntimeError("Popen makes the pipes that it is asked for")
        # Without the last line, psql disconnects and PostgreSQL rolls back.
        with suppress(BrokenPipeError):
            target.stdin.write(REMOVE.encode())
            shutil.copyfileobj(source.stdout, target.stdin)
            if source.wait() == 0:
                rights = "".join(f"{statement};\n" for statement in postgres.API_RIGHTS)
                target.stdin.write(f"{rights}COMMIT;\nANALYZE;\n".encode())
            target.stdin.close()
        if target.wait():
            raise unavailable("restored", target_errors)
        if source.wait():
            reason = last_line(text_of(source_errors))
            raise UserError(f"{file} cannot be restored: {reason}. Nothing was changed.")


def rows(database_url: str) -> dict[str, int]:
    """Count the rows of each table that is there."""
    there = query(database_url, ARE_THERE)
    return {
        table: int(query(database_url, f"SELECT count(*) FROM {table}")[0])  # noqa: S608 a constant
        for table in TABLES
        if table in there
    }


def in_words(counts: Mapping[str, int]) -> str:
    """Write counts as text: `1 owner, 4 pets and 5 appointments`."""
    *most, last = [
        f"{number:,} {table}{'' if number == 1 else 's'}" for table, number in counts.items()
    ] or ["no rows"]
    return f"{', '.join(most)} and {last}" if most else last


def query(database_url: str, statement: str) -> list[str]:
    command = [str(postgres.binary("psql")), *PSQL, f"--command={statement}"]
    with started(command, database_url, stdout=subprocess.PIPE) as (process, errors):
        output, _ = process.communicate()
        if process.returncode:
            raise unavailable("read", errors)
    return output.decode().split()


@contextmanager
def started(
    command: list[str],
    database_url: str = "",
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Run a program of PostgreSQL's until the block ends; yield it and what it complains of."""
    variables = postgres.client_environment(database_url) if database_url else {}
    with (
        TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - the wheel's programs
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
            env={**base_environment(), "LC_ALL": "C", **variables},
        ) as process,
    ):
        try:
            yield process, errors
        finally:
            if process.poll() is None:
                process.kill()


def unavailable(what: str, errors: IO[bytes]) -> UserError:
    complaint = text_of(errors)
    reason = last_line(complaint)
    if "connection to server" in complaint:
        return UserError(
            f"The stack's database does not answer ({reason}); `just up` starts the stack."
        )
    if "lock timeout" in complaint:
        return UserError(
            f"The database cannot be {what} while another program uses its tables. End that and "
            "try again. Nothing was changed."
        )
    return UserError(f"The database cannot be {what}: {reason}. Nothing was changed.")


def text_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")


def last_line(text: str) -> str:
    """Return the last line that says what failed, without what PostgreSQL puts before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [line for line in lines if re.search(r"(?i)\b(error|fatal):", line)] or lines
    last = known[-1] if known else "no message"
    return re.sub(r"^.*?(?i:\b(?:error|fatal)):\s*", "", last).rstrip(".")


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show that something goes on; yield the function that changes its text."""
    with Console(stderr=True).status("") as status:
        yield status.update


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
