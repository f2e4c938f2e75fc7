"""The OpenAPI document: Litestar's, made exact and completed with what holds for all operations."""

from dataclasses import dataclass, fields
from typing import Any

from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPI

from clinic.body import MERGE_PATCH
from clinic.fields import MAX_ID
from clinic.idempotency import KEY_PATTERN
from clinic.openapi import DESCRIPTIONS, PROBLEM_CONTENT

Json = dict[str, Any]

ENTITY_TAGS = r'^(W/)?"[!#-~]*"(,[ ]?(W/)?"[!#-~]*")*$|^[*]$'
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Versions that the request is meant for, or `*`; 412 if it has another.",
    "schema": {"type": "string", "pattern": ENTITY_TAGS},
    "example": '"742"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Versions that the request is not meant for, or `*`.",
    "schema": {"type": "string", "pattern": ENTITY_TAGS},
    "example": '"742"',
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the request, so that repeating it gets the first response again.",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}
ETAG = {
    "description": "Version of the resource (RFC 9110, section 8.8.3).",
    "required": True,
    "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
}


@dataclass
class CompleteOpenAPI(OpenAPI):
    def to_schema(self) -> Json:
        document = super().to_schema()
        complete(document)
        return document


class Config(OpenAPIConfig):
    def to_openapi_schema(self) -> OpenAPI:
        openapi = super().to_openapi_schema()
        values = {field.name: getattr(openapi, field.name) for field in fields(openapi)}
        return CompleteOpenAPI(**values)


def complete(document: Json) -> None:
    """Complete the document in place."""
    make_exact(document)
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        single = path.endswith("}")
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                complete_parameter(parameter)
            if single or path.endswith("/cancel"):
                add_conditions(operation, method)
            if method == "post":
                add_idempotency(operation)
                if not single and not path.endswith("/cancel"):
                    add_etag(operation)
            if method == "patch":
                content = operation["requestBody"]["content"]
                content[MERGE_PATCH] = content["application/json"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"]["$ref"].rpartition("/")[2]
                schemas[name]["additionalProperties"] = False
            operation["responses"] = dict(sorted(operation["responses"].items()))


def make_exact(node: Any) -> None:
    """Write integers as integers, and constraints inside the type that they constrain."""
    if isinstance(node, list):
        for item in node:
            make_exact(item)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if isinstance(value, float):
            node[key] = min(int(value), MAX_ID)
        elif key not in {"example", "examples"}:
            make_exact(value)
    match node.get("oneOf"):
        case [{"type": str() as kind} as only]:
            del node["oneOf"]
            node.update(only, type=kind)
        case [{"type": str() as kind} as only, {"type": "null"}]:
            del node["oneOf"]
            node.update(only, type=[kind, "null"])


def complete_parameter(parameter: Json) -> None:
    """Say of a parameter that it is not null: a query cannot express that."""
    schema = parameter["schema"]
    schema.pop("description", None)
    if isinstance(schema.get("type"), list):
        [schema["type"]] = [kind for kind in schema["type"] if kind != "null"]
    match schema.get("oneOf"):
        case [{"$ref": reference}, {"type": "null"}]:
            parameter["schema"] = {"$ref": reference}
    for name in ("deprecated", "allowEmptyValue", "allowReserved"):
        parameter.pop(name, None)


def add_conditions(operation: Json, method: str) -> None:
    operation.setdefault("parameters", []).extend([IF_MATCH, IF_NONE_MATCH])
    responses = operation["responses"]
    responses["412"] = {"description": DESCRIPTIONS[412], "content": PROBLEM_CONTENT}
    if method == "get":
        responses["304"] = {"description": DESCRIPTIONS[304], "headers": {"ETag": ETAG}}
    if method != "delete":
        add_etag(operation)


def add_etag(operation: Json) -> None:
    for status in ("200", "201"):
        if response := operation["responses"].get(status):
            response.setdefault("headers", {})["ETag"] = ETAG


def add_idempotency(operation: Json) -> None:
    operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    for status in (409, 422):
        response = {"description": DESCRIPTIONS[status], "content": PROBLEM_CONTENT}
        operation["responses"].setdefault(str(status), response)
