"""Response headers and error responses of operations, for the OpenAPI schema."""

from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from clinic.problems import MEDIA_TYPE, Problem

LOCATION = ResponseHeader(
    name="Location", description="Path of the new resource.", documentation_only=True
)

DESCRIPTIONS = {
    400: "The body or a parameter is invalid; `errors` names each field and what was expected.",
    401: "The bearer token is missing or wrong.",
    403: "No token is configured, and the caller is not on the API's machine or an open network.",
    404: "The resource does not exist.",
    409: "The request conflicts with an existing resource or its state.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The time is in the past.",
    500: "Internal error.",
    503: "The database is unavailable; `Retry-After` gives the seconds to wait.",
}

COMMON = (400, 401, 403, 500, 503)
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
