"""Idempotency-Key: a repeated POST gets the first response and writes one row."""

from asyncio import create_task, gather
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from clinic import idempotency
from clinic.appointments import controller
from clinic.database import Database
from clinic.settings import Settings
from tests.support.clinic import app_client, running_app, unique_email

pytestmark = pytest.mark.anyio

TIME = "2090-01-02T09:00:00Z"


def keyed(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


def essence(response: Response) -> tuple[int, bytes, Sequence[str | None]]:
    """Return what must not differ between a response and its repetition."""
    names = ("location", "etag", "content-type", "content-length")
    return response.status_code, response.content, [response.headers.get(name) for name in names]


async def stored(database: Database) -> int:
    row = await database.one(text("SELECT count(*) FROM idempotency_key"))
    return int(row[0])


async def test_a_repeated_post_gets_the_first_response_and_writes_one_row(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    owner = {"name": "Eva", "email": unique_email()}
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/owners", owner),
        (f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}),
        (f"/pets/{pet_id}/appointments", {"scheduled_at": TIME, "reason": "check-up"}),
    ]
    for path, body in posts:
        headers = keyed(f"retry-{path}-{owner_id}")
        first, *again = [await client.post(path, json=body, headers=headers) for _ in range(3)]

        assert first.status_code == 201
        assert [essence(response) for response in again] == [essence(first)] * 2
        read = await client.get(first.headers["location"])
        assert (read.json(), read.headers["etag"]) == (first.json(), first.headers["etag"])
    assert len((await client.get(f"/owners/{owner_id}/pets")).json()) == 2
    assert len((await client.get(f"/pets/{pet_id}/appointments")).json()) == 1


async def test_the_first_response_is_that_of_a_request_without_a_key(
    client: AsyncClient, owner_id: int
) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}

    plain = await client.post(path, json=body)
    with_key = await client.post(path, json=body, headers=keyed("k"))

    assert with_key.headers.keys() == plain.headers.keys()
    assert with_key.headers["content-type"] == plain.headers["content-type"]
    assert with_key.json().keys() == plain.json().keys()


async def test_a_repetition_shows_the_first_response_after_changes(
    client: AsyncClient, owner_id: int
) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}
    first = await client.post(path, json=body, headers=keyed("a"))
    await client.patch(first.headers["location"], json={"name": "Luna"})

    changed = await client.post(path, json=body, headers=keyed("a"))
    await client.delete(first.headers["location"])
    deleted = await client.post(path, json=body, headers=keyed("a"))

    assert essence(changed) == essence(deleted) == essence(first)


async def test_a_booking_is_repeated_after_its_time_has_passed(
    client: AsyncClient, pet_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/pets/{pet_id}/appointments"
    time = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"scheduled_at": time, "reason": "check-up"}
    first = await client.post(path, json=body, headers=keyed("late"))

    def ensure_future(_: datetime) -> None:
        raise AssertionError

    monkeypatch.setattr(controller, "ensure_future", ensure_future)
    again = await client.post(path, json=body, headers=keyed("late"))

    assert essence(again) == essence(first)


async def test_cancelling_with_a_key_gets_the_first_response_again(
    client: AsyncClient, pet_id: int
) -> None:
    body = {"scheduled_at": TIME, "reason": "check-up"}
    booked = await client.post(f"/pets/{pet_id}/appointments", json=body)
    path = f"{booked.headers['location']}/cancel"
    headers = {**keyed("c"), "if-match": booked.headers["etag"]}

    first = await client.post(path, headers=headers)
    again = await client.post(path, headers=headers)

    assert first.status_code == 200
    assert first.json()["status"] == "cancelled"
    assert essence(again) == essence(first)


@pytest.mark.parametrize(
    "other", [{"name": "Sol", "species": "dog"}, {"name": "Sol", "species": "cat", "breed": "x"}]
)
async def test_a_key_with_another_body_is_422(
    client: AsyncClient, owner_id: int, other: dict[str, str]
) -> None:
    path = f"/owners/{owner_id}/pets"
    await client.post(path, json={"name": "Sol", "species": "cat"}, headers=keyed("b"))

    response = await client.post(path, json=other, headers=keyed("b"))

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert len((await client.get(path)).json()) == 1


async def test_layout_of_the_body_does_not_matter(client: AsyncClient, owner_id: int) -> None:
    path = f"/owners/{owner_id}/pets"
    headers = {**keyed("l"), "content-type": "application/json"}

    first = await client.post(path, json={"name": "Sol", "species": "cat"}, headers=headers)
    again = await client.post(path, content=b'{"species":"cat",\n "name":"Sol"}', headers=headers)

    assert essence(again) == essence(first)


async def test_a_key_belongs_to_its_path(client: AsyncClient, owner_id: int) -> None:
    other = (await client.post("/owners", json={"name": "Eva", "email": unique_email()})).json()
    body = {"name": "Sol", "species": "cat"}

    pets = [
        await client.post(f"/owners/{owner}/pets", json=body, headers=keyed("same"))
        for owner in (owner_id, other["id"])
    ]

    assert [pet.json()["owner_id"] for pet in pets] == [owner_id, other["id"]]


@pytest.mark.parametrize(
    "key",
    [
        "7",
        "8e03978e-40d5-43e8-bc93-6894a57f9324",
        '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
        '"a key with, blanks; and \\"quotes\\""',
        "x" * 255,
        f'"{"x" * 255}"',
        "sha256:abc+/=",
    ],
)
async def test_keys_may_be_quoted(client: AsyncClient, owner_id: int, key: str) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}

    first = await client.post(path, json=body, headers=keyed(key))
    again = await client.post(path, json=body, headers=keyed(key))

    assert first.status_code == 201
    assert essence(again) == essence(first)


@pytest.mark.parametrize(
    "key",
    ["", " ", '""', "x" * 256, f'"{"x" * 256}"', "a b", '"a', 'a"', '"a"b"', "a,b", '"a";q=1', "é"],
)
async def test_malformed_keys_are_400(client: AsyncClient, owner_id: int, key: str) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}

    response = await client.post(path, json=body, headers={b"idempotency-key": key.encode()})

    assert response.status_code == 400
    assert response.json()["errors"][0]["parameter"] == "Idempotency-Key"
    assert (await client.get(path)).json() == []


async def test_two_keys_are_400(client: AsyncClient, owner_id: int) -> None:
    headers = [("idempotency-key", "a"), ("idempotency-key", "a")]
    body = {"name": "Sol", "species": "cat"}

    response = await client.post(f"/owners/{owner_id}/pets", json=body, headers=headers)

    assert response.status_code == 400


async def test_of_concurrent_requests_with_a_key_one_writes(
    client: AsyncClient, owner_id: int
) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}

    responses = await gather(
        *(client.post(path, json=body, headers=keyed("many")) for _ in range(10))
    )

    assert {response.status_code for response in responses} <= {201, 409}
    created = [response for response in responses if response.status_code == 201]
    assert created
    assert len({response.content for response in created}) == 1
    assert len((await client.get(path)).json()) == 1
    for response in responses:
        if response.status_code == 409:
            assert "in progress" in response.json()["detail"]
            assert response.headers["retry-after"] == "1"


async def test_a_request_while_the_first_is_in_progress_is_409(
    client: AsyncClient, database: Database
) -> None:
    body = {"name": "Eva", "email": unique_email()}
    insert = text("INSERT INTO owner (name, email) VALUES ('x', :email) RETURNING id")
    waiting = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    async def post() -> Response:
        return await client.post("/owners", json=body, headers=keyed("slow"))

    with suppress(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.one(insert, email=body["email"])
            first = create_task(post())
            while not await database.all(waiting):
                pass
            second = await post()
            raise ZeroDivisionError  # roll back, so that the first request may have the address

    assert second.status_code == 409
    assert "in progress" in second.json()["detail"]
    assert (await first).status_code == 201
    assert essence(await post()) == essence(await first)


@pytest.mark.parametrize(
    "refused", [{"name": "", "email": "ana@example.org"}, {"name": "Eva", "email": "taken"}]
)
async def test_a_refused_request_leaves_the_key_free(
    client: AsyncClient, database: Database, owner_id: int, refused: dict[str, str]
) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    body = {key: value.replace("taken", taken) for key, value in refused.items()}
    headers = keyed(f"free-{owner_id}")
    before = await stored(database)

    response = await client.post("/owners", json=body, headers=headers)

    assert response.status_code in {400, 409}
    assert await stored(database) == before
    good = {"name": "Eva", "email": unique_email()}
    assert (await client.post("/owners", json=good, headers=headers)).status_code == 201


async def test_a_failure_leaves_neither_row_nor_key(
    client: AsyncClient, owner_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "STORE", text("SELECT 1 / 0"))
        failed = await client.post(path, json=body, headers=keyed("f"))

    assert failed.status_code == 500
    assert (await client.get(path)).json() == []
    assert (await client.post(path, json=body, headers=keyed("f"))).status_code == 201
    assert len((await client.get(path)).json()) == 1


async def test_a_key_is_free_after_24_hours(
    client: AsyncClient, database: Database, owner_id: int
) -> None:
    path, body = f"/owners/{owner_id}/pets", {"name": "Sol", "species": "cat"}
    age = text(
        "UPDATE idempotency_key SET created_at = created_at - CAST(:age AS interval)"
        " WHERE path = :path RETURNING 1"
    )
    first = await client.post(path, json=body, headers=keyed("day"))

    await database.all(age, age=timedelta(hours=23, minutes=59), path=path)
    within = await client.post(path, json=body, headers=keyed("day"))
    await database.all(age, age=timedelta(minutes=2), path=path)
    after = await client.post(path, json=body, headers=keyed("day"))
    again = await client.post(path, json=body, headers=keyed("day"))

    assert essence(within) == essence(first)
    assert after.json()["id"] != first.json()["id"]
    assert essence(again) == essence(after)


async def test_expired_keys_are_removed(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.all(
        text(
            "INSERT INTO idempotency_key (path, key, fingerprint, status, body, etag, created_at)"
            " SELECT '/x', k, '', 201, '', '', now() - CAST(a AS interval)"
            " FROM (VALUES ('new', '23 hours') UNION ALL"
            "  SELECT 'old' || n, '25 hours' FROM generate_series(0, 10000) AS n) AS v (k, a)"
            " RETURNING 1"
        )
    )
    kept = text("SELECT key FROM idempotency_key WHERE path = '/x'")
    monkeypatch.setattr(idempotency, "EXPIRY_SECONDS", 0.01)

    async with running_app(settings):
        while len(keys := await database.all(kept)) > 1:
            pass

    assert [row.key for row in keys] == ["new"]


async def test_without_a_key_nothing_is_stored_and_no_transaction_begins(
    client: AsyncClient, database: Database, owner_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transaction(_: Database) -> None:
        raise AssertionError

    monkeypatch.setattr(Database, "transaction", transaction)
    before = await stored(database)

    response = await client.post(f"/owners/{owner_id}/pets", json={"name": "Sol", "species": "cat"})

    assert response.status_code == 201
    assert await stored(database) == before


async def test_connections_commit_each_statement_after_a_transaction(settings: Settings) -> None:
    email = unique_email()
    async with running_app(settings, pool_size=1) as app, app_client(app) as client:
        headers = keyed("pool")
        body = {"name": "Eva", "email": email}
        assert (await client.post("/owners", json=body, headers=headers)).status_code == 201
        assert (await client.post("/owners", json=body)).status_code == 409
        plain = await client.post("/owners", json={"name": "Eva", "email": unique_email()})

    async with running_app(settings) as other, app_client(other) as client:
        assert (await client.get(plain.headers["location"])).status_code == 200


async def test_a_key_needs_the_token(settings: Settings) -> None:
    token = {"authorization": "Bearer correct-horse-battery"}
    body = {"name": "Eva", "email": unique_email()}
    async with (
        running_app(settings, api_token="correct-horse-battery") as app,
        app_client(app) as client,
    ):
        await client.post("/owners", json=body, headers={**keyed("t"), **token})
        stranger = await client.post("/owners", json=body, headers=keyed("t"))

    assert stranger.status_code == 401
