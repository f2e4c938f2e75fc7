import pytest
from httpx import AsyncClient

pytestmark = pytest.mark.anyio


async def test_registering_returns_the_pet_and_its_location(
    client: AsyncClient, owner_id: int
) -> None:
    body = {"name": "Luna", "species": "dog", "breed": "beagle"}

    response = await client.post(f"/owners/{owner_id}/pets", json=body)

    pet = response.json()
    assert response.status_code == 201
    assert pet | body | {"owner_id": owner_id} == pet
    assert response.headers["location"] == f"/pets/{pet['id']}"
    assert (await client.get(f"/pets/{pet['id']}")).json() == pet
    assert (await client.get(f"/owners/{owner_id}/pets")).json() == [pet]


async def test_a_pet_needs_an_existing_owner(client: AsyncClient) -> None:
    response = await client.post("/owners/999999999/pets", json={"name": "Luna", "species": "dog"})

    assert response.status_code == 404


async def test_an_owner_without_pets_has_an_empty_list_and_an_unknown_owner_is_404(
    client: AsyncClient, owner_id: int
) -> None:
    assert (await client.get(f"/owners/{owner_id}/pets")).json() == []
    assert (await client.get("/owners/999999999/pets")).status_code == 404


async def test_pages_list_every_pet_once_newest_first(client: AsyncClient, owner_id: int) -> None:
    path = f"/owners/{owner_id}/pets"
    created = [
        (await client.post(path, json={"name": f"Luna {n}", "species": "dog"})).json()["id"]
        for n in range(5)
    ]

    first = await client.get(path, params={"limit": 3})
    second = await client.get(first.links["next"]["url"])
    beyond = await client.get(path, params={"cursor": "1"})

    assert [pet["id"] for pet in first.json() + second.json()] == sorted(created, reverse=True)
    assert "next" not in second.links
    assert (beyond.status_code, beyond.json()) == (200, [])


async def test_a_patch_keeps_absent_fields_and_clears_null_ones(
    client: AsyncClient, pet_id: int
) -> None:
    path = f"/pets/{pet_id}"
    before = (await client.get(path)).json()

    changed = await client.patch(path, json={"breed": "beagle", "name": "Lunita"})
    cleared = await client.patch(path, json={"breed": None})

    assert changed.json() == {**before, "breed": "beagle", "name": "Lunita"}
    assert cleared.json() == {**before, "name": "Lunita"}
    assert (await client.patch("/pets/999999999", json={"name": "Luna"})).status_code == 404


async def test_a_deleted_pet_is_gone(client: AsyncClient, pet_id: int) -> None:
    assert (await client.delete(f"/pets/{pet_id}")).status_code == 204

    assert (await client.get(f"/pets/{pet_id}")).status_code == 404
    assert (await client.delete(f"/pets/{pet_id}")).status_code == 404
