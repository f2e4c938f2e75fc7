"""Request bodies: JSON, decoded directly into the handler's type."""

from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import BaseRouteHandler

from clinic.problems import RefusedError


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded strictly, into the type of the handler's `data`.

    Litestar would decode to dictionaries first and convert those leniently: it would accept a
    number as a time.
    """

    async def json(self) -> Any:
        """Decode the body; raise an error if it is not JSON or not of the handler's type."""
        content_type = self.headers.get("content-type", "application/json")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Expected a JSON body with the header `Content-Type: application/json`.",
            )
        body = await self.body()
        try:
            return decoder(self.route_handler).decode(body)
        except RecursionError:
            raise msgspec.DecodeError("JSON is nested too deeply") from None


@cache
def decoder(handler: BaseRouteHandler) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(handler.parsed_fn_signature.parameters["data"].annotation)
