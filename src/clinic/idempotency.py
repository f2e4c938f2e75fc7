"""Idempotency keys: a POST that is repeated with its key gets the first response again.

As draft-ietf-httpapi-idempotency-key-header-07 describes. The response is stored in the transaction
that writes the new row, so that both exist or none. Refused requests and failures store nothing.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from litestar import Litestar, Request, Response
from litestar.enums import MediaType
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    bindparam,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from clinic.database import Database, Statements
from clinic.models import IDEMPOTENCY_KEY
from clinic.problems import RefusedError, bad_parameter

HEADER = b"idempotency-key"
NAME = "Idempotency-Key"
KEY_PATTERN = r'^[A-Za-z0-9._~:/+=-]{1,255}$|^"([ !#-\[\]-~]|\\["\\]){1,255}"$'
"""A string of structured fields (RFC 9651), or without quotes as most clients send it."""
KEY = re.compile(KEY_PATTERN.encode())
EXPIRY_SECONDS = 600
"""Time between removals of expired keys."""

KEPT = func.now() - text("interval '24 hours'")
TABLE = IDEMPOTENCY_KEY.c
ONE = select(literal(1).label("one")).subquery()
FIND = (
    select(
        func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)).label("locked"),
        TABLE.fingerprint,
        TABLE.status,
        TABLE.body,
        TABLE.location,
        TABLE.etag,
    )
    .select_from(ONE)
    .outerjoin(
        IDEMPOTENCY_KEY,
        (TABLE.path == bindparam("path"))
        & (TABLE.key == bindparam("key"))
        & (TABLE.created_at > KEPT),
    )
)
"""Lock a key for the transaction, and read its response if there is one."""
NEW = insert(IDEMPOTENCY_KEY)
STORE = NEW.on_conflict_do_update(
    index_elements=["path", "key"],
    set_={
        column.name: NEW.excluded[column.name]
        for column in TABLE
        if column.name not in {"path", "key"}
    },
    where=TABLE.created_at <= KEPT,
).returning(TABLE.status)
"""Store a response; no row if another transaction has stored one since."""
BATCH = 10_000
"""Keys removed by one statement, so that it ends in time however many have expired."""
OLDEST = IDEMPOTENCY_KEY.alias("oldest")
EXPIRE = select(func.count()).select_from(
    delete(IDEMPOTENCY_KEY)
    .where(
        TABLE.created_at <= KEPT,
        literal_column("idempotency_key.ctid").in_(
            select(literal_column("oldest.ctid"))
            .where(OLDEST.c.created_at <= KEPT)
            .order_by(OLDEST.c.created_at)
            .limit(BATCH)
        ),
    )
    .returning(true())
    .cte()
)
"""Remove a batch of expired keys, and count them."""

Item = TypeVar("Item")

log = logging.getLogger(__name__)


async def respond_once(
    request: Request[Any, Any, Any],
    database: Database,
    respond: Callable[[Statements], Awaitable[Response[Item]]],
    data: Struct | None = None,
) -> Response[Item]:
    """Respond to a POST; if it repeats an idempotency key, with the first response to that key."""
    key = key_of(request)
    if key is None:
        return await respond(database)
    path = request.scope["path"]
    fingerprint = blake2b(msgspec.json.encode(data)).digest()
    lock = blake2b(f"{path}\n{key}".encode(), digest_size=8).digest()
    async with database.transaction() as transaction:
        stored = await transaction.one(
            FIND, path=path, key=key, lock=int.from_bytes(lock, signed=True)
        )
        if not stored.locked:
            raise in_progress()
        if stored.status is not None:
            if stored.fingerprint != fingerprint:
                raise RefusedError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "A request with another body had this `Idempotency-Key`. Use a new key.",
                )
            return stored_response(stored.status, stored.body, stored.location, stored.etag)
        response = await respond(transaction)
        status = request.route_handler.status_code
        body = msgspec.json.encode(response.content)
        location, etag = response.headers.get("Location"), response.headers["ETag"]
        if not await transaction.first(
            STORE,
            path=path,
            key=key,
            fingerprint=fingerprint,
            status=status,
            body=body,
            location=location,
            etag=etag,
        ):
            raise in_progress()
    return stored_response(status, body, location, etag)


def key_of(request: Request[Any, Any, Any]) -> str | None:
    """Read the key of a request; raise 400 if it is malformed."""
    values = [value for name, value in request.scope["headers"] if name == HEADER]
    if not values:
        return None
    value = values[0].strip(b" \t")
    if len(values) > 1 or not KEY.fullmatch(value):
        raise bad_parameter(NAME, "Expected one key of 1 to 255 characters, such as a UUID.")
    return (value[1:-1] if value.startswith(b'"') else value).decode()


def stored_response(status: int, body: bytes, location: str | None, etag: str) -> Response[Any]:
    headers = {"ETag": etag, **({"Location": location} if location else {})}
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)


def in_progress() -> RefusedError:
    return RefusedError(
        HTTPStatus.CONFLICT,
        "Another request with this `Idempotency-Key` is in progress. Try again.",
        headers={"Retry-After": "1"},
    )


@asynccontextmanager
async def expire_keys(app: Litestar) -> AsyncGenerator[None]:
    """Remove expired keys from time to time while the app runs."""
    task = asyncio.create_task(remove_expired(app.state.database))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def remove_expired(database: Database) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        try:
            while (await database.one(EXPIRE))[0] == BATCH:
                pass
        except (SQLAlchemyError, OSError) as error:
            log.warning("Expired idempotency keys not removed (%s)", type(error).__name__)
