"""Keyset pagination: each page starts after the last row of the previous one, at constant cost."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from clinic.fields import MAX_ID
from clinic.problems import bad_parameter

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
MAX_CURSOR = 200

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Maximum number of rows.")]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=MAX_CURSOR, description="Start of the page, taken from `Link`."),
]


Item = TypeVar("Item", bound=Struct)

LINK = ResponseHeader(
    name="Link",
    description='`<path>; rel="next"` (RFC 8288); absent on the last page.',
    documentation_only=True,
)


class AfterId(Struct, array_like=True, forbid_unknown_fields=True):
    """Cursor of a list that is sorted by ID."""

    id: Annotated[int, Meta(ge=1, le=MAX_ID)]


class AfterTime(Struct, array_like=True, forbid_unknown_fields=True, order=True):
    """Cursor of a list that is sorted by time, then ID."""

    at: Annotated[datetime, Meta(tz=True)]
    id: Annotated[int, Meta(ge=0, le=MAX_ID)]


Key = TypeVar("Key", AfterId, AfterTime)


def decode_cursor(cursor: str, kind: type[Key]) -> Key:
    """Decode a cursor; raise 400 if it is not from a list of this kind."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(urlsafe_b64decode(padded), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise bad_parameter(
            "cursor", "Expected a cursor from the `Link` header of this list."
        ) from None


def encode_cursor(key: AfterId | AfterTime) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def page(
    request: Request[Any, Any, Any],
    rows: Sequence[Item],
    limit: int,
    cursor_key: Callable[[Item], AfterId | AfterTime],
) -> Response[list[Item]]:
    """Return a page of at most `limit` rows; one more row means that there is a next page."""
    items = list(rows[:limit])
    headers = {}
    if len(rows) > limit:
        query = [(name, value) for name, value in request.query_params.multi_items()]
        query = [pair for pair in query if pair[0] != "cursor"]
        query.append(("cursor", encode_cursor(cursor_key(items[-1]))))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return Response(items, headers=headers)
