"""Requests that conflict, by 200 clients of a real server, and two migrators of a new database."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from clinic.settings import Settings
from performance.torture.races import RACES, Race, racing
from tests.support.clinic import new_database
from tests.support.server import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    patience = {"CLINIC_POOL_TIMEOUT": "60", "CLINIC_STATEMENT_TIMEOUT": "60"}
    with serving(settings, OTEL_SDK_DISABLED="true", **patience) as (_, url):
        yield url


@pytest.mark.parametrize("run", RACES, ids=lambda run: run.__name__)
async def test_of_conflicting_requests_one_succeeds(
    url: str, run: Callable[[Race], Awaitable[None]]
) -> None:
    async with racing(url) as race:
        await run(race)

    assert race.violations == [], race.statuses


def test_two_migrators_of_a_new_database_succeed() -> None:
    with new_database() as settings:
        env = {"CLINIC_DATABASE_URL": settings.database_url}
        command = [sys.executable, "-m", "clinic", "migrate"]
        runs = [subprocess.Popen(command, env=env) for _ in range(2)]
        codes = [run.wait(120) for run in runs]
        with serving(settings, OTEL_SDK_DISABLED="true"):  # it waits until the schema is complete
            pass

    assert codes == [0, 0]
