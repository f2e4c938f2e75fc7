from asyncio import gather
from typing import Any

import pytest
from httpx import AsyncClient

pytestmark = pytest.mark.anyio


def appointment_at(time: str, **fields: Any) -> dict[str, Any]:
    return {"scheduled_at": time, "reason": "check-up", **fields}


async def book(client: AsyncClient, pet_id: int, time: str, **fields: Any) -> dict[str, Any]:
    response = await client.post(
        f"/pets/{pet_id}/appointments", json=appointment_at(time, **fields)
    )
    assert response.status_code == 201, response.text
    appointment: dict[str, Any] = response.json()
    return appointment


async def test_booking_returns_the_appointment_in_utc(client: AsyncClient, pet_id: int) -> None:
    body = appointment_at(
        "2090-05-17T09:30:00-04:00", veterinarian="Dr. Soto", notes="Bring the card.\nFast."
    )

    response = await client.post(f"/pets/{pet_id}/appointments", json=body)

    appointment = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/appointments/{appointment['id']}"
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
    assert (await client.get(response.headers["location"])).json() == appointment


async def test_a_pet_has_one_appointment_at_a_time(client: AsyncClient, pet_id: int) -> None:
    same = ["2090-01-02T09:00:00Z", "2090-01-02T10:00:00+01:00", "2090-01-02T09:00:00.000Z"]

    responses = await gather(
        *(client.post(f"/pets/{pet_id}/appointments", json=appointment_at(time)) for time in same)
    )

    assert sorted(response.status_code for response in responses) == [201, 409, 409]


async def test_a_veterinarian_may_have_two_appointments_at_a_time(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    response = await client.post(f"/owners/{owner_id}/pets", json={"name": "Sol", "species": "cat"})

    for pet in (pet_id, response.json()["id"]):
        await book(client, pet, "2090-01-02T09:00:00Z", veterinarian="Dr. Soto")


async def test_a_deleted_pet_cannot_be_booked(client: AsyncClient, pet_id: int) -> None:
    await client.delete(f"/pets/{pet_id}")

    response = await client.post(
        f"/pets/{pet_id}/appointments", json=appointment_at("2090-01-02T09:00:00Z")
    )

    assert response.status_code == 404
    assert (await client.get(f"/pets/{pet_id}/appointments")).status_code == 404


@pytest.mark.parametrize("time", ["2020-01-02T09:00:00Z", "0001-01-02T00:00:00+14:00"])
async def test_times_in_the_past_are_refused(client: AsyncClient, pet_id: int, time: str) -> None:
    appointment = await book(client, pet_id, "2090-01-02T09:00:00Z")

    booked = await client.post(f"/pets/{pet_id}/appointments", json=appointment_at(time))
    moved = await client.patch(f"/appointments/{appointment['id']}", json={"scheduled_at": time})

    assert (booked.status_code, moved.status_code) == (422, 422)
    assert booked.json()["errors"][0]["pointer"] == "#/scheduled_at"
    assert (await client.get(f"/appointments/{appointment['id']}")).json() == appointment


async def test_cancelling_is_idempotent_final_and_frees_the_time(
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


async def test_concurrent_cancel_and_change_never_change_a_cancelled_appointment(
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


async def test_an_appointment_can_move_to_a_free_time_only(
    client: AsyncClient, pet_id: int
) -> None:
    first = await book(client, pet_id, "2090-01-02T09:00:00Z", veterinarian="Dr. Soto")
    await book(client, pet_id, "2090-01-02T10:00:00Z")
    path = f"/appointments/{first['id']}"

    taken = await client.patch(path, json={"scheduled_at": "2090-01-02T10:00:00Z"})
    moved = await client.patch(
        path, json={"scheduled_at": "2090-01-02T11:00:00Z", "veterinarian": None}
    )

    assert taken.status_code == 409
    assert moved.json() == {
        **first,
        "scheduled_at": "2090-01-02T11:00:00Z",
        "veterinarian": None,
    }


async def test_a_pets_appointments_are_sorted_by_time(client: AsyncClient, pet_id: int) -> None:
    times = ["2090-03-01T09:00:00Z", "2090-01-01T09:00:00Z", "2090-02-01T09:00:00Z"]
    path = f"/pets/{pet_id}/appointments"
    empty = await client.get(path)
    for time in times:
        await book(client, pet_id, time)

    first = await client.get(path, params={"limit": 2})
    second = await client.get(first.links["next"]["url"])

    assert (empty.status_code, empty.json()) == (200, [])
    assert [item["scheduled_at"] for item in first.json() + second.json()] == sorted(times)
    assert "next" not in second.links


async def test_the_agenda_filters_and_pages(client: AsyncClient, pet_id: int) -> None:
    vet = f"Dr. Soto {pet_id}"
    booked = [
        await book(client, pet_id, f"2095-01-{day:02}T09:00:00Z", veterinarian=vet)
        for day in range(1, 8)
    ]
    await book(client, pet_id, "2095-01-03T10:00:00Z", veterinarian="Dr. Vega")
    cancelled = await client.post(f"/appointments/{booked[3]['id']}/cancel")
    query: dict[str, str | int] = {
        "from": "2095-01-02T09:00:00Z",
        "to": "2095-01-07T10:00:00+01:00",
        "veterinarian": vet,
        "limit": 2,
    }

    response = await client.get("/appointments", params=query)
    listed = response.json()
    while "next" in response.links:
        response = await client.get(response.links["next"]["url"])
        listed += response.json()
    cancelled_only = await client.get("/appointments", params={**query, "status": "cancelled"})

    assert [item["id"] for item in listed] == [item["id"] for item in booked[1:6]]
    assert cancelled_only.json() == [cancelled.json()]


async def test_a_cursor_cannot_start_before_from(client: AsyncClient, pet_id: int) -> None:
    for day in (1, 2, 3):
        await book(client, pet_id, f"2096-01-{day:02}T09:00:00Z")
    early = await client.get("/appointments", params={"from": "2096-01-01T00:00:00Z", "limit": 1})
    cursor = early.links["next"]["url"].split("cursor=")[1]

    late = await client.get(
        "/appointments", params={"from": "2096-01-03T00:00:00Z", "cursor": cursor, "limit": 1}
    )

    assert late.json()[0]["scheduled_at"] == "2096-01-03T09:00:00Z"
