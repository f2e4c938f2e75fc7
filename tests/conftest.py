"""Fixtures: the app on a PostgreSQL of its own for each worker, and a Prometheus."""

from tests.support.clean_environment import proxies  # before what reads variables at import

# isort: split
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from httpx import AsyncClient
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clinic.app import create_app
from clinic.database import Database
from clinic.settings import Settings
from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from lab.paths import PERFORMANCE, RESULTS_VARIABLE
from lab.stack import programs
from tests.support import skips
from tests.support.clinic import app_client, as_api, migrated_database, unique_email
from tests.support.fake_series import a_prometheus
from tests.support.programs import results

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_configure(config: pytest.Config) -> None:
    # As Ctrl-C does, SIGTERM ends what the fixtures have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ[RESULTS_VARIABLE] = results()
    skips.register(config)


@pytest.fixture(autouse=True)
def users_results() -> Iterator[None]:
    """Fail a test that writes into the results of the user who runs it."""

    def state() -> dict[Path, float]:
        return {file: file.stat().st_mtime for file in (PERFORMANCE / "results").iterdir()}

    before = state()
    yield
    assert state() == before


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the stack's programs before the first test and show progress: it may take minutes."""
    chosen = any(item.get_closest_marker("stack") for item in session.items)
    if session.config.option.collectonly or not chosen:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), proxies():
        try:
            programs.build_missing()
        except UserError as error:
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser is on PATH")
    return found


@pytest.fixture
def passable_dir() -> Iterator[Path]:
    """Return a folder that PostgreSQL's user can enter; pytest's are closed to other users."""
    with TemporaryDirectory(prefix="clinic-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with a_prometheus(tmp_path_factory.mktemp("prometheus")) as client:
        yield client


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    with migrated_database() as settings:
        yield settings


@pytest.fixture(scope="session")
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="session")
def metrics() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture(scope="session")
async def app(
    settings: Settings, spans: InMemorySpanExporter, metrics: InMemoryMetricReader
) -> AsyncIterator[Litestar]:
    app = create_app(as_api(settings), exporter=spans, reader=metrics)
    async with app.lifespan():
        yield app


@pytest.fixture(scope="session")
def database(app: Litestar) -> Database:
    database: Database = app.state.database
    return database


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[AsyncClient]:
    async with app_client(app) as client:
        yield client


@pytest.fixture
async def owner_id(client: AsyncClient) -> int:
    answer = await client.post("/owners", json={"name": "Ana Rojas", "email": unique_email()})
    return int(answer.json()["id"])


@pytest.fixture
async def appointment_id(client: AsyncClient, pet_id: int) -> int:
    body = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
    response = await client.post(f"/pets/{pet_id}/appointments", json=body)
    return int(response.json()["id"])


@pytest.fixture
async def pet_id(client: AsyncClient, owner_id: int) -> int:
    answer = await client.post(f"/owners/{owner_id}/pets", json={"name": "Luna", "species": "dog"})
    return int(answer.json()["id"])
