"""Times are instants: the time zones of the API and of PostgreSQL change no answer."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from clinic.database import database_config
from clinic.settings import Settings
from tests.support.clinic import app_client, as_api, running_app, unique_email

pytestmark = pytest.mark.anyio

SANTIAGO = "America/Santiago"
ZONES = [(api, database) for api in ("UTC", SANTIAGO) for database in ("UTC", SANTIAGO)]


@pytest.fixture(params=ZONES, ids="/".join)
async def client(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """Return a client of an API and a database in these time zones."""
    api, database = request.param
    owner = database_config(settings).get_engine()
    async with owner.connect() as connection:
        await connection.execute(text(f"ALTER DATABASE clinic SET timezone = '{database}'"))
    monkeypatch.setenv("TZ", api)
    time.tzset()
    try:
        async with running_app(as_api(settings)) as app, app_client(app) as client:
            assert (await app.state.database.one(text("SHOW timezone")))[0] == database
            assert (time.timezone == 0) == (api == "UTC")
            yield client
        async with owner.connect() as connection:
            await connection.execute(text("ALTER DATABASE clinic RESET timezone"))
    finally:
        await owner.dispose()


@pytest.fixture(autouse=True)
def own_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Return to the time zone of the tests."""
    yield
    monkeypatch.undo()
    time.tzset()


async def book(client: AsyncClient, pet_id: int, at: str, **fields: Any) -> Any:
    body = {"scheduled_at": at, "reason": "check-up", **fields}
    response = await client.post(f"/pets/{pet_id}/appointments", json=body)
    return response.json()["scheduled_at"] if response.status_code == 201 else response.status_code


async def agenda(client: AsyncClient, name: str, **bounds: str) -> list[str]:
    """Read the agenda of one veterinarian, page by page."""
    parameters: dict[str, str] | None = {"veterinarian": name, "limit": "1", **bounds}
    url, times = "/appointments", []
    while url:
        response = await client.get(url, params=parameters)
        parameters = None
        assert response.status_code == 200, response.text
        times += [appointment["scheduled_at"] for appointment in response.json()]
        url = response.links.get("next", {}).get("url", "")
    return times


async def test_the_hour_that_a_clock_repeats_has_two_instants(
    client: AsyncClient, pet_id: int
) -> None:
    """At 2090-04-02T03:00Z clocks in Santiago go from 24:00 back to 23:00 of 1 April."""
    name = unique_email()
    times = {
        "2090-04-01T23:30:00-03:00": "2090-04-02T02:30:00Z",
        "2090-04-01T23:30:00-04:00": "2090-04-02T03:30:00Z",
        "2090-04-02T00:30:00-03:00": 409,
        "2090-04-01T23:59:59.999999-04:00": "2090-04-02T03:59:59.999999Z",
        "2090-04-02T00:00:00-04:00": "2090-04-02T04:00:00Z",
    }

    assert {at: await book(client, pet_id, at, veterinarian=name) for at in times} == times

    # The day has 25 hours.
    first = {"from": "2090-04-01T00:00:00-03:00", "to": "2090-04-02T00:00:00-04:00"}
    assert await agenda(client, name, **first) == [
        "2090-04-02T02:30:00Z",
        "2090-04-02T03:30:00Z",
        "2090-04-02T03:59:59.999999Z",
    ]
    second = {"from": "2090-04-02T00:00:00-04:00", "to": "2090-04-03T00:00:00-04:00"}
    assert await agenda(client, name, **second) == ["2090-04-02T04:00:00Z"]


async def test_the_hour_that_a_clock_skips_is_the_next_one(
    client: AsyncClient, pet_id: int
) -> None:
    """At 2090-09-03T04:00Z clocks in Santiago go from 00:00 to 01:00."""
    name = unique_email()
    times = {
        "2090-09-02T23:59:00-04:00": "2090-09-03T03:59:00Z",
        "2090-09-03T00:30:00-04:00": "2090-09-03T04:30:00Z",
        "2090-09-03T01:30:00-03:00": 409,
        "2090-09-03T01:00:00-03:00": "2090-09-03T04:00:00Z",
    }

    assert {at: await book(client, pet_id, at, veterinarian=name) for at in times} == times

    # The day has 23 hours.
    day = {"from": "2090-09-03T00:00:00-04:00", "to": "2090-09-04T00:00:00-03:00"}
    assert await agenda(client, name, **day) == ["2090-09-03T04:00:00Z", "2090-09-03T04:30:00Z"]


async def test_leap_days_exist_in_leap_years_only(client: AsyncClient, pet_id: int) -> None:
    name = unique_email()
    times = {
        "2092-02-29T23:30:00-03:00": "2092-03-01T02:30:00Z",
        "2092-02-29T09:30:00Z": "2092-02-29T09:30:00Z",
        "2093-02-29T09:30:00Z": 400,
        "2100-02-29T09:30:00Z": 400,
        "2400-02-29T09:30:00Z": "2400-02-29T09:30:00Z",
        "2092-02-30T09:30:00Z": 400,
        "2092-12-31T23:59:60Z": 400,
    }

    assert {at: await book(client, pet_id, at, veterinarian=name) for at in times} == times

    day = {"from": "2092-02-29T00:00:00-03:00", "to": "2092-03-01T00:00:00-03:00"}
    assert await agenda(client, name, **day) == ["2092-02-29T09:30:00Z", "2092-03-01T02:30:00Z"]


async def test_the_last_year_begins_in_utc(client: AsyncClient, pet_id: int) -> None:
    name = unique_email()
    times = {
        "9998-12-31T23:59:59Z": "9998-12-31T23:59:59Z",
        "9998-12-31T23:59:00Z": 409,
        "9998-12-31T20:58:00-03:00": "9998-12-31T23:58:00Z",
        "9999-01-01T02:57:00+03:00": "9998-12-31T23:57:00Z",
        "9998-12-31T21:00:00-03:00": 400,
        "9999-01-01T00:00:00Z": 400,
        "9999-12-31T23:59:59Z": 400,
        "10000-01-01T00:00:00Z": 400,
    }

    assert {at: await book(client, pet_id, at, veterinarian=name) for at in times} == times

    last = ["9998-12-31T23:57:00Z", "9998-12-31T23:58:00Z", "9998-12-31T23:59:59Z"]
    assert await agenda(client, name) == last
    assert await agenda(client, name, **{"from": "9998-12-31T20:58:00-03:00"}) == last[1:]
    assert await agenda(client, name, to="9999-12-31T23:59:59.999999Z") == last
    response = await client.get(f"/pets/{pet_id}/appointments", params={"limit": 1})
    response = await client.get(response.links["next"]["url"])
    assert [row["scheduled_at"] for row in response.json()] == last[1:2]


async def test_times_without_an_offset_are_refused(client: AsyncClient, pet_id: int) -> None:
    assert await book(client, pet_id, "2090-05-17T09:30:00") == 400
    response = await client.get("/appointments", params={"from": "2090-05-17T09:30:00"})
    assert response.status_code == 400


async def test_the_present_is_the_same_in_every_time_zone(client: AsyncClient, pet_id: int) -> None:
    now = time.time()

    def at(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + seconds))

    assert await book(client, pet_id, at(-600)) == 422
    assert await book(client, pet_id, at(600)) == at(600)
    created = (await client.get(f"/pets/{pet_id}")).json()["created_at"]
    assert at(-600) < created < at(600)
