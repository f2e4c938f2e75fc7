"""The floor: the product's statements, tables and answers with bare ASGI and asyncpg.

It does no more than the answers need: nothing is validated, refused, logged or traced.
"""

import gc
import os
from datetime import datetime
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec
from msgspec import Struct
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from clinic.appointments import statements as appointments
from clinic.appointments.schemas import AppointmentIn, AppointmentOut
from clinic.fields import MAX_ID
from clinic.owners import statements as owners
from clinic.owners.schemas import OwnerIn, OwnerOut
from clinic.paging import DEFAULT_LIMIT, EARLIEST, AfterId
from clinic.pets import statements as pets
from clinic.pets.schemas import PetIn, PetOut

Answer = tuple[list[tuple[bytes, bytes]], bytes]
"""Headers and body."""


def compiled(statement: Any, *inserted: str) -> tuple[str, list[str]]:
    """Return the SQL that the product sends, and the names of its parameters in their order."""
    result = statement.compile(dialect=PGDialect_asyncpg(), column_keys=inserted or None)  # type: ignore[no-untyped-call]
    return str(result), list(result.positiontup)


def creation(statement: Any, new: type[Struct], out: type[Struct], parent: str = "") -> Any:
    return compiled(statement, *new.__struct_fields__, *filter(None, [parent])), out, parent


CREATIONS = {
    "owners": creation(owners.REGISTER, OwnerIn, OwnerOut),
    "pets": creation(pets.REGISTER, PetIn, PetOut, "owner_id"),
    "appointments": creation(appointments.BOOK, AppointmentIn, AppointmentOut, "pet_id"),
}
COUNT = {"count": DEFAULT_LIMIT + 1}
LISTS: dict[str, Any] = {
    "owners": (compiled(owners.LIST), OwnerOut, "", {"before": MAX_ID, **COUNT}),
    "pets": (compiled(pets.LIST_BY_OWNER), PetOut, "owner", {"before": MAX_ID, **COUNT}),
    "appointments": (
        compiled(appointments.LIST_BY_PET),
        AppointmentOut,
        "pet",
        {"after_time": EARLIEST, "after_id": 0, **COUNT},
    ),
}
JSON = (b"content-type", b"application/json")
encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


class Floor:
    pool: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.run(receive, send)
            return
        parts = scope["path"].split("/")
        parent = int(parts[2]) if len(parts) > 2 else 0  # noqa: PLR2004 "/owners/7/pets"
        if scope["method"] == "POST":
            status = 201
            body = (await receive())["body"]
            headers, content = await self.create(parts[-1], parent, body)
        else:
            status = 200
            headers, content = await self.read(parts[-1], parent)
        headers = [JSON, (b"content-length", str(len(content)).encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def run(self, receive: Any, send: Any) -> None:
        await receive()
        await self.start(os.environ["CLINIC_DATABASE_URL"])
        gc.collect()
        gc.freeze()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self, url: str) -> None:
        url = url.replace("+asyncpg", "")
        self.pool = await asyncpg.create_pool(url, min_size=10, max_size=10)

    async def create(self, kind: str, parent: int, body: bytes) -> Answer:
        (sql, names), out, parent_name = CREATIONS[kind]
        new = decode(body)
        if kind == "appointments":
            new["scheduled_at"] = datetime.fromisoformat(new["scheduled_at"])
        values = (parent if name == parent_name else new.get(name) for name in names)
        *row, version = await self.pool.fetchrow(sql, *values)
        location = (b"location", f"/{kind}/{row[0]}".encode())
        return [location, (b"etag", f'"{version}"'.encode())], encode(out(*row))

    async def read(self, kind: str, parent: int) -> Answer:
        (sql, names), out, parent_name, fixed = LISTS[kind]
        values = (parent if name == parent_name else fixed[name] for name in names)
        rows = await self.pool.fetch(sql, *values)
        items = [out(*row) for row in rows[:DEFAULT_LIMIT]]
        headers = []
        if kind == "owners" and len(rows) > DEFAULT_LIMIT:
            link = f'</owners?cursor={AfterId(rows[-2]["id"])}>; rel="next"'
            headers = [(b"link", link.encode())]
        return headers, encode(items)


app = Floor()
