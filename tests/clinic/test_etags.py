"""ETag, If-Match and If-None-Match of owners, pets and appointments."""

from asyncio import gather
from typing import Any

import pytest
from httpx import AsyncClient, Response

from tests.support.clinic import unique_email

pytestmark = pytest.mark.anyio

KINDS = ["owners", "pets", "appointments"]
CHANGES: dict[str, dict[str, Any]] = {
    "owners": {"phone": "12345"},
    "pets": {"breed": "beagle"},
    "appointments": {"notes": "fasting"},
}


@pytest.fixture
def paths(owner_id: int, pet_id: int, appointment_id: int) -> dict[str, str]:
    ids = {"owners": owner_id, "pets": pet_id, "appointments": appointment_id}
    return {kind: f"/{kind}/{key}" for kind, key in ids.items()}


def tag(response: Response) -> str:
    """Check that the response has a strong tag and return it."""
    etag: str = response.headers["etag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    return etag


@pytest.mark.parametrize("kind", KINDS)
async def test_each_change_gives_a_new_tag_that_reading_repeats(
    client: AsyncClient, paths: dict[str, str], kind: str
) -> None:
    path = paths[kind]

    first = tag(await client.get(path))
    unchanged = tag(await client.patch(path, json={}))
    second = tag(await client.patch(path, json=CHANGES[kind]))
    third = tag(await client.patch(path, json=CHANGES[kind]))

    assert unchanged == first
    assert len({first, second, third}) == 3
    assert tag(await client.get(path)) == third
    assert tag(await client.head(path)) == third


async def test_a_new_resource_and_a_cancelled_appointment_have_a_tag(
    client: AsyncClient, paths: dict[str, str], owner_id: int, pet_id: int
) -> None:
    owner = await client.post("/owners", json={"name": "Eva", "email": unique_email()})
    pet = await client.post(f"/owners/{owner_id}/pets", json={"name": "Sol", "species": "cat"})
    appointment = await client.post(
        f"/pets/{pet_id}/appointments",
        json={"scheduled_at": "2090-01-03T09:00:00Z", "reason": "check-up"},
    )
    cancelled = await client.post(f"{paths['appointments']}/cancel")
    again = await client.post(f"{paths['appointments']}/cancel")

    for created in (owner, pet, appointment):
        assert tag(created) == tag(await client.get(created.headers["location"]))
    assert tag(cancelled) == tag(again) == tag(await client.get(paths["appointments"]))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_of_another_version_is_412_and_changes_nothing(
    client: AsyncClient, paths: dict[str, str], kind: str
) -> None:
    path = paths[kind]
    old = tag(await client.get(path))
    current = await client.patch(path, json=CHANGES[kind])
    stale = [old, '"stale"', f"W/{tag(current)}", f'"0{tag(current)[1:]}', '"-1"', f'"{2**64}"']

    for value in [*stale, ", ".join(stale)]:
        change = await client.patch(path, json=CHANGES[kind], headers={"if-match": value})
        empty = await client.patch(path, json={}, headers={"if-match": value})
        read = await client.get(path, headers={"if-match": value})

        for response in (change, empty, read):
            assert response.status_code == 412, value
            assert response.headers["content-type"] == "application/problem+json"
    if kind != "appointments":
        assert (await client.delete(path, headers={"if-match": old})).status_code == 412
    else:
        headers = {"if-match": old}
        assert (await client.post(f"{path}/cancel", headers=headers)).status_code == 412
    after = await client.get(path)
    assert (after.json(), tag(after)) == (current.json(), tag(current))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["*", " * ", "{}", '"a", {}', '"a,b" ,, W/"x",{}', "{} ,"])
async def test_a_change_of_the_version_that_is_named_succeeds(
    client: AsyncClient, paths: dict[str, str], kind: str, value: str
) -> None:
    path = paths[kind]
    headers = {"if-match": value.replace("{}", tag(await client.get(path)))}
    assert (await client.get(path, headers=headers)).status_code == 200

    response = await client.patch(path, json=CHANGES[kind], headers=headers)

    assert response.status_code == 200
    headers = {"if-match": value.replace("{}", tag(response))}
    if kind == "appointments":
        assert (await client.post(f"{path}/cancel", headers=headers)).status_code == 200
    else:
        assert (await client.delete(path, headers=headers)).status_code == 204


async def test_tags_on_several_lines_are_one_list(client: AsyncClient, owner_id: int) -> None:
    path = f"/owners/{owner_id}"
    headers = [("if-match", '"a"'), ("if-match", tag(await client.get(path)))]

    response = await client.patch(path, json={"phone": "12345"}, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_one_of_several_changes_of_a_version_succeeds(
    client: AsyncClient, paths: dict[str, str], kind: str
) -> None:
    path = paths[kind]
    headers = {"if-match": tag(await client.get(path))}

    responses = await gather(
        *(client.patch(path, json=CHANGES[kind], headers=headers) for _ in range(8))
    )

    assert sorted(response.status_code for response in responses) == [200] + [412] * 7


@pytest.mark.parametrize("kind", KINDS)
async def test_without_the_resource_a_condition_is_404(client: AsyncClient, kind: str) -> None:
    for value in ("*", '"1"'):
        headers = {"if-match": value}
        path = f"/{kind}/999999999"

        assert (await client.get(path, headers=headers)).status_code == 404
        assert (await client.patch(path, json={}, headers=headers)).status_code == 404
        change = await client.patch(path, json=CHANGES[kind], headers=headers)
        assert change.status_code == 404


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["*", "{}", "W/{}", '"a", W/{}'])
async def test_a_version_that_the_client_has_is_304(
    client: AsyncClient, paths: dict[str, str], kind: str, value: str
) -> None:
    path = paths[kind]
    current = tag(await client.get(path))
    headers = {"if-none-match": value.replace("{}", current)}

    for response in (
        await client.get(path, headers=headers),
        await client.head(path, headers=headers),
    ):
        assert (response.status_code, response.content) == (304, b"")
        assert tag(response) == current
        assert "content-type" not in response.headers
    refused = await client.patch(path, json=CHANGES[kind], headers=headers)
    assert refused.status_code == 412
    assert (await client.patch(path, json={}, headers=headers)).status_code == 412
    assert tag(await client.get(path)) == current


@pytest.mark.parametrize("kind", KINDS)
async def test_a_version_that_the_client_does_not_have_is_sent(
    client: AsyncClient, paths: dict[str, str], kind: str
) -> None:
    headers = {"if-none-match": '"1", W/"stale"'}

    read = await client.get(paths[kind], headers=headers)
    changed = await client.patch(paths[kind], json=CHANGES[kind], headers=headers)

    assert (read.status_code, changed.status_code) == (200, 200)


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
@pytest.mark.parametrize(
    "value",
    ["", "742", "'742'", '"742', '742"', '*, "742"', '"a" "b"', 'w/"742"', '"a"b', "**", ","],
)
async def test_malformed_conditions_are_400(
    client: AsyncClient, owner_id: int, name: str, value: str
) -> None:
    path = f"/owners/{owner_id}"
    before = (await client.get(path)).json()

    read = await client.get(path, headers={name: value})
    changed = await client.patch(path, json={"phone": "12345"}, headers={name: value})

    assert (read.status_code, changed.status_code) == (400, 400)
    assert name in changed.json()["errors"][0]["parameter"].lower()
    assert (await client.get(path)).json() == before


async def test_a_change_of_a_cancelled_appointment_is_409_if_the_version_is_right(
    client: AsyncClient, paths: dict[str, str]
) -> None:
    path = paths["appointments"]
    booked = tag(await client.get(path))
    cancelled = tag(await client.post(f"{path}/cancel"))

    right = await client.patch(path, json={"notes": "x"}, headers={"if-match": cancelled})
    stale = await client.patch(path, json={"notes": "x"}, headers={"if-match": booked})

    assert (right.status_code, stale.status_code) == (409, 412)
