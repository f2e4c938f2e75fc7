"""JSON responses, compared with Litestar's own."""

from datetime import UTC, datetime
from typing import Any

import pytest
from litestar import Litestar, Response, get, post
from litestar.datastructures import ResponseHeader

from clinic.pets.schemas import PetOut
from clinic.responses import JSONResponse
from tests.support.clinic import http_scope

PET = PetOut(
    id=1,
    owner_id=2**62,
    name="Ñandú 🐕",
    species="dog",
    breed=None,
    created_at=datetime(2026, 11, 23, 5, 32, 49, 500000, tzinfo=UTC),
)
HEADERS = {"ETag": '"742"', "Location": "/pets/1", "X-Route": "the response's"}


async def messages(kind: type[Response[Any]], method: str) -> list[Any]:
    options: Any = {
        "response_headers": [
            ResponseHeader(name="X-Route", value="the route's"),
            ResponseHeader(name="X-Other", value="é"),
            ResponseHeader(name="Location", documentation_only=True),
        ]
    }

    @get("/", **options)
    async def read() -> Response[list[PetOut]]:
        return kind([PET, PET], headers=HEADERS)

    @post("/", **options)
    async def create() -> Response[PetOut]:
        return kind(PET, headers=HEADERS)

    @post("/accepted", **options)
    async def accept() -> Response[list[PetOut]]:
        return kind([], status_code=202)

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    app = Litestar([read, create, accept], logging_config=None)
    path = "/accepted" if method == "ACCEPT" else "/"
    await app(http_scope(method.replace("ACCEPT", "POST"), path), receive, send)
    sent[0]["headers"] = sorted(map(tuple, sent[0]["headers"]))
    return sent


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "POST", "ACCEPT"])
async def test_a_json_response_is_what_litestars_would_be(method: str) -> None:
    expected = await messages(Response, method)

    assert expected[0]["status"] in {200, 201, 202}
    assert await messages(JSONResponse, method) == expected
