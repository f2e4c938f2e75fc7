"""Keyset pagination: each page starts after the last row of the previous one, at constant cost."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.params import QueryParameter
from msgspec import Struct

from clinic.problems import bad_parameter
from clinic.responses import JSONResponse

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

ID_CURSOR = "^[1-9][0-9]{0,17}$"
TIME_CURSOR = "^(0|-?[1-9][0-9]{0,17})_(0|[1-9][0-9]{0,17})$"
"""Every text that matches is a cursor, and no position has two."""

FROM_LINK = "Start of the page, taken from `Link`."
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Maximum number of rows.")]
IdCursor = Annotated[
    str | None, QueryParameter(description=FROM_LINK, schema_extra={"pattern": ID_CURSOR})
]
TimeCursor = Annotated[
    str | None, QueryParameter(description=FROM_LINK, schema_extra={"pattern": TIME_CURSOR})
]

Item = TypeVar("Item", bound=Struct)

LINK = ResponseHeader(
    name="Link",
    description='`<path>; rel="next"` (RFC 8288); absent on the last page.',
    documentation_only=True,
)


class AfterId(NamedTuple):
    """Cursor of a list that is sorted by ID."""

    id: int

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def parse(cls, cursor: str) -> "AfterId":
        """Read a cursor; raise 400 if it is not from a list of this kind."""
        return cls(int(match_cursor(ID_CURSOR, cursor)[0]))


class AfterTime(NamedTuple):
    """Cursor of a list that is sorted by time, then ID."""

    at: datetime
    id: int

    def __str__(self) -> str:
        return f"{(self.at - EPOCH) // MICROSECOND}_{self.id}"

    @classmethod
    def parse(cls, cursor: str) -> "AfterTime":
        """Read a cursor; raise 400 if it is not from a list of this kind."""
        match = match_cursor(TIME_CURSOR, cursor)
        microseconds, key = int(match[1]), int(match[2])
        try:
            at = EPOCH + microseconds * MICROSECOND
        except OverflowError:
            at = LATEST if microseconds > 0 else EARLIEST
        return cls(at, key)


def match_cursor(pattern: str, cursor: str) -> re.Match[str]:
    match = re.fullmatch(pattern, cursor)
    if match is None:
        raise bad_parameter("cursor", "Expected a cursor from the `Link` header of this list.")
    return match


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
        query.append(("cursor", str(cursor_key(items[-1]))))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return JSONResponse(items, headers=headers)
