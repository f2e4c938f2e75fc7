from asyncio import gather

import pytest
from httpx import AsyncClient

from clinic.database import Database
from clinic.owners import statements
from tests.support.clinic import unique_email

pytestmark = pytest.mark.anyio


async def test_registering_returns_the_owner_and_its_location(client: AsyncClient) -> None:
    email = unique_email()
    body = {"name": "Ana Rojas", "email": email, "phone": "+56 9 1234 5678"}

    response = await client.post("/owners", json=body)

    assert response.status_code == 201
    owner = response.json()
    assert owner | body == owner
    assert response.headers["location"] == f"/owners/{owner['id']}"
    assert (await client.get(response.headers["location"])).json() == owner


async def test_the_row_is_committed_before_the_response(
    client: AsyncClient, database: Database
) -> None:
    response = await client.post("/owners", json={"name": "Ana", "email": unique_email()})

    row = await database.one(statements.READ, owner_id=response.json()["id"])

    assert row.email == response.json()["email"]


async def test_email_addresses_are_unique_regardless_of_case(client: AsyncClient) -> None:
    email = unique_email()
    bodies = [{"name": "Ana", "email": address} for address in (email, email.upper(), email)]

    responses = await gather(*(client.post("/owners", json=body) for body in bodies))

    assert sorted(response.status_code for response in responses) == [201, 409, 409]
    refused = next(response for response in responses if response.status_code == 409)
    assert refused.json()["errors"][0]["pointer"] == "#/email"


async def test_a_patch_keeps_absent_fields_and_clears_null_ones(
    client: AsyncClient, owner_id: int
) -> None:
    path = f"/owners/{owner_id}"
    before = (await client.get(path)).json()

    unchanged = await client.patch(path, json={})
    with_phone = await client.patch(path, json={"phone": "123"})
    without = await client.patch(path, json={"name": "Ana R.", "phone": None})

    assert unchanged.json() == before
    assert with_phone.json() == {**before, "phone": "123"}
    assert without.json() == {**before, "name": "Ana R."}
    assert (await client.get(path)).json() == without.json()


async def test_an_owner_cannot_take_an_address_in_use(client: AsyncClient, owner_id: int) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    other = (await client.post("/owners", json={"name": "Eva", "email": unique_email()})).json()

    response = await client.patch(f"/owners/{other['id']}", json={"email": taken.upper()})

    assert response.status_code == 409
    assert (await client.get(f"/owners/{other['id']}")).json() == other


async def test_deleting_an_owner_deletes_its_pets_and_their_appointments(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    body = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
    appointment = (await client.post(f"/pets/{pet_id}/appointments", json=body)).json()

    deleted = await client.delete(f"/owners/{owner_id}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in (
        f"/owners/{owner_id}",
        f"/pets/{pet_id}",
        f"/appointments/{appointment['id']}",
    ):
        assert (await client.get(path)).status_code == 404
    assert (await client.delete(f"/owners/{owner_id}")).status_code == 404


async def test_pages_list_every_owner_once_newest_first(client: AsyncClient) -> None:
    created = [
        (await client.post("/owners", json={"name": "Ana", "email": unique_email()})).json()["id"]
        for _ in range(7)
    ]
    listed: list[int] = []
    path = "/owners?limit=3"

    while len(listed) < len(created):
        response = await client.get(path)
        assert len(response.json()) <= 3
        listed += [owner["id"] for owner in response.json()]
        path = response.links.get("next", {}).get("url", "/owners?limit=3")
        # Rows inserted meanwhile do not shift the pages.
        await client.post("/owners", json={"name": "Eva", "email": unique_email()})

    assert listed[:7] == sorted(created, reverse=True)


async def test_the_last_page_has_no_next(client: AsyncClient, owner_id: int) -> None:
    response = await client.get("/owners?limit=500")

    assert owner_id in [owner["id"] for owner in response.json()]
    assert "link" not in response.headers
