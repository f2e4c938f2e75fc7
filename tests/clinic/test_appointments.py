from asyncio import gather
from typing import Any

import pytest
from httpx import AsyncClient

pytestmark = pytest.mark.anyio


def at(time: str, **fields: Any) -> dict[str, Any]:
    return {"scheduled_at": time, "reason": "check-up", **fields}


async def book(client: AsyncClient, pet_id: int, time: str, **fields: Any) -> dict[str, Any]:
    answer = await client.post(f"/pets/{pet_id}/appointments", json=at(time, **fields))
    assert answer.status_code == 201, answer.text
    appointment: dict[str, Any] = answer.json()
    return appointment


async def test_a_booked_appointment_keeps_its_moment_in_utc(
    client: AsyncClient, pet_id: int
) -> None:
    wish = at("2090-05-17T09:30:00-04:00", veterinarian="Dr. Soto", notes="Bring the card.\nFast.")

    answer = await client.post(f"/pets/{pet_id}/appointments", json=wish)

    appointment = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/appointments/{appointment['id']}"
    assert appointment == {
        "id": appointment["id"],
        "pet_id": pet_id,
        "scheduled_at": "2090-05-17T13:30:00Z",
        "reason": "check-up",
        "veterinarian": "Dr. Soto",
        "notes": "Bring the card.\nFast.",
        "status": "booked",
        "cancelled_at": None,
        "created_at": appointment["created_at"],
    }
    assert (await client.get(answer.headers["location"])).json() == appointment


async def test_a_pet_is_seen_once_at_a_time(client: AsyncClient, pet_id: int) -> None:
    same = ["2090-01-02T09:00:00Z", "2090-01-02T10:00:00+01:00", "2090-01-02T09:00:00.000Z"]

    answers = await gather(
        *(client.post(f"/pets/{pet_id}/appointments", json=at(time)) for time in same)
    )

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


async def test_a_veterinarian_may_see_two_pets_at_a_time(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    answer = await client.post(f"/owners/{owner_id}/pets", json={"name": "Sol", "species": "cat"})

    for pet in (pet_id, answer.json()["id"]):
        await book(client, pet, "2090-01-02T09:00:00Z", veterinarian="Dr. Soto")


async def test_a_pet_that_is_not_there_is_not_booked(client: AsyncClient, pet_id: int) -> None:
    await client.delete(f"/pets/{pet_id}")

    answer = await client.post(f"/pets/{pet_id}/appointments", json=at("2090-01-02T09:00:00Z"))

    assert answer.status_code == 404
    assert (await client.get(f"/pets/{pet_id}/appointments")).status_code == 404


@pytest.mark.parametrize("time", ["2020-01-02T09:00:00Z", "0001-01-02T00:00:00+14:00"])
async def test_an_appointment_is_never_in_the_past(
    client: AsyncClient, pet_id: int, time: str
) -> None:
    appointment = await book(client, pet_id, "2090-01-02T09:00:00Z")

    booked = await client.post(f"/pets/{pet_id}/appointments", json=at(time))
    moved = await client.patch(f"/appointments/{appointment['id']}", json={"scheduled_at": time})

    assert (booked.status_code, moved.status_code) == (422, 422)
    assert booked.json()["errors"][0]["pointer"] == "#/scheduled_at"
    assert (await client.get(f"/appointments/{appointment['id']}")).json() == appointment


async def test_a_cancelled_appointment_frees_its_time_and_stays_as_it_is(
    client: AsyncClient, pet_id: int
) -> None:
    appointment = await book(client, pet_id, "2090-01-02T09:00:00Z")
    path = f"/appointments/{appointment['id']}"

    first = await client.post(f"{path}/cancel")
    again = await client.post(f"{path}/cancel")
    change = await client.patch(path, json={"reason": "surgery"})

    assert first.status_code == 200
    cancelled_at = first.json()["cancelled_at"]
    assert cancelled_at is not None
    assert first.json() == {**appointment, "status": "cancelled", "cancelled_at": cancelled_at}
    assert (again.status_code, again.json()) == (200, first.json())
    assert change.status_code == 409
    assert (await client.get(path)).json() == first.json()
    await book(client, pet_id, "2090-01-02T09:00:00Z")


async def test_cancelling_and_changing_at_once_never_changes_a_cancelled_one(
    client: AsyncClient, pet_id: int
) -> None:
    appointment = await book(client, pet_id, "2090-01-02T09:00:00Z")
    path = f"/appointments/{appointment['id']}"

    cancelled, changed = await gather(
        client.post(f"{path}/cancel"), client.patch(path, json={"reason": "surgery"})
    )

    after = (await client.get(path)).json()
    assert cancelled.status_code == 200
    assert after["status"] == "cancelled"
    assert after["reason"] == ("surgery" if changed.status_code == 200 else "check-up")


async def test_a_change_moves_an_appointment_but_not_onto_another(
    client: AsyncClient, pet_id: int
) -> None:
    first = await book(client, pet_id, "2090-01-02T09:00:00Z", veterinarian="Dr. Soto")
    await book(client, pet_id, "2090-01-02T10:00:00Z")
    path = f"/appointments/{first['id']}"

    onto = await client.patch(path, json={"scheduled_at": "2090-01-02T10:00:00Z"})
    beside = await client.patch(
        path, json={"scheduled_at": "2090-01-02T11:00:00Z", "veterinarian": None}
    )

    assert onto.status_code == 409
    assert beside.json() == {
        **first,
        "scheduled_at": "2090-01-02T11:00:00Z",
        "veterinarian": None,
    }


async def test_a_pets_appointments_come_by_time(client: AsyncClient, pet_id: int) -> None:
    times = ["2090-03-01T09:00:00Z", "2090-01-01T09:00:00Z", "2090-02-01T09:00:00Z"]
    for time in times:
        await book(client, pet_id, time)
    path = f"/pets/{pet_id}/appointments"

    first = await client.get(path, params={"limit": 2})
    second = await client.get(first.links["next"]["url"])

    assert [one["scheduled_at"] for one in first.json() + second.json()] == sorted(times)
    assert "next" not in second.links


async def test_a_pet_without_appointments_has_an_empty_list(
    client: AsyncClient, pet_id: int
) -> None:
    assert (await client.get(f"/pets/{pet_id}/appointments")).json() == []


async def test_the_agenda_is_filtered_and_turned_by_pages(client: AsyncClient, pet_id: int) -> None:
    vet = f"Dr. Soto {pet_id}"
    booked = [
        await book(client, pet_id, f"2095-01-{day:02}T09:00:00Z", veterinarian=vet)
        for day in range(1, 8)
    ]
    await book(client, pet_id, "2095-01-03T10:00:00Z", veterinarian="Dr. Vega")
    cancelled = await client.post(f"/appointments/{booked[3]['id']}/cancel")
    asked: dict[str, str | int] = {
        "from": "2095-01-02T09:00:00Z",
        "to": "2095-01-07T10:00:00+01:00",
        "veterinarian": vet,
        "limit": 2,
    }

    answer = await client.get("/appointments", params=asked)
    seen = answer.json()
    while "next" in answer.links:
        answer = await client.get(answer.links["next"]["url"])
        seen += answer.json()
    only = await client.get("/appointments", params={**asked, "status": "cancelled"})

    assert [one["id"] for one in seen] == [one["id"] for one in booked[1:6]]
    assert only.json() == [cancelled.json()]


async def test_a_cursor_does_not_lead_before_the_agendas_beginning(
    client: AsyncClient, pet_id: int
) -> None:
    for day in (1, 2, 3):
        await book(client, pet_id, f"2096-01-{day:02}T09:00:00Z")
    early = await client.get("/appointments", params={"from": "2096-01-01T00:00:00Z", "limit": 1})
    cursor = early.links["next"]["url"].split("cursor=")[1]

    late = await client.get(
        "/appointments", params={"from": "2096-01-03T00:00:00Z", "cursor": cursor, "limit": 1}
    )

    assert late.json()[0]["scheduled_at"] == "2096-01-03T09:00:00Z"
