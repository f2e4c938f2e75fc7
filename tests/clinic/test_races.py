"""Requests that conflict, by 200 clients of a real server."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from clinic.settings import Settings
from performance.torture.races import RACES, Race, racing
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
