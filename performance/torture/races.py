"""Requests that conflict, sent at the same time: exactly one wins, and no answer is a 5xx."""

import asyncio
import itertools
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from performance.torture.part import Context, Figures, Part, Result

CLIENTS = 200
FEW = 20
OK, CREATED, DELETED = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
GONE, CONFLICT = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
ANSWER_SECONDS = 60.0

Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass
class Race:
    """Clients, each with a connection that is open before a race begins."""

    clients: list[httpx.AsyncClient]
    statuses: Counter[str] = field(default_factory=Counter)
    """Answers by race and status."""
    violations: list[str] = field(default_factory=list)

    async def start(self, name: str, requests: Iterable[Send]) -> list[httpx.Response]:
        """Send the requests at the same time, each by a client of its own; count the answers."""
        pairs = zip(self.clients, requests, strict=False)
        responses = await asyncio.gather(*(send(client) for client, send in pairs))
        self.statuses.update(f"{name} {response.status_code}" for response in responses)
        return responses

    def expect(self, what: str, *, true: bool) -> None:
        if not true:
            self.violations.append(what)

    async def create(self, path: str, **body: Any) -> int:
        response = await self.clients[0].post(path, json=body)
        response.raise_for_status()
        return int(response.json()["id"])

    async def owner(self) -> int:
        return await self.create("/owners", name="Ana", email=email())

    async def pet(self) -> int:
        return await self.create(f"/owners/{await self.owner()}/pets", name="Luna", species="dog")

    async def read(self, path: str) -> httpx.Response:
        return await self.clients[0].get(path)


def email() -> str:
    return f"race-{secrets.token_hex(8)}@example.org"


def codes(responses: Iterable[httpx.Response]) -> Counter[int]:
    return Counter(response.status_code for response in responses)


def post(path: str, **body: Any) -> Send:
    return lambda client: client.post(path, json=body)


TIME = "2090-01-02T09:00:00Z"


def booking(pet: int, **body: Any) -> Send:
    return post(f"/pets/{pet}/appointments", **{"scheduled_at": TIME, "reason": "check-up"} | body)


async def book_one_time(race: Race) -> None:
    """Let all clients book the same pet at the same time: one 201, the rest 409."""
    pet = await race.pet()
    count = len(race.clients)

    responses = await race.start("book", [booking(pet)] * count)

    race.expect("one booking succeeds", true=codes(responses) == {CREATED: 1, CONFLICT: count - 1})
    stored = (await race.read(f"/pets/{pet}/appointments?limit=500")).json()
    race.expect("one booking is stored", true=len(stored) == 1)


async def register_one_address(race: Race) -> None:
    """Let all clients register the same e-mail address: one 201, the rest 409."""
    address, count = email(), len(race.clients)

    responses = await race.start("register", [post("/owners", name="Ana", email=address)] * count)

    race.expect(
        "one owner is registered", true=codes(responses) == {CREATED: 1, CONFLICT: count - 1}
    )


async def book_while_the_owner_is_deleted(race: Race) -> None:
    """Let clients add bookings and pets while their owner is deleted: nothing of it stays."""
    owner = await race.owner()
    pet = await race.create(f"/owners/{owner}/pets", name="Luna", species="dog")
    bookings = [
        booking(pet, scheduled_at=f"2090-01-02T09:{minute:02}:00Z") for minute in range(FEW)
    ]
    pets = [post(f"/owners/{owner}/pets", name="Sol", species="cat")] * FEW

    def delete(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        return client.delete(f"/owners/{owner}")

    responses = await race.start("delete", [*bookings, delete, *pets])

    race.expect("the owner is deleted", true=responses[FEW].status_code == DELETED)
    others = [*responses[:FEW], *responses[FEW + 1 :]]
    race.expect("others are 201 or 404", true=set(codes(others)) <= {CREATED, GONE})
    created = [
        response.headers["location"] for response in others if response.status_code == CREATED
    ]
    paths = (f"/owners/{owner}", f"/pets/{pet}", *created)
    left = [path for path in paths if (await race.read(path)).status_code != GONE]
    race.expect("nothing of a deleted owner stays", true=not left)


async def cancel_against_change(race: Race) -> None:
    """Let clients cancel and change an appointment: no change follows the cancellation."""
    pet = await race.pet()
    path = f"/appointments/{await race.create(f'/pets/{pet}/appointments', **FIRST)}"

    def change(number: int) -> Send:
        return lambda client: client.patch(path, json={"reason": f"change {number}"})

    pairs = [(change(number), post(f"{path}/cancel")) for number in range(FEW)]
    responses = await race.start("cancel", itertools.chain.from_iterable(pairs))

    changed, cancelled = responses[::2], responses[1::2]
    after = (await race.read(path)).json()
    reasons = {it.json()["reason"] for it in changed if it.status_code == OK} | {FIRST["reason"]}
    race.expect("a change is 200 or 409", true=set(codes(changed)) <= {OK, CONFLICT})
    race.expect("every cancellation is 200", true=set(codes(cancelled)) == {OK})
    race.expect("the appointment is cancelled", true=after["status"] == "cancelled")
    race.expect("its reason is one that was answered", true=after["reason"] in reasons)
    race.expect(
        "all got one cancellation", true={it.text for it in cancelled} == {cancelled[0].text}
    )


async def book_a_time_that_is_cancelled(race: Race) -> None:
    """Let clients book the time of an appointment that another cancels: at most one gets it."""
    pet = await race.pet()
    first = await race.create(f"/pets/{pet}/appointments", **FIRST)
    cancel = post(f"/appointments/{first}/cancel")

    responses = await race.start("rebook", [*[booking(pet)] * FEW, cancel, *[booking(pet)] * FEW])

    booked = codes(it for it in responses if it.request.url.path.endswith("appointments"))
    race.expect(
        "bookings are 201 or 409", true=set(booked) <= {CREATED, CONFLICT} and booked[CREATED] <= 1
    )
    stored = (await race.read(f"/pets/{pet}/appointments?limit=500")).json()
    standing = [it for it in stored if it["status"] == "booked"]
    race.expect("stored is what was answered", true=len(standing) == booked[CREATED])


async def repeat_one_key(race: Race) -> None:
    """Let all clients send one request with one Idempotency-Key: one row, one answer."""
    path, key = f"/owners/{await race.owner()}/pets", {"idempotency-key": secrets.token_hex(8)}

    def send(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        return client.post(path, json={"name": "Luna", "species": "dog"}, headers=key)

    responses = await race.start("key", [send] * len(race.clients))

    created = {it.text for it in responses if it.status_code == CREATED}
    race.expect("answers are 201 or 409", true=set(codes(responses)) <= {CREATED, CONFLICT})
    race.expect("there is one answer", true=len(created) == 1)
    race.expect("there is one row", true=len((await race.read(path)).json()) == 1)


FIRST = {"scheduled_at": TIME, "reason": "check-up"}
RACES = (
    book_one_time,
    register_one_address,
    book_while_the_owner_is_deleted,
    cancel_against_change,
    book_a_time_that_is_cancelled,
    repeat_one_key,
)


@asynccontextmanager
async def racing(url: str, count: int = CLIENTS) -> AsyncGenerator[Race]:
    """Open a connection for each client."""
    limits = httpx.Limits(max_connections=1)
    # Each client would read the certificates of the system, which no request needs.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    clients = [
        httpx.AsyncClient(
            base_url=url, limits=limits, timeout=ANSWER_SECONDS, verify=context, trust_env=False
        )
        for _ in range(count)
    ]
    race = Race(clients)
    try:
        await race.start("connect", [lambda client: client.get("/livez")] * count)
        yield race
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))


def run(context: Context) -> Result:
    url = context.stack.config.api_url
    return asyncio.run(race_for(url, context.seconds(60)))


async def race_for(url: str, seconds: float) -> Result:
    rounds, end = 0, time.monotonic() + seconds
    async with racing(url) as race:
        while not rounds or time.monotonic() < end:
            for one in RACES:
                await one(race)
            rounds += 1
    figures: Figures = {"clients": CLIENTS, "rounds": rounds, "violations": len(race.violations)}
    figures |= dict(sorted(race.statuses.items()))
    for violation, count in Counter(race.violations).items():
        figures[f"not so: {violation}"] = count
    server_errors = sum(n for name, n in race.statuses.items() if name.split()[1] >= "500")
    return Result(not race.violations and not server_errors, figures)


PARTS = (
    Part(
        "races",
        "Of 200 requests that conflict at the same time, exactly one succeeds; a row never "
        "outlives its owner, a change never follows a cancellation.",
        minutes=2,
        run=run,
    ),
)
