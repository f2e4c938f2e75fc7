from asyncio import gather
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from httpx import AsyncClient, Response
from litestar import Litestar, post
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET, Struct, UnsetType

from clinic.body import JSONRequest
from clinic.models import Base
from clinic.problems import problem_response
from clinic.settings import Settings
from lab.stack import postgres
from lab.stack.config import StackConfig
from lab.stack.ports import free as free_port
from tests.support.clinic import app_client, running_app, running_postgres, unique_email

pytestmark = pytest.mark.anyio

PROBLEM = "application/problem+json"
GOOD = {"name": "Ana", "email": "ana@example.org"}
JSON = {"content-type": "application/json"}


def faults(response: Response) -> list[dict[str, Any]]:
    """Check that the response is a complete problem and return its `errors`."""
    problem = response.json()
    assert response.headers["content-type"] == PROBLEM
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"].endswith(".")
    errors: list[dict[str, Any]] = problem.get("errors", [])
    return errors


@pytest.mark.parametrize(
    ("body", "pointer", "expected"),
    [
        ({"email": "a@b.cl"}, "#/name", "required"),
        ({"name": "Ana"}, "#/email", "required"),
        ({**GOOD, "nmae": "Ana"}, "#/nmae", "no such field"),
        ({**GOOD, "name": 1}, "#/name", "got a whole number"),
        ({**GOOD, "name": 1.5}, "#/name", "got a number"),
        ({**GOOD, "name": True}, "#/name", "got true or false"),
        ({**GOOD, "a\nb": 1}, "#/a\nb", "no such field"),
        ({**GOOD, "name": None}, "#/name", "text"),
        ({**GOOD, "name": ""}, "#/name", "length >= 1"),
        ({**GOOD, "name": "  "}, "#/name", "a letter or a digit"),
        ({**GOOD, "name": "x" * 201}, "#/name", "length <= 200"),
        ({**GOOD, "name": "A\x00na"}, "#/name", "control"),
        ({**GOOD, "name": "Ana\n"}, "#/name", "control"),
        ({**GOOD, "name": "A\x1b[31m"}, "#/name", "control"),
        ({**GOOD, "email": "ana"}, "#/email", "e-mail"),
        ({**GOOD, "email": "ana@example"}, "#/email", "e-mail"),
        ({**GOOD, "email": "ana@@example.org"}, "#/email", "e-mail"),
        ({**GOOD, "email": "añá@example.org"}, "#/email", "e-mail"),
        ({**GOOD, "email": "ana@example.org\n"}, "#/email", "e-mail"),
        ({**GOOD, "email": "a" * 250 + "@example.org"}, "#/email", "length"),
        ({**GOOD, "phone": ["1"]}, "#/phone", "text"),
        ([GOOD], "#", "object"),
    ],
)
async def test_invalid_fields_are_named_with_what_was_expected(
    client: AsyncClient, body: object, pointer: str, expected: str
) -> None:
    response = await client.post("/owners", json=body)

    [fault] = faults(response)
    assert response.status_code == 400
    assert fault["pointer"] == pointer
    assert expected in fault["detail"]
    assert "\\" not in fault["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"name=Ana",
        b"null",
        b"\xff\xfe",
        b'{"name": "\\ud800", "email": "a@b.cl"}',
        b"[" * 60_000,
        b'{"name": "a", "email": "a@b.cl", "x": ' + b"[" * 60_000,
    ],
)
async def test_malformed_json_is_refused(client: AsyncClient, body: bytes) -> None:
    response = await client.post("/owners", content=body, headers=JSON)

    assert response.status_code == 400
    assert faults(response)


@pytest.mark.parametrize(
    "time",
    [
        "2090-01-02T09:00:00",
        "2090-01-02",
        "2090-02-30T09:00:00Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "tomorrow",
        3786912000,
        None,
    ],
)
async def test_invalid_times_are_refused(client: AsyncClient, pet_id: int, time: object) -> None:
    body = {"scheduled_at": time, "reason": "check-up"}

    response = await client.post(f"/pets/{pet_id}/appointments", json=body)

    assert response.status_code == 400
    assert [fault["pointer"] for fault in faults(response)] == ["#/scheduled_at"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "1" * 19 + "_1", "cursor"),
        ("cursor=17", "cursor"),
        ("cursor=1_-1", "cursor"),
        ("cursor=-0_1", "cursor"),
        ("cursor=1_01", "cursor"),
        ("status=null", "status"),
        ("status=None", "status"),
        ("status=", "status"),
        ("from=2090-01-02T09:00:00", "from"),
        ("from=1234567890", "from"),
        ("to=0001-01-01T00:00:00%2B14:00", "to"),
        ("from=2090-01-02T09:00:00Z&to=2090-01-01T09:00:00Z", "to"),
        ("status=lost", "status"),
        ("veterinarian=%00", "veterinarian"),
        ("veterinarian=", "veterinarian"),
    ],
)
async def test_invalid_parameters_are_named_with_what_was_expected(
    client: AsyncClient, query: str, parameter: str
) -> None:
    response = await client.get(f"/appointments?{query}")

    assert response.status_code == 400
    [fault] = faults(response)
    assert fault["parameter"] == parameter
    assert fault["detail"].startswith("Expected")
    if parameter == "status":
        assert fault["detail"] == "Expected `booked` or `cancelled`."


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Cage(Struct):
    size: Size | UnsetType | None = UNSET


class Order(Struct):
    cage: Cage


@post("/orders")
async def place_order(
    data: JSONBody[Order],
    priority: Annotated[Size | None, QueryParameter(name="prio")] = None,
) -> None: ...


@pytest.mark.parametrize(
    ("query", "size", "where"),
    [("?prio=huge", "small", {"parameter": "prio"}), ("", "huge", {"pointer": "#/cage/size"})],
)
async def test_invalid_enum_values_list_the_members_of_their_own_enum(
    query: str, size: str, where: dict[str, str]
) -> None:
    app = Litestar(
        [place_order], exception_handlers={Exception: problem_response}, request_class=JSONRequest
    )
    async with app_client(app) as client:
        response = await client.post(f"/orders{query}", json={"cage": {"size": size}})

    assert faults(response) == [{"detail": "Expected `small` or `large`.", **where}]


@pytest.mark.parametrize("kind", ["owners", "pets", "appointments"])
@pytest.mark.parametrize(
    "key", ["0", "-1", "999999999", str(2**63 - 1), str(2**63), "9" * 5000, "abc", "%00", "1.5"]
)
async def test_unknown_and_impossible_ids_are_404(client: AsyncClient, kind: str, key: str) -> None:
    response = await client.get(f"/{kind}/{key}")

    faults(response)
    assert response.status_code == 404


async def test_errors_of_the_framework_are_problems(client: AsyncClient) -> None:
    form = await client.post("/owners", data=GOOD)
    plain = await client.post("/owners", content=b"{}", headers={"content-type": "text/plain"})
    large = await client.post("/owners", content=b"x" * 1_000_000, headers=JSON)
    method = await client.put("/owners", json=GOOD)
    unknown = await client.get("/people")

    responses = (form, plain, large, method, unknown)
    assert [response.status_code for response in responses] == [415, 415, 413, 405, 404]
    for response in responses:
        faults(response)
    assert "POST" in method.headers["allow"]


async def test_a_refused_request_changes_nothing(client: AsyncClient, pet_id: int) -> None:
    before = (await client.get("/owners?limit=1")).json()

    await client.post("/owners", json={**GOOD, "email": unique_email(), "nmae": 1})
    await client.patch(f"/pets/{pet_id}", json={"name": "Sol", "species": 1})

    assert (await client.get("/owners?limit=1")).json() == before
    assert (await client.get(f"/pets/{pet_id}")).json()["name"] == "Luna"


async def test_an_unavailable_database_is_503_with_retry_after(
    settings: Settings,
) -> None:
    unreachable = f"postgresql+asyncpg://clinic@127.0.0.1:{free_port()}/clinic"
    async with running_app(settings, database_url=unreachable) as app, app_client(app) as client:
        for response in await gather(
            client.get("/owners"), client.post("/owners", json=GOOD), client.get("/readyz")
        ):
            faults(response)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.json()["down"] == ["database"]
        assert (await client.get("/livez")).status_code == 200


async def test_an_exhausted_pool_is_503(settings: Settings) -> None:
    async with (
        running_app(settings, pool_size=1, pool_timeout=1) as app,
        app_client(app) as client,
        app.state.database.engine.connect(),
    ):
        response = await client.get("/owners")

    assert response.status_code == 503


async def test_the_api_recovers_from_a_restart_of_postgresql(
    settings: Settings, passable_dir: Path
) -> None:
    own = StackConfig(passable_dir, postgres_port=free_port())
    postgres.prepare(own)
    async with (
        running_app(settings, database_url=own.database_url) as app,
        app_client(app) as client,
    ):
        with running_postgres(own):
            async with app.state.database.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            before = await gather(*(client.get("/owners") for _ in range(20)))
        during = await client.get("/owners")
        with running_postgres(own):
            # No request came in between: the pool still holds the closed connections.
            after = await gather(*(client.get("/owners") for _ in range(20)))

    assert {response.status_code for response in before} == {200}
    assert during.status_code == 503
    assert {response.status_code for response in after} == {200}
