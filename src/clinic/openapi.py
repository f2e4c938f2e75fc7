"""Response headers and error responses of operations, for the OpenAPI schema."""

from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from clinic.problems import MEDIA_TYPE, Problem

PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
LOCATION = ResponseHeader(
    name="Location", description="Path of the new resource.", documentation_only=True
)

DESCRIPTIONS = {
    304: "The client has this version.",
    400: "The body or a parameter is invalid; `errors` names each field and what was expected.",
    401: "The bearer token is missing or wrong.",
    403: (
        "No token is configured, and the caller is not on the API's machine or an open network, "
        "or a page of another origin sent the request."
    ),
    404: "The resource does not exist.",
    409: "The request conflicts with an existing resource or its state, or is in progress.",
    412: "The resource has another version than the request accepts.",
    413: "The body is too large.",
    415: "The body is not declared as JSON in UTF-8, or is compressed.",
    421: "The header `Host` has a name that the API does not answer to.",
    422: "The time is in the past, or the idempotency key had another body.",
    500: "Internal error.",
    503: "A fault that will pass; `Retry-After` gives the seconds to wait.",
}

COMMON = (400, 401, 403, 421, 500, 503)
"""Errors that every operation on a resource may return."""
WITH_BODY = (413, 415)
"""Further errors of operations that take a body."""


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """Document the problems that an operation may return."""
    return {
        status: ResponseSpec(
            Problem,
            media_type=MEDIA_TYPE,
            description=DESCRIPTIONS[status],
            generate_examples=False,
        )
        for status in sorted(statuses)
    }
