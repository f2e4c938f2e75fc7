from typing import Any

import pytest
from httpx import AsyncClient

from clinic.settings import Settings
from tests.support.clinic import running_app

pytestmark = pytest.mark.anyio

OPERATIONS = {
    "bookAppointment",
    "cancelAppointment",
    "changeAppointment",
    "changeOwner",
    "changePet",
    "deleteOwner",
    "deletePet",
    "listAppointments",
    "listOwners",
    "listPets",
    "live",
    "readAgenda",
    "readAppointment",
    "readOwner",
    "readPet",
    "ready",
    "registerOwner",
    "registerPet",
}


@pytest.fixture
async def schema(client: AsyncClient) -> dict[str, Any]:
    response = await client.get("/schema/openapi.json")
    schema: dict[str, Any] = response.json()
    return schema


def operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in schema["paths"].values() for operation in path.values()]


async def test_the_schema_is_openapi_3_1_as_json_and_yaml(client: AsyncClient) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        assert (await client.get(path)).json()["openapi"].startswith("3.1.")
    assert "openapi: 3.1" in (await client.get("/schema/openapi.yaml")).text


async def test_operation_ids_are_stable(schema: dict[str, Any]) -> None:
    assert {operation["operationId"] for operation in operations(schema)} == OPERATIONS


async def test_errors_are_documented_as_problems(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        statuses = set(operation["responses"])
        if operation["tags"] != ["Health"]:
            assert statuses >= {"400", "401", "403", "500", "503"}, operation["operationId"]
        for status in statuses:
            if status >= "4":
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"]


async def test_the_bearer_token_is_documented_where_it_is_required(
    schema: dict[str, Any], settings: Settings
) -> None:
    async with running_app(settings, api_token="correct-horse-battery") as app:
        with_token = app.openapi_schema.to_schema()

    for operation in operations(with_token):
        guarded = operation["tags"] != ["Health"]
        assert operation.get("security") == ([{"bearer": []}] if guarded else None)
    assert not any("security" in operation for operation in operations(schema))


async def test_every_field_has_an_example(schema: dict[str, Any]) -> None:
    for name, model in schema["components"]["schemas"].items():
        if name.endswith(("In", "Patch", "Out")):
            for field, described in model["properties"].items():
                assert "examples" in described or "$ref" in described, f"{name}.{field}"
