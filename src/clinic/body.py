"""A request's body: JSON, decoded once and straight into what the call takes."""

from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import BaseRouteHandler

from clinic.problems import RefusedError


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded by its handler's own type.

    Litestar would decode to dictionaries first and convert those leniently: a number would pass for
    a time.
    """

    async def json(self) -> Any:
        """Decode the body; what is not JSON, or not what the call takes, raises a refusal."""
        kind = self.headers.get("content-type", "application/json")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Expected a JSON body, with the header `Content-Type: application/json`.",
            )
        body = await self.body()
        try:
            return decoder(self.route_handler).decode(body)
        except RecursionError:
            raise msgspec.DecodeError("JSON is nested too deeply") from None


@cache
def decoder(handler: BaseRouteHandler) -> msgspec.json.Decoder[Any]:
    """Make the decoder of what a handler takes as its body."""
    return msgspec.json.Decoder(handler.parsed_fn_signature.parameters["data"].annotation)
