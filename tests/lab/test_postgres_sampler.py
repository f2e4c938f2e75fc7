"""The service postgres-sampler on a real PostgreSQL, and what its role may do."""

import asyncio
import re
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from lab import postgres_sampler
from lab.postgres_sampler import MAX_STATEMENTS, OTHER, Growth, Processes, Sampler, describe
from lab.stack import postgres
from lab.stack.config import HOST, StackConfig
from lab.stack.ports import free_ports
from tests.support.clinic import running_postgres
from tests.support.programs import running

INSERT = "INSERT INTO owner (email) VALUES ($1::VARCHAR) RETURNING owner.id"
UPDATE = "UPDATE owner SET email = $1 WHERE owner.id = 1"
SELECT = "SELECT pet.id FROM pet WHERE pet.id = $1"
SLEEP = "SELECT pg_sleep($1) FROM owner LIMIT 1"
SECONDS = 0.3
ADDRESS = "ana.rojas@example.org"


@dataclass
class Server:
    """A PostgreSQL with the stack's roles, and the sampler beside it."""

    config: StackConfig
    url: str

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def value(self, metric: str, **labels: str) -> float:
        """Add up the series with these labels."""
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.metrics().splitlines()
            if re.match(rf"postgresql_{metric}_total\b", line)
            and all(f'{name}="{value}"' in line for name, value in labels.items())
        )

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/healthz").is_success

    @asynccontextmanager
    async def session(
        self, application: str = "clinic", role: str = "clinic_api", database: str = "clinic"
    ) -> AsyncIterator[asyncpg.Connection]:
        passwords = {
            "clinic": self.config.password_file,
            "clinic_api": self.config.api_password_file,
            "monitor": self.config.monitor_password_file,
        }
        connection = await asyncpg.connect(
            host=HOST,
            port=self.config.postgres_port,
            user=role,
            password=passwords[role].read_text().strip(),
            database=database,
            server_settings={"application_name": application},
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def create_tables(self) -> None:
        async with self.session("migrations", "clinic") as session:
            await session.execute(
                "CREATE TABLE owner (id int GENERATED ALWAYS AS IDENTITY, email text);"
                "CREATE TABLE pet (id int);"
                "INSERT INTO owner (email) VALUES ('the first')"
            )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="clinic-") as folder:
        postgres_port, port = free_ports(2)
        config = StackConfig(Path(folder), postgres_port=postgres_port)
        server = Server(config, f"http://{HOST}:{port}")
        postgres.prepare(config)
        settings = {
            "POSTGRES_SAMPLER_DATABASE_URL": f"postgresql://monitor@{HOST}:{postgres_port}/postgres",
            "POSTGRES_SAMPLER_PASSWORD_FILE": str(config.monitor_password_file),
            "POSTGRES_SAMPLER_PID_FILE": str(postgres.data_directory(config) / "postmaster.pid"),
            "POSTGRES_SAMPLER_PORT": str(port),
        }
        command: list[str | Path] = [sys.executable, "-m", "lab.postgres_sampler"]
        with running(command, config.state / "log", f"{server.url}/metrics", **settings):
            with running_postgres(config):
                asyncio.run(eventually(server.is_ready))
                asyncio.run(server.create_tables())
                yield server
            existing_data_gets_the_role(server)


def existing_data_gets_the_role(server: Server) -> None:
    """Restart PostgreSQL on data without the role's password: the sampler goes on counting."""
    before = server.value("statement_calls")
    assert before > 0
    asyncio.run(eventually(lambda: not server.is_ready()))
    server.config.monitor_password_file.unlink()
    postgres.prepare(server.config)
    with running_postgres(server.config):
        asyncio.run(eventually(server.is_ready))
        assert server.value("statement_calls") >= before


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_executions_are_counted_by_the_text_that_the_api_sent(server: Server) -> None:
    statement_id = f"{zlib.crc32(INSERT.encode()):08x}"

    async with server.session() as session:
        for _ in range(7):
            await session.fetch(INSERT, ADDRESS)

    assert server.value("statement_calls", statement_id=statement_id) == 7
    assert server.value("statement_calls", statement="INSERT owner") >= 7
    assert 0 < server.value("statement_seconds", statement_id=statement_id) < 10
    assert server.value("wal_bytes") > 7 * len(ADDRESS)
    assert server.value("wal_fsyncs") > 0
    assert server.value("wal_fsync_seconds") > 0


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_cpu_time_covers_backends_that_have_ended(server: Server) -> None:
    before = server.value("cpu_time_seconds")
    for _ in range(2):
        async with server.session() as session:
            await session.fetch("SELECT count(*) FROM generate_series(1, 3000000)")

    await asyncio.sleep(0.1)
    used = server.value("cpu_time_seconds") - before
    assert 0.1 < used < 60


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_memory_counts_shared_buffers_once(server: Server) -> None:
    def memory() -> float:
        found = re.search(r"^postgresql_memory_bytes (\d+)$", server.metrics(), re.MULTILINE)
        assert found
        return float(found[1])

    async def read_all(session: asyncpg.Connection) -> None:
        await session.fetch("SELECT sum(length(filler)) FROM padded")

    async with server.session("migrations", "clinic") as session:
        await session.execute(
            "CREATE TABLE padded AS SELECT repeat('x', 1000) AS filler"
            " FROM generate_series(1, 16000)"
        )
        await read_all(session)
        one = memory()
        async with server.session() as second, server.session() as third:
            await read_all(second)
            await read_all(third)
            three = memory()

    size = 16e6
    assert one > size
    assert three - one < size, "two more backends that read the same buffers add no more of them"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("before", "statement", "name", "lock"),
    [
        (UPDATE, UPDATE, "UPDATE owner", "transactionid"),
        ("LOCK TABLE pet", SELECT, "SELECT pet", "relation"),
    ],
)
async def test_waits_for_a_lock_are_told_from_execution(
    server: Server, before: str, statement: str, name: str, lock: str
) -> None:
    values = ["a"] if "$1" in before else []
    waiting = {"statement": name, "wait": "lock"}
    active = server.value("active_seconds")

    async with server.session("other") as other, server.session() as session:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(before, *values)
        blocked = asyncio.create_task(session.fetch(statement, "a" if values else 1))
        await eventually(lambda: server.value("backend_seconds", **waiting) >= SECONDS)
        await transaction.rollback()
        await blocked

    assert server.value("lock_seconds", lock=lock) >= SECONDS
    assert server.value("backend_seconds", statement=name, wait="executing") < SECONDS
    # A session's active time is complete when it ends.
    await eventually(lambda: server.value("active_seconds") >= active + SECONDS / 2)


@pytest.mark.anyio
async def test_a_statement_that_sleeps_counts_as_executing(server: Server) -> None:
    sleeping = {"statement": "SELECT owner", "wait": "executing"}

    async with server.session() as session:
        running = asyncio.create_task(session.fetch(SLEEP, 1.5))
        await eventually(lambda: server.value("backend_seconds", **sleeping) >= SECONDS)
        await running

    assert server.value("backend_seconds", statement="SELECT owner", wait="lock") == 0
    assert server.value("statement_seconds", statement="SELECT owner") == pytest.approx(
        1.5, abs=0.4
    )


@pytest.mark.anyio
@pytest.mark.parametrize("application", ["psql", "clinic"])
async def test_no_value_of_a_statement_reaches_a_metric(server: Server, application: str) -> None:
    async with server.session(application) as session:
        await session.fetch(f"SELECT email FROM owner WHERE email = '{ADDRESS}'")  # noqa: S608 - a literal is the point
        await session.fetch(f"SELECT 'from ana', '{ADDRESS}' AS \"from\"")
        await eventually(lambda: server.value("statement_calls", statement="SELECT owner") > 0)

    metrics = server.metrics()
    assert "ana" not in metrics
    assert "@" not in metrics
    names = set(re.findall(r'statement="([^"]*)"', metrics))
    assert all(re.fullmatch(r"other|[A-Z]+( \w+)?", name) for name in names), names


@pytest.mark.anyio
async def test_only_the_sessions_of_the_api_are_sampled(server: Server) -> None:
    async with server.session("psql") as session:
        await session.fetch("INSERT INTO pet SELECT 1 FROM pg_sleep(0.5)")

    assert server.value("statement_calls", statement="INSERT pet") == 1
    assert server.value("backend_seconds", statement="INSERT pet") == 0


@pytest.mark.anyio
async def test_role_reads_statistics_and_nothing_else(server: Server) -> None:
    forbidden = {
        "clinic": ["TABLE owner", "CREATE TABLE x ()", "CREATE TEMPORARY TABLE x ()"],
        "postgres": ["CREATE TABLE x ()", "CREATE TEMPORARY TABLE x ()", "CREATE ROLE x"],
    }
    for database, statements in forbidden.items():
        async with server.session("test", "monitor", database) as session:
            for statement in statements:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await session.execute(statement)
    async with server.session("test", "monitor", "postgres") as session:
        roles = await session.fetch(
            "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = 'monitor'::regrole"
        )
        assert [role for (role,) in roles] == ["pg_monitor"]
        assert await session.fetchval("SELECT count(*) FROM pg_stat_statements") > 0


def test_growth_is_counted_from_zero_after_a_reset() -> None:
    growth = Growth()

    assert growth.update({"a": (100, 5)}) == {}
    assert growth.update({"a": (103, 6), "new": (2, 1)}) == {"a": (3, 1), "new": (2, 1)}
    assert growth.update({"a": (4, 2), "new": (2, 1)}) == {"a": (4, 2)}


def test_statements_beyond_the_limit_share_one_series() -> None:
    sampler = Sampler()

    for number in range(MAX_STATEMENTS + 50):
        sampler.known((str(number), "DELETE"), 0)

    assert len(sampler.statements) == MAX_STATEMENTS + 1
    assert OTHER in sampler.statements
    assert len(sampler.counters.values["postgresql_statement_calls"]) == MAX_STATEMENTS + 1


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("INSERT INTO pet (a) VALUES ($1)", "INSERT pet"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x"),
        ("SELECT 'from a', $$from b$$ /* from c */ -- from d", "SELECT"),
        ("SELECT 'cut off from e", "SELECT"),
        ("SELECT version_num FROM alembic_versions", "other"),
        ("SELECT oid FROM pg_catalog.pg_class", "other"),
        ("COMMIT", "other"),
        ("", "other"),
    ],
)
def test_statement_is_named_by_verb_and_table(sql: str, name: str) -> None:
    assert describe(sql)[1] == name


class FakeProcesses:
    """A folder like /proc, with the first process of PostgreSQL and others that it started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setattr(postgres_sampler, "PROCESSES", folder)
        monkeypatch.setattr(postgres_sampler, "PID_FILE", str(folder / "postmaster.pid"))

    def write(self, first: int, ended: int, **ticks: int) -> None:
        """Write the ticks of CPU time of each process, by its id, and of those that have ended."""
        (self.folder / "postmaster.pid").write_text(f"{first}\n/data\n")
        children = [name.removeprefix("p") for name in ticks if name != f"p{first}"]
        tasks = self.folder / str(first) / "task" / str(first)
        tasks.mkdir(parents=True, exist_ok=True)
        (tasks / "children").write_text(" ".join(children))
        for name, used in ticks.items():
            process = self.folder / name.removeprefix("p")
            process.mkdir(exist_ok=True)
            times = f"{used} 0 {ended} 0" if name == f"p{first}" else f"{used} 0 0 0"
            (process / "stat").write_text(f"1 (post gres) S{' 0' * 10} {times} 20")
            (process / "smaps_rollup").write_text("Rss:  9 kB\nPss:     3 kB\nPss_Anon: 2 kB\n")


def test_cpu_time_of_processes_grows_and_never_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    fake, processes = FakeProcesses(tmp_path, monkeypatch), Processes()
    grown, memory = list[float | None](), list[int | None]()
    for first, ended, ticks in (
        (10, 500, {"p10": 100, "p11": 300}),  # what was before does not count
        (10, 500, {"p10": 110, "p11": 340}),
        (10, 839, {"p10": 110}),  # one has ended, and a tick was lost with it
        (10, 839, {"p10": 115, "p12": 5}),
        (20, 0, {"p20": 7}),  # PostgreSQL was started again
    ):
        fake.write(first, ended, **ticks)
        processes.read()
        grown.append(processes.grown)
        memory.append(processes.memory)
    (tmp_path / "postmaster.pid").unlink()
    processes.read()
    memory.append(processes.memory)

    assert grown == pytest.approx([0, 0.5, 0, 0.09, 0.07])
    assert processes.grown is None
    assert memory == [6 * 1024, 6 * 1024, 3 * 1024, 6 * 1024, 3 * 1024, None]
