from asyncio import gather

import pytest
from httpx import AsyncClient

from clinic.database import Database
from clinic.owners import statements
from tests.conftest import an_email

pytestmark = pytest.mark.anyio


async def test_a_registered_owner_is_answered_with_its_place(client: AsyncClient) -> None:
    email = an_email()
    wish = {"name": "Ana Rojas", "email": email, "phone": "+56 9 1234 5678"}

    answer = await client.post("/owners", json=wish)

    assert answer.status_code == 201
    owner = answer.json()
    assert owner | wish == owner
    assert answer.headers["location"] == f"/owners/{owner['id']}"
    assert (await client.get(answer.headers["location"])).json() == owner


async def test_the_row_is_there_when_201_is_answered(
    client: AsyncClient, database: Database
) -> None:
    answer = await client.post("/owners", json={"name": "Ana", "email": an_email()})

    row = await database.one(statements.READ, owner_id=answer.json()["id"])

    assert row is not None
    assert row.email == answer.json()["email"]


async def test_one_address_registers_once_whatever_its_letter_case(client: AsyncClient) -> None:
    email = an_email()
    wishes = [{"name": "Ana", "email": address} for address in (email, email.upper(), email)]

    answers = await gather(*(client.post("/owners", json=wish) for wish in wishes))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["errors"][0]["pointer"] == "#/email"


async def test_a_change_leaves_absent_fields_and_clears_null_ones(
    client: AsyncClient, owner_id: int
) -> None:
    path = f"/owners/{owner_id}"
    before = (await client.get(path)).json()

    with_phone = await client.patch(path, json={"phone": "123"})
    without = await client.patch(path, json={"name": "Ana R.", "phone": None})

    assert with_phone.json() == {**before, "phone": "123"}
    assert without.json() == {**before, "name": "Ana R."}
    assert (await client.get(path)).json() == without.json()


async def test_a_change_of_nothing_answers_what_is_there(
    client: AsyncClient, owner_id: int
) -> None:
    path = f"/owners/{owner_id}"

    answer = await client.patch(path, json={})

    assert answer.json() == (await client.get(path)).json()


async def test_an_owner_cannot_take_anothers_address(client: AsyncClient, owner_id: int) -> None:
    taken = (await client.get(f"/owners/{owner_id}")).json()["email"]
    other = (await client.post("/owners", json={"name": "Eva", "email": an_email()})).json()

    answer = await client.patch(f"/owners/{other['id']}", json={"email": taken.upper()})

    assert answer.status_code == 409
    assert (await client.get(f"/owners/{other['id']}")).json() == other


async def test_an_owner_goes_with_pets_and_their_appointments(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    wish = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
    appointment = (await client.post(f"/pets/{pet_id}/appointments", json=wish)).json()

    deleted = await client.delete(f"/owners/{owner_id}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in (
        f"/owners/{owner_id}",
        f"/pets/{pet_id}",
        f"/appointments/{appointment['id']}",
    ):
        assert (await client.get(path)).status_code == 404
    assert (await client.delete(f"/owners/{owner_id}")).status_code == 404


async def test_pages_show_every_owner_once_newest_first(client: AsyncClient) -> None:
    made = [
        (await client.post("/owners", json={"name": "Ana", "email": an_email()})).json()["id"]
        for _ in range(7)
    ]
    seen: list[int] = []
    path = "/owners?limit=3"

    while len(seen) < len(made):
        answer = await client.get(path)
        assert len(answer.json()) <= 3
        seen += [owner["id"] for owner in answer.json()]
        path = answer.links.get("next", {}).get("url", "/owners?limit=3")
        # Rows that come while somebody turns pages do not shift them.
        await client.post("/owners", json={"name": "Eva", "email": an_email()})

    assert seen[:7] == sorted(made, reverse=True)


async def test_the_last_page_has_no_next(client: AsyncClient, owner_id: int) -> None:
    answer = await client.get("/owners?limit=500")

    assert owner_id in [owner["id"] for owner in answer.json()]
    assert "link" not in answer.headers
