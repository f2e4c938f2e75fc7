"""Request bodies: JSON, decoded directly into the handler's type."""

import json
import logging
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from clinic.problems import INVALID, Fault, RefusedError, body_fault

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
CHUNKED = "chunked"

log = logging.getLogger(__name__)


class NoFields(Struct, forbid_unknown_fields=True):
    """The body of an operation that takes none."""


NO_FIELDS = msgspec.json.Decoder(NoFields)


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded strictly, into the type of the handler's `data`.

    Litestar would decode to dictionaries first and convert those leniently: it would accept a
    number as a time.
    """

    async def json(self) -> Any:
        """Decode the body; raise an error if it is not JSON or not of the handler's type."""
        check_content(self)
        return decode(await self.body(), *decoder(self.route_handler))

    async def body(self) -> bytes:
        """Return the body; raise an error if the client goes away before all of it is there."""
        try:
            return await super().body()
        except InternalServerException:
            log.info("A client disconnected while it sent its body")
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "The connection was closed before the whole body had arrived.",
            ) from None


async def check_no_fields(request: Request[Any, Any, Any]) -> None:
    """Refuse a body with content of an operation that takes none."""
    length = request.headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in request.headers:
        return
    if body := await request.body():
        check_content(request)
        try:
            decode(body, NO_FIELDS, ())
        except msgspec.DecodeError as error:
            fault = body_fault(str(error), NoFields)
            raise RefusedError(HTTPStatus.BAD_REQUEST, INVALID, fault) from None


def check_content(request: Request[Any, Any, Any]) -> None:
    """Refuse a body that is not declared as JSON, or that is compressed."""
    headers = request.headers
    if headers.getall("content-type", []) != [JSON]:
        check_content_type(request)
    if headers.get("transfer-encoding", CHUNKED).lower() != CHUNKED:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "Expected no `Transfer-Encoding` other than `chunked`."
        )
    if "content-encoding" in headers:
        codings = headers["content-encoding"].lower().split(",")
        if any(coding.strip() not in {"identity", ""} for coding in codings):
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Expected a body without compression: leave the header `Content-Encoding` out.",
                headers={"Accept-Encoding": "identity"},
            )


def check_content_type(request: Request[Any, Any, Any]) -> None:
    media_type, parameters = request.content_type
    accepted = (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,)
    if (
        media_type.strip().lower() not in accepted
        or len(request.headers.getall("content-type")) > 1
    ):
        names = " or ".join(f"`Content-Type: {name}`" for name in accepted)
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Expected a JSON body with the header {names}.",
            headers={"Accept": ", ".join(accepted)},
        )
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Expected JSON in UTF-8: leave `charset` out, or set it to `utf-8`.",
            headers={"Accept": ", ".join(accepted)},
        )


def decode(body: bytes, decoder: msgspec.json.Decoder[Any], names: tuple[bytes, ...]) -> Any:
    """Decode a body and refuse names that occur twice in it; `names` are quoted."""
    try:
        data = decoder.decode(body)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None
    except UnicodeDecodeError:
        fault = Fault("The body is not UTF-8.", pointer="#")
        raise RefusedError(HTTPStatus.BAD_REQUEST, INVALID, fault) from None
    # Only a name that occurs twice or is written with escapes is worth the slower decoder.
    if b"\\u" in body or any(body.count(name) > 1 for name in names):
        json.loads(body, object_pairs_hook=refuse_duplicates)
    return data


def refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            token = name.replace("~", "~0").replace("/", "~1")
            fault = Fault("Expected this field once.", pointer=f"#/{token}")
            raise RefusedError(HTTPStatus.BAD_REQUEST, INVALID, fault)
        names.add(name)


@cache
def decoder(
    handler: BaseRouteHandler,
) -> tuple[msgspec.json.Decoder[Any], tuple[bytes, ...]]:
    """Return the decoder of the handler's `data`, and the quoted names of its fields."""
    body_type = handler.parsed_fn_signature.parameters["data"].annotation
    names = tuple(f'"{name}"'.encode() for name in body_type.__struct_encode_fields__)
    return msgspec.json.Decoder(body_type), names
