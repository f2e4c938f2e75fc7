"""Clients that write at a steady rate, and a ledger of what the API acknowledged.

The load model is open: requests begin when they are due, whether or not earlier ones are answered.
Each request has an Idempotency-Key and is repeated with it until it is answered with 201, as a
careful client does. Each row has a text that no other has, by which it is found in the database.
"""

import asyncio
import itertools
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx

CONNECTIONS = 100
"""Most connections of one client: as many as requests may wait during an outage."""
ANSWER_SECONDS = 30.0
"""Longer than the API may take for an answer; then the answer is lost."""
FIRST_PAUSE_SECONDS = 0.5
"""Time before the first repeat; each further one waits twice as long."""
LONGEST_PAUSE_SECONDS = 4.0
PATIENCE_SECONDS = 180.0
"""Time for which a request is repeated."""
MOST_DETAILS = 20

CREATED = "201"
UNAVAILABLE = "503 with Retry-After"
REFUSED = "connection refused"
LOST = "answer lost"
IN_PROGRESS = "409 in progress"
EXPECTED = frozenset({CREATED, UNAVAILABLE, REFUSED, LOST, IN_PROGRESS})
"""Answers that an outage may cause; `IN_PROGRESS` only follows a lost answer."""

KINDS = ("owner", "pet", "appointment")
FIND = {
    "owner": "SELECT name AS mark, id, name, email, phone FROM owner WHERE name LIKE $1",
    "pet": "SELECT name AS mark, id, owner_id, name, species FROM pet WHERE name LIKE $1",
    "appointment": (
        "SELECT reason AS mark, id, pet_id, scheduled_at, reason, notes FROM appointment"
        " WHERE reason LIKE $1"
    ),
}
"""Statements that read all rows whose text begins like $1."""


@dataclass
class Write:
    """One request and its repeats."""

    kind: str
    path: str
    mark: str
    """The text that only its row has."""
    body: dict[str, Any]
    content: dict[str, Any]
    """What its row must hold."""
    id: int | None = None
    """Id of the row, once it is acknowledged."""
    attempts: int = 0
    lost: int = 0
    """Number of attempts whose answer was lost."""
    refused: int = 0
    """Number of attempts that were answered with 503, or not even received."""
    committed_before: bool = False
    """The row was written by an attempt whose answer was lost."""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The ledger beside the database."""

    acknowledged: int
    missing: int
    """Rows that were acknowledged and are not in the database."""
    altered: int
    """Rows whose content differs from what was acknowledged."""
    twice: int
    """Requests that have more than one row."""
    unknown: int
    """Requests that never got an answer, whether or not they have a row."""
    lost: int
    """Requests of which at least one answer was lost."""
    committed_before: int
    """Of these, requests whose repeat got the row that was written before."""
    created_by_repeat: int
    """Of these, requests whose repeat wrote the row."""

    @property
    def exact(self) -> bool:
        return not (self.missing or self.altered or self.twice)


class Ledger:
    """All requests of a writer and every answer to them."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        self.writes: list[Write] = []
        self.answers: Counter[str] = Counter()
        self.unexpected: list[str] = []
        """The first answers that no outage explains, in words."""
        self.acknowledged_at: list[float] = []
        """When requests were acknowledged, by `time.monotonic`, in order."""

    @property
    def unexpected_count(self) -> int:
        return sum(count for answer, count in self.answers.items() if answer not in EXPECTED)

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.id is not None]

    def note(self, answer: str, detail: str = "") -> None:
        self.answers[answer] += 1
        if answer not in EXPECTED and len(self.unexpected) < MOST_DETAILS:
            self.unexpected.append(f"{answer}: {detail}"[:300])

    def longest_gap(self, since: float) -> float:
        """Return the longest time in seconds without an acknowledged row, after a moment."""
        times = [since, *(moment for moment in self.acknowledged_at if moment > since)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0)

    async def compare(self, connection: asyncpg.Connection) -> Comparison:
        """Compare with the rows in the database."""
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for statement in FIND.values():
            for row in await connection.fetch(statement, f"{self.run}-%"):
                rows.setdefault(row["mark"], []).append(row)
        missing = altered = twice = 0
        for write in self.writes:
            found = rows.get(write.mark, [])
            twice += len(found) > 1
            if write.id is None:
                continue
            row = next((row for row in found if row["id"] == write.id), None)
            if row is None:
                missing += 1
            elif {name: row[name] for name in write.content} != write.content:
                altered += 1
        answered = [write for write in self.acknowledged if write.lost]
        before = sum(write.committed_before for write in answered)
        return Comparison(
            acknowledged=len(self.acknowledged),
            missing=missing,
            altered=altered,
            twice=twice,
            unknown=len(self.writes) - len(self.acknowledged),
            lost=sum(bool(write.lost) for write in self.writes),
            committed_before=before,
            created_by_repeat=len(answered) - before,
        )


class Client:
    """Writes owners, their pets and the pets' appointments in turn."""

    def __init__(self, http: httpx.AsyncClient, ledger: Ledger, patience: float) -> None:
        self.http = http
        self.ledger = ledger
        self.patience = patience
        self.kinds = itertools.cycle(KINDS)
        self.newest: dict[str, int] = {}

    async def write(self) -> None:
        """Write the next row, and repeat the request until it is acknowledged."""
        write = self.next_write()
        self.ledger.writes.append(write)
        while write.id is None and time.monotonic() - write.began < self.patience:
            sent = datetime.now(UTC)
            retry_after = await self.attempt(write, sent)
            if write.id is None:
                pause = min(FIRST_PAUSE_SECONDS * 2 ** (write.attempts - 1), LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(max(pause, retry_after))

    def next_write(self) -> Write:
        kind = next(self.kinds)
        if kind == "pet" and "owner" not in self.newest:
            kind = "owner"
        if kind == "appointment" and "pet" not in self.newest:
            kind = "owner" if "owner" not in self.newest else "pet"
        mark = f"{self.ledger.run}-{len(self.ledger.writes)}"
        match kind:
            case "owner":
                email, phone = f"{mark}@example.org", "+56912345678"
                body = {"name": mark, "email": email, "phone": phone}
                return Write(kind, "/owners", mark, body, body)
            case "pet":
                owner = self.newest["owner"]
                body = {"name": mark, "species": "canino"}
                return Write(kind, f"/owners/{owner}/pets", mark, body, {**body, "owner_id": owner})
            case _:
                pet = self.newest["pet"]
                # A minute that no other request of this pet has.
                minutes = timedelta(days=30, minutes=len(self.ledger.writes))
                at = datetime.now(UTC).replace(second=0, microsecond=0) + minutes
                body = {"reason": mark, "notes": "vacunación", "scheduled_at": at.isoformat()}
                content = {**body, "scheduled_at": at, "pet_id": pet}
                return Write(kind, f"/pets/{pet}/appointments", mark, body, content)

    async def attempt(self, write: Write, sent: datetime) -> float:
        """Send the request once; return the seconds that `Retry-After` names, or 0."""
        write.attempts += 1
        headers = {"idempotency-key": write.mark}
        try:
            response = await self.http.post(write.path, json=write.body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            write.refused += 1
            self.ledger.note(REFUSED)
            return 0
        except httpx.TransportError:
            write.lost += 1
            self.ledger.note(LOST)
            return 0
        return self.answered(write, response, sent)

    def answered(self, write: Write, response: httpx.Response, sent: datetime) -> float:
        retry_after = response.headers.get("retry-after", "")
        match response.status_code:
            case HTTPStatus.CREATED:
                row = response.json()
                write.id = int(row["id"])
                write.ended = time.monotonic()
                created = datetime.fromisoformat(row["created_at"])
                write.committed_before = bool(write.lost) and created < sent
                self.newest[write.kind] = write.id
                self.ledger.acknowledged_at.append(write.ended)
                self.ledger.note(CREATED)
            case HTTPStatus.SERVICE_UNAVAILABLE if retry_after:
                write.refused += 1
                self.ledger.note(UNAVAILABLE)
            case HTTPStatus.CONFLICT if retry_after and write.lost:
                self.ledger.note(IN_PROGRESS)
            case status:
                self.ledger.note(str(status), f"{write.kind}: {response.text}")
        return float(retry_after or 0)


@asynccontextmanager
async def writing(
    url: str,
    *,
    clients: int = 20,
    per_second: float = 60,
    patience: float = PATIENCE_SECONDS,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[Ledger]:
    """Write until the block ends, then wait until each request is acknowledged or given up.

    The rate is that of all clients together.
    """
    ledger = Ledger()
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    timeout = httpx.Timeout(ANSWER_SECONDS, pool=None)
    # Each client would read the certificates of the system, which no request needs.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stopping = asyncio.Event()
    http = [
        httpx.AsyncClient(
            base_url=url,
            limits=limits,
            timeout=timeout,
            headers=headers,
            verify=context,
            trust_env=False,
        )
        for _ in range(clients)
    ]
    turns = itertools.cycle([Client(one, ledger, patience) for one in http])

    async def begin_on_time() -> None:
        async with asyncio.TaskGroup() as requests:
            started = time.monotonic()
            for number in itertools.count():
                due = started + number / per_second
                await asyncio.sleep(max(due - time.monotonic(), 0))
                if stopping.is_set():
                    return
                requests.create_task(next(turns).write())

    task = asyncio.create_task(begin_on_time())
    try:
        yield ledger
        stopping.set()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for one in http:
            await one.aclose()
