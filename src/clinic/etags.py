"""Versions of resources: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13).

The version of a row is the transaction that wrote it, `xmin`: PostgreSQL keeps it, and a statement
can compare it in the moment in which it changes the row.
"""

import re
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from litestar import Request, Response
from msgspec import Struct
from sqlalchemy import BigInteger, Column, Delete, Select, Table, Update, literal_column, text

from clinic.database import Database, ResultRow, columns
from clinic.problems import RefusedError, bad_parameter
from clinic.responses import JSONResponse

CONDITIONAL = frozenset({b"if-match", b"if-none-match"})
ENTITY_TAG = rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")'
TAG = re.compile(ENTITY_TAG)
TAGS = re.compile(rb"[ \t,]*" + ENTITY_TAG + rb"(?:[ \t]*,[ \t,]*(?:" + ENTITY_TAG + rb")?)*[ \t]*")
VERSION = re.compile(rb'"([1-9][0-9]{0,9})"')
MAX_VERSION = 2**32 - 1

Item = TypeVar("Item", bound=Struct)


class Condition(NamedTuple):
    """The versions that a request accepts; None stands for no restriction."""

    accepted: frozenset[int] | None
    """From `If-Match`; None for `*` too, as the resource exists."""
    refused: frozenset[int] | None
    """From `If-None-Match`; None without it."""
    refused_all: bool = False
    """Whether `If-None-Match` is `*`."""

    def fulfilled(self, version: int) -> bool:
        return self.matched(version) and not self.known(version)

    def matched(self, version: int) -> bool:
        return self.accepted is None or version in self.accepted

    def known(self, version: int) -> bool:
        """Whether the client says that it has this version."""
        return self.refused_all or (self.refused is not None and version in self.refused)

    def restrict(self, statement: Update | Delete) -> tuple[Update | Delete, dict[str, Any]]:
        """Return the statement for rows of a version that fulfils this, and its parameters."""
        table = statement.entity_description["table"].name
        values: dict[str, Any] = {}
        if self.accepted is not None:
            statement = statement.where(text(f"{table}.xmin = ANY (CAST(:accepted AS xid[]))"))
            values["accepted"] = list(self.accepted)
        if self.refused is not None:
            statement = statement.where(text(f"{table}.xmin <> ALL (CAST(:refused AS xid[]))"))
            values["refused"] = list(self.refused)
        if self.refused_all:
            statement = statement.where(text("false"))
        return statement, values


def versioned_columns(table: Table, struct: type[Struct]) -> list[Column[Any]]:
    """Return the struct's columns, and after them the row's version."""
    version: Any = literal_column(f"{table.name}.xmin", BigInteger).label("version")
    return [*columns(table, struct), version]


def condition_of(request: Request[Any, Any, Any]) -> Condition | None:
    """Read a request's condition; raise 400 if it is malformed."""
    headers = [header for header in request.scope["headers"] if header[0] in CONDITIONAL]
    if not headers:
        return None
    accepted = parse(headers, b"if-match", weak=False)
    refused = parse(headers, b"if-none-match", weak=True)
    return Condition(
        accepted if isinstance(accepted, frozenset) else None,
        refused if isinstance(refused, frozenset) else None,
        refused_all=refused is True,
    )


def parse(
    headers: list[tuple[bytes, bytes]], name: bytes, *, weak: bool
) -> frozenset[int] | bool | None:
    """Return the versions of a list of entity tags, True for `*`, None without the header.

    Weak tags count if `weak` is set; the clinic sets none itself.
    """
    lines = [value for header, value in headers if header == name]
    if not lines:
        return None
    value = b", ".join(lines)
    if value.strip(b" \t") == b"*":
        return True
    if not TAGS.fullmatch(value):
        title = name.decode().title()
        raise bad_parameter(title, 'Expected `*` or entity tags in quotes, such as `"742"`.')
    tags = [tag for prefix, tag in TAG.findall(value) if weak or not prefix]
    versions = (int(match[1]) for tag in tags if (match := VERSION.fullmatch(tag)))
    return frozenset(version for version in versions if version <= MAX_VERSION)


def etag(version: int) -> str:
    return f'"{version}"'


def represent(kind: type[Item], row: ResultRow, **headers: str) -> Response[Item]:
    """Return the resource of a row of `versioned_columns`, with its `ETag`."""
    *values, version = row
    return JSONResponse(kind(*values), headers={"ETag": etag(version), **headers})


def answer_read(
    request: Request[Any, Any, Any], kind: type[Item], row: ResultRow
) -> Response[Item]:
    """Return the resource, or 304 if the client has this version."""
    condition = condition_of(request)
    if condition:
        if not condition.matched(row.version):
            raise precondition_failed()
        if condition.known(row.version):
            nothing: Any = None
            return Response(
                nothing,
                status_code=HTTPStatus.NOT_MODIFIED,
                headers={"ETag": etag(row.version)},
            )
    return represent(kind, row)


async def patch_row(  # noqa: PLR0913, PLR0917 two statements, and what they need
    database: Database,
    change: Update,
    read: Select[Any],
    key: dict[str, int],
    values: dict[str, Any],
    condition: Condition | None,
) -> ResultRow | None:
    """Change a row whose version fulfils the condition; None if there is no row."""
    if values:
        return await write_row(database, change, read, key, condition, values)
    row = await database.first(read, **key)
    if row is not None and condition is not None and not condition.fulfilled(row.version):
        raise precondition_failed()
    return row


async def write_row(  # noqa: PLR0913, PLR0917 two statements, and what they need
    database: Database,
    statement: Update | Delete,
    read: Select[Any],
    key: dict[str, int],
    condition: Condition | None,
    values: dict[str, Any] | None = None,
) -> ResultRow | None:
    """Run a statement on a row whose version fulfils the condition; None if there is no row."""
    values = values or {}
    if condition is None:
        return await database.first(statement, **key, **values)
    restricted, versions = condition.restrict(statement)
    row = await database.first(restricted, **key, **values, **versions)
    if row is None and await database.first(read, **key):
        raise precondition_failed()
    return row


def precondition_failed() -> RefusedError:
    return RefusedError(
        HTTPStatus.PRECONDITION_FAILED,
        "The resource has another version than the request accepts. Read it again.",
    )
