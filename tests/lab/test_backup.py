"""Backups: whole, private, and restored completely or not at all."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest
from advanced_alchemy.alembic.commands import AlembicCommands
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from clinic.database import database_config
from clinic.settings import Settings
from lab import cli
from lab.errors import UserError
from lab.stack import backup, services
from lab.stack.config import API_ROLE, PORTS, StackConfig
from lab.stack.native import NativeStack
from lab.stack.ports import free_ports
from lab.stack.service import Service
from tests.support.clinic import migrated_database

TABLES = ("owner", "pet", "appointment", "idempotency_key", "alembic_versions")
ROWS = """
WITH o AS (
    INSERT INTO owner (name, email) SELECT 'Dueño ' || n, n || '@example.org'
    FROM generate_series(1, 300) AS n RETURNING id
), p AS (
    INSERT INTO pet (owner_id, name, species) SELECT id, E'Luna\\t\\\\.\\n', 'dog' FROM o
    RETURNING id
)
INSERT INTO appointment (pet_id, scheduled_at, reason)
SELECT id, now() + id * interval '1 hour', 'check-up' FROM p
"""
SHAPE = """
SELECT attrelid::regclass::text AS name, attname::text AS detail FROM pg_attribute
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relname NOT LIKE 'pg_stat%') AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conname, CASE contype WHEN 'c' THEN '' ELSE pg_get_constraintdef(oid) END
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT relname, relacl::text || relowner::regrole FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
ORDER BY 1, 2
"""


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    async def run() -> list[tuple[object, ...]]:
        plain = make_url(url).set(drivername="postgresql")
        connection = await asyncpg.connect(plain.render_as_string(hide_password=False))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(run())


def content(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows and the shape of the tables."""
    tables = {name: run(url, f"SELECT * FROM {name} ORDER BY 1, 2") for name in TABLES[:-1]}  # noqa: S608 constants
    version = run(url, "SELECT * FROM alembic_versions")
    return {**tables, "version": version, "shape": run(url, SHAPE)}


@pytest.fixture(scope="module")
def filled() -> Iterator[str]:
    with migrated_database() as settings:
        run(settings.database_url, ROWS)
        yield settings.database_url


@pytest.fixture(scope="module")
def other() -> Iterator[Settings]:
    with migrated_database() as settings:
        yield settings


@pytest.fixture
def file(filled: str, tmp_path: Path) -> Path:
    backup.write(filled, tmp_path / "backups" / "clinic.dump")
    return tmp_path / "backups" / "clinic.dump"


def test_a_backup_restores_every_row_into_an_empty_database(
    filled: str, other: Settings, file: Path
) -> None:
    url = other.database_url
    run(url, "TRUNCATE owner CASCADE")

    backup.check(file)
    backup.restore(url, file)

    assert content(url) == content(filled)
    assert backup.rows(url) == dict.fromkeys(backup.TABLES, 300)
    as_api = make_url(url).set(username=API_ROLE).render_as_string(hide_password=False)
    write = "INSERT INTO owner (name, email) VALUES ('Ana', 'ana@x.org') RETURNING id"
    assert run(as_api, write) == [(301,)]


def test_variables_of_the_shell_do_not_lead_to_another_database(
    filled: str, other: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clinic.dump"
    with monkeypatch.context() as shell:
        shell.setenv("PGHOSTADDR", "192.0.2.1")
        shell.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
        shell.setenv("PGSERVICE", "another")
        shell.setenv("PGSSLMODE", "require")
        backup.write(filled, file)
        backup.check(file)
        backup.restore(other.database_url, file)

    assert content(other.database_url) == content(filled)


def test_restored_twice_the_rows_are_the_same(filled: str, other: Settings, file: Path) -> None:
    for _ in range(2):
        backup.restore(other.database_url, file)

    assert content(other.database_url) == content(filled)


def test_only_its_user_can_read_a_backup_and_it_replaces_no_file(filled: str, file: Path) -> None:
    before = file.read_bytes()

    with pytest.raises(UserError, match="a backup replaces no file"):
        backup.write(filled, file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_failed_backup_leaves_no_file(tmp_path: Path) -> None:
    nowhere = "postgresql+asyncpg://clinic:secret@127.0.0.1:1/clinic"

    with pytest.raises(UserError, match="`just up` starts the stack") as failure:
        backup.write(nowhere, tmp_path / "clinic.dump")

    assert "secret" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot be written"):
        backup.write(nowhere, Path("/proc/none/clinic.dump"))


def test_files_that_are_no_backups_are_refused(
    tmp_path: Path, other: Settings, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no dump")
    empty = tmp_path / "empty.dump"
    empty.touch()
    for path in (text, empty):
        with pytest.raises(UserError, match=r"is not a complete backup of `just backup`: .+"):
            backup.check(path)
    with pytest.raises(UserError, match="There is no file"):
        backup.check(tmp_path / "absent.dump")
    foreign = tmp_path / "foreign.dump"
    postgres_database = make_url(other.database_url).set(database="postgres")
    backup.write(postgres_database.render_as_string(hide_password=False), foreign)
    with pytest.raises(UserError, match="a backup of another database"):
        backup.check(foreign)
    monkeypatch.setattr(backup, "newest", lambda: "0001")
    with pytest.raises(UserError, match=r"has the schema \d{4}, and .* those up to 0001"):
        backup.check(file)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_backup_changes_nothing(other: Settings, file: Path, share: float) -> None:
    backup.restore(other.database_url, file)
    before = content(other.database_url)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(UserError, match="is not a complete backup"):
        backup.check(file)
    with pytest.raises(UserError, match="Nothing was changed"):
        backup.restore(other.database_url, file)

    assert content(other.database_url) == before


def test_a_backup_of_an_older_schema_is_migrated(file: Path, tmp_path: Path) -> None:
    with migrated_database() as settings:
        url = settings.database_url
        backup.restore(url, file)
        commands = AlembicCommands(database_config(settings))
        commands.downgrade("0001")
        older = tmp_path / "older.dump"
        backup.write(url, older)
        AlembicCommands(database_config(settings)).upgrade()
        expected = content(url)

        backup.check(older)
        backup.restore(url, older)
        tables = run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        AlembicCommands(database_config(settings)).upgrade()
        restored = content(url)

    assert ("idempotency_key",) not in tables
    assert restored == expected


def test_ctrl_c_during_a_restore_changes_nothing(other: Settings, file: Path) -> None:
    url = other.database_url
    backup.restore(url, file)
    before = content(url)
    code = "import sys; from pathlib import Path; from lab.stack import backup;"
    code += "backup.restore(sys.argv[1], Path(sys.argv[2]))"

    async def interrupt_while_it_waits() -> int:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(plain)
        async with connection.transaction():
            await connection.execute("LOCK TABLE pet")
            with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
                [sys.executable, "-c", code, url, str(file)],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ) as process:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                deadline = time.monotonic() + 60
                while not await connection.fetchval(waiting):
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                os.killpg(process.pid, signal.SIGINT)
        await connection.close()
        return process.returncode

    assert asyncio.run(interrupt_while_it_waits()) != 0
    assert content(url) == before


class StandIn:
    """A stack of a database only."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stopped = 0

    def database_url(self) -> str:
        return self.url

    @contextmanager
    def without_api(self) -> Iterator[None]:
        self.stopped += 1
        yield


@pytest.fixture
def stack(other: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    stack = StandIn(other.database_url)
    monkeypatch.setattr(cli, "selected_stack", lambda: stack)
    monkeypatch.setattr(backup, "FOLDER", tmp_path / "saved")
    return stack


def invoke(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(cli.cli, words, input=answer)


def test_restoring_over_rows_asks_and_keeps_them(stack: StandIn, file: Path) -> None:
    backup.restore(stack.url, file)
    run(stack.url, "DELETE FROM owner WHERE id <= 100")
    before = content(stack.url)

    refused = invoke("restore", str(file), answer="n\n")
    assert "Replace 200 owners, 200 pets and 200 appointments by the rows of" in refused.output
    assert "Nothing was restored." in refused.output
    assert content(stack.url) == before
    assert stack.stopped == 0

    restored = invoke("restore", str(file), answer="y\n")
    assert restored.exit_code == 0, restored.output
    assert "Restored 300 owners, 300 pets and 300 appointments" in restored.output
    assert backup.rows(stack.url)["owner"] == 300
    [found] = backup.FOLDER.glob("before-restore-*.dump")
    saved = found.rename(file.with_name("saved.dump"))
    again = invoke("restore", str(saved), "--yes")
    assert again.exit_code == 0, again.output
    assert content(stack.url) == before


def test_restoring_over_no_rows_does_not_ask(stack: StandIn, file: Path) -> None:
    run(stack.url, "TRUNCATE owner CASCADE")

    restored = invoke("restore", str(file))

    assert restored.exit_code == 0, restored.output
    assert not backup.FOLDER.exists()


def test_a_backup_is_named_by_the_time_and_says_what_it_holds(stack: StandIn, file: Path) -> None:
    backup.restore(stack.url, file)

    written = invoke("backup")

    assert written.exit_code == 0, written.output
    [named] = backup.FOLDER.glob("clinic-????????T??????Z.dump")
    assert "300 owners, 300 pets and 300 appointments" in written.output
    assert str(named) in written.output
    assert "personal data" in written.output


@pytest.fixture
def small_stack(passable_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NativeStack]:
    """Run the two services of the native stack that a backup is about, under its supervisor."""

    def assemble(config: StackConfig, _: object) -> list[Service]:
        return [services.postgres_service(config), services.api_service(config)]

    ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
    config = StackConfig(passable_dir / "state", **{name.lower(): port for name, port in ports})
    stack = NativeStack(config)
    monkeypatch.setattr(services, "assemble", assemble)
    monkeypatch.setattr(cli, "selected_stack", lambda: stack)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    umask = os.umask(0o077)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
        os.umask(umask)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running")  # it is the supervisor
def test_a_stack_is_restored_after_its_data_was_destroyed(
    small_stack: NativeStack, tmp_path: Path
) -> None:
    read = "SELECT * FROM owner, pet, appointment ORDER BY owner.id, pet.id, appointment.id"
    url = small_stack.config.api_url
    file = str(tmp_path / "clinic.dump")
    for name in ("Ana", "Eva"):
        write_visit(url, name)
    rows = run(small_stack.database_url(), read)
    written = invoke("backup", file)
    write_visit(url, "Zoe")
    asked = invoke("restore", file, answer="n\n")
    unchanged = run(small_stack.database_url(), read)
    small_stack.destroy()
    small_stack.up()

    restored = invoke("restore", file)

    assert restored.exit_code == 0, restored.output
    assert run(small_stack.database_url(), read) == rows
    assert httpx.get(f"{url}/readyz").status_code == 200
    write_visit(url, "Zoe")
    assert len(rows) == 8
    assert "2 owners, 2 pets and 2 appointments" in written.output
    assert "Replace 3 owners" in asked.output
    assert "Nothing was restored." in asked.output
    assert len(unchanged) == 27

    api = small_stack.supervisor.process("api").pid
    assert api
    version = small_stack.config.state / "postgres" / "PG_VERSION"
    fits = version.read_text()
    version.write_text("17\n")
    with pytest.raises(UserError, match="PostgreSQL 17; this is 18"):
        small_stack.restart("postgres")
    version.write_text(fits)
    assert small_stack.supervisor.process("api").pid == api
    assert small_stack.supervisor.process("postgres").alive


def write_visit(url: str, name: str) -> None:
    with httpx.Client(base_url=url) as client:
        owner = client.post("/owners", json={"name": name, "email": f"{name}@example.org"})
        pets = f"/owners/{owner.json()['id']}/pets"
        pet = client.post(pets, json={"name": "Luna", "species": "dog"})
        body = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
        booked = client.post(f"/pets/{pet.json()['id']}/appointments", json=body)
    assert booked.status_code == 201
