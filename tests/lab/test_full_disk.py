"""PostgreSQL stops when its disk is full, and starts again by itself when there is space."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]
import pytest
from advanced_alchemy.alembic.commands import AlembicCommands

from clinic.database import database_config
from clinic.settings import Settings
from lab.stack import postgres
from lab.stack.config import API_ROLE, StackConfig, write_private
from lab.stack.ports import free as free_port
from lab.stack.services import postgres_service
from lab.stack.supervisor import Supervisor
from performance.prove.planters import compile_library
from performance.torture.limits import FULL_DISK, WAL_MESSAGE, WAL_MESSAGES
from tests.support.clinic import app_client, running_app, unique_email

ATTEMPTS = 5


class Server:
    """PostgreSQL under a supervisor; its disk is full while `flag` exists."""

    def __init__(self, folder: Path) -> None:
        self.config = StackConfig(folder / "state", postgres_port=free_port())
        self.config.state.mkdir(mode=0o711)
        self.supervisor = Supervisor(self.config.state)
        self.flag = folder / "full"
        library = folder / "full_disk.so"
        compile_library(FULL_DISK, library)
        environment = {"LD_PRELOAD": str(library), "FULL_DISK_FLAG": str(self.flag)}
        postgres.prepare(self.config)
        self.service = replace(postgres_service(self.config), environment=environment)

    def log(self) -> str:
        return self.supervisor.log("postgres").read_text()

    def ready(self) -> bool:
        return postgres.ready(self.config.postgres_port)

    def attempts(self) -> int:
        """Count the starts that failed."""
        return self.log().count("could not write lock file")

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.2)

    async def fill_wal(self) -> None:
        """Write to the write-ahead log until it needs another file."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            url = self.config.database_url.replace("+asyncpg", "")
            connection = await asyncpg.connect(url)
            for _ in range(WAL_MESSAGES):
                await connection.execute(WAL_MESSAGE)


@pytest.fixture
def server() -> Iterator[Server]:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is on PATH")
    with TemporaryDirectory(prefix="clinic-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        server = Server(Path(folder))
        supervisor = server.supervisor
        supervisor.logs.mkdir()
        write_private(supervisor.config, supervisor.configuration([server.service]))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(supervisor.config)]
        with subprocess.Popen(command) as process:
            try:
                asyncio.run(server.until(supervisor.running))
                supervisor.start("postgres")
                asyncio.run(server.until(server.ready))
                owner = Settings(database_url=server.config.database_url)
                AlembicCommands(database_config(owner)).upgrade()
                yield server
            finally:
                process.terminate()  # and with it PostgreSQL


def test_postgresql_starts_by_itself_after_any_time_with_a_full_disk(server: Server) -> None:
    async def write_until_full() -> None:
        settings = Settings(database_url=server.config.database_url_of(API_ROLE))
        async with running_app(settings) as app, app_client(app) as client:

            async def register() -> int:
                owner = {"name": "Ana", "email": unique_email()}
                response = await client.post("/owners", json=owner)
                assert response.status_code in {201, 503}, response.text
                assert response.status_code == 201 or response.headers["retry-after"]
                return int(response.json()["id"]) if response.status_code == 201 else 0

            acknowledged = [await register() for _ in range(20)]
            assert all(acknowledged)
            server.flag.touch()
            await server.fill_wal()
            await server.until(lambda: server.attempts() >= ATTEMPTS)
            assert not await register()
            assert (await client.get("/readyz")).json()["down"] == ["database"]
            server.flag.unlink()
            await server.until(server.ready)
            async with asyncio.timeout(60):
                while not (created := await register()):  # noqa: ASYNC110 - PostgreSQL starts
                    await asyncio.sleep(0.2)
            rows = (await client.get("/owners?limit=500")).json()
            assert {*acknowledged, created} == {row["id"] for row in rows}

    asyncio.run(write_until_full())
