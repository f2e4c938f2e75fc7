import re
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


async def test_bodies_have_no_further_fields(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"]
    for operation in operations(schema):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            model = models[content["schema"]["$ref"].rpartition("/")[2]]
            assert model["additionalProperties"] is False


async def test_conditions_and_idempotency_keys_are_documented(schema: dict[str, Any]) -> None:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            headers = {
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "header"
            }
            responses = operation["responses"]
            conditional = path.endswith(("_id}", "/cancel"))
            assert ({"If-Match", "If-None-Match"} <= headers) == conditional
            assert ("412" in responses) == conditional
            assert ("304" in responses) == (conditional and method == "get")
            assert ("Idempotency-Key" in headers) == (method == "post")
            assert method != "post" or {"409", "422"} <= responses.keys()
            tagged = method == "post" or (conditional and method != "delete")
            success = responses.get("200") or responses.get("201") or responses["204"]
            assert ("ETag" in success.get("headers", {})) == tagged


async def test_a_change_may_be_a_merge_patch(schema: dict[str, Any]) -> None:
    for methods in schema["paths"].values():
        if "patch" in methods:
            content = methods["patch"]["requestBody"]["content"]
            assert set(content) == {"application/json", "application/merge-patch+json"}


async def test_ids_and_limits_are_whole_numbers(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        for parameter in operation.get("parameters", []):
            if parameter["schema"].get("type") == "integer":
                assert isinstance(parameter["schema"]["maximum"], int)
                assert parameter["schema"]["maximum"] in {500, 2**63 - 1}


def patterns(node: Any) -> set[str]:
    if isinstance(node, list):
        return {pattern for item in node for pattern in patterns(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
    return own | patterns(list(node.values()))


async def test_patterns_mean_the_same_in_all_dialects(schema: dict[str, Any]) -> None:
    found = patterns(schema)

    assert found
    for pattern in found:
        re.compile(pattern)
        # Look-around, and classes by name such as white space, differ or are missing somewhere.
        assert not re.search(r"\\(?![][x\\\\.+*?(){}|^$/-])|\(\?[^:]|\[\[:", pattern), pattern
