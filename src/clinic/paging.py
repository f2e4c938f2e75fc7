"""Pages by key: each page begins where the last one ended, however many rows there are."""

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

MAX_LIMIT = 500
MAX_CURSOR = 200

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Most rows to answer with.")]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=MAX_CURSOR, description="Where the page begins, from `Link`."),
]


Answer = TypeVar("Answer", bound=Struct)

LINK = ResponseHeader(
    name="Link",
    description='`<path>; rel="next"` while there is more (RFC 8288).',
    documentation_only=True,
)


class After(Struct, array_like=True, forbid_unknown_fields=True):
    """A key of a list by id."""

    id: Id


class AfterTime(Struct, array_like=True, forbid_unknown_fields=True, order=True):
    """A key of a list by time."""

    at: Annotated[datetime, Meta(tz=True)]
    id: Annotated[int, Meta(ge=0, le=MAX_ID)]


Key = TypeVar("Key", After, AfterTime)


def key_of(cursor: str, kind: type[Key]) -> Key:
    """Read a cursor; one that no page of this kind gave is answered with 400."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(urlsafe_b64decode(padded), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise bad_parameter(
            "cursor", "Expected a cursor from the `Link` header of this list."
        ) from None


def cursor_of(key: After | AfterTime) -> str:
    """Write a key as an opaque cursor."""
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def page(
    request: Request[Any, Any, Any],
    rows: Sequence[Answer],
    limit: int,
    key: Callable[[Answer], After | AfterTime],
) -> Response[list[Answer]]:
    """Answer with at most `limit` of the rows; one row more than that makes a next page."""
    shown = list(rows[:limit])
    headers = {}
    if len(rows) > limit:
        query = [(name, value) for name, value in request.query_params.multi_items()]
        query = [pair for pair in query if pair[0] != "cursor"]
        query.append(("cursor", cursor_of(key(shown[-1]))))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return Response(shown, headers=headers)
