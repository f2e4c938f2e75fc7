"""Every failure as RFC 9457 problem details: one map from what was raised to what is answered."""

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from clinic.fields import EXPECTED

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2
"""Seconds after which a client may try again while the database is away."""

INVALID = "The request is not valid."
AWAY = {"08", "53", "57"}
"""Classes of SQLSTATE that say PostgreSQL cannot serve now: connection, resources, shutdown."""
FIELD = re.compile(r"Object (?:(?P<lack>missing required)|contains unknown) field `(?P<field>.*)`")
WORDS = {
    "`str | null`": "text or null",
    "`int`": "a whole number",
    "`str`": "text",
    "`object`": "an object",
    "`array`": "a list",
}

Found = TypeVar("Found", bound=Sequence[Any])

log = logging.getLogger(__name__)


class Fault(Struct, omit_defaults=True):
    """One thing that is wrong with a request, and where."""

    detail: Annotated[str, Meta(examples=["Expected an e-mail address, such as ana@example.org."])]
    pointer: Annotated[str, Meta(examples=["#/email"])] | UnsetType = UNSET
    """Where in the body (RFC 6901)."""
    parameter: Annotated[str, Meta(examples=["limit"])] | UnsetType = UNSET
    """Which query parameter or header."""


class Problem(Struct, omit_defaults=True):
    """Problem details (RFC 9457)."""

    status: Annotated[int, Meta(examples=[400])]
    title: Annotated[str, Meta(examples=["Bad Request"])]
    detail: Annotated[str, Meta(examples=["The request is not valid."])]
    errors: list[Fault] = []
    down: Annotated[list[str], Meta(examples=[["database"]])] = []
    """What does not answer, where that is the reason."""


class RefusedError(Exception):
    """The clinic's own no: a status and a sentence for the caller."""

    def __init__(
        self, status: HTTPStatus, detail: str, *faults: Fault, down: list[str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults
        self.down = down or []


def found(rows: Found | None, kind: str, key: int | None = None) -> Found:
    """Return what a statement found; nothing is answered with 404."""
    if not rows:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"There is no {kind} {key}.")
    return rows


def bad_parameter(name: str, detail: str) -> RefusedError:
    """Say what is wrong with a query parameter."""
    return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, Fault(detail, parameter=name))


def database_away() -> RefusedError:
    """Say that the database does not answer."""
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The database does not answer. Try again in {RETRY_AFTER} s.",
        down=["database"],
    )


CONSTRAINTS = {
    "uq_owner_email": RefusedError(
        HTTPStatus.CONFLICT,
        "Another owner has this e-mail address.",
        Fault("Expected an e-mail address that no other owner has.", pointer="#/email"),
    ),
    "fk_pet_owner_id_owner": RefusedError(HTTPStatus.NOT_FOUND, "There is no such owner."),
    "fk_appointment_pet_id_pet": RefusedError(HTTPStatus.NOT_FOUND, "There is no such pet."),
    "uq_appointment_pet_id_scheduled_at": RefusedError(
        HTTPStatus.CONFLICT,
        "The pet already has an appointment at this time.",
        Fault("Expected a time at which the pet has no appointment.", pointer="#/scheduled_at"),
    ),
}
"""What a broken constraint means to the caller."""


def answer_problem(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer whatever a request raised."""
    refusal, headers = understand(error), {}
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("%s It raised %s.", refusal.detail, type(error).__qualname__)
    elif refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s", refusal.detail, exc_info=error)
    if isinstance(error, HTTPException) and error.headers:
        headers = dict(error.headers)
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER)
    return Response(
        Problem(
            status=refusal.status,
            title=refusal.status.phrase,
            detail=refusal.detail,
            errors=list(refusal.faults),
            down=refusal.down,
        ),
        status_code=refusal.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def understand(error: Exception) -> RefusedError:  # noqa: PLR0911 a map, a line for each kind
    """Find the refusal that an exception stands for; 500 for one that nobody foresaw."""
    match error:
        case RefusedError():
            return error
        case ValidationException():
            return invalid_parameters(error)
        case HTTPException():
            return RefusedError(HTTPStatus(error.status_code), sentence(error))
        case msgspec.MsgspecError():
            return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, body_fault(str(error)))
        case DBAPIError(orig=BaseException(__cause__=cause)) if (
            name := getattr(cause, "constraint_name", None)
        ) in CONSTRAINTS:
            return CONSTRAINTS[name]
        case OSError() | PoolTimeoutError():
            return database_away()
        case DBAPIError(connection_invalidated=True):
            return database_away()
        case DBAPIError(orig=orig) if str(getattr(orig, "sqlstate", ""))[:2] in AWAY:
            return database_away()
        case _:
            return RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "Something went wrong here, not with the request. The error is in the log.",
            )


def sentence(error: HTTPException) -> str:
    """Say in a sentence what an exception of the framework means."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return "There is nothing at this path."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"This path answers {(error.headers or {}).get('allow', 'other methods')} only."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return "The body is larger than the clinic accepts."
        case _:
            return f"{error.detail.rstrip('.')}."


def invalid_parameters(error: ValidationException) -> RefusedError:
    """Name the parameters that are wrong; a path that no record can have is not found."""
    entries = [entry for entry in error.extra or [] if isinstance(entry, dict)]
    if any(entry.get("source") == ParamType.PATH for entry in entries):
        return RefusedError(HTTPStatus.NOT_FOUND, "There is no such record.")
    if any(entry.get("key") == "data" for entry in entries):
        return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, Fault("Expected a JSON body.", "#"))
    faults = [Fault(expected(entry["message"]), parameter=entry["key"]) for entry in entries]
    return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, *faults)


def body_fault(message: str) -> Fault:
    """Turn msgspec's words on a body into a fault that points at the field."""
    what, _, path = message.partition(" - at `$")
    keys = path.rstrip("`").replace("[", ".").replace("]", "").split(".")[1:]
    if match := FIELD.fullmatch(what):
        keys.append(match["field"])
        what = "This field is required" if match["lack"] else "There is no such field"
    tokens = (key.replace("~", "~0").replace("/", "~1") for key in keys)
    return Fault(expected(what), pointer="#" + "".join(f"/{token}" for token in tokens))


def expected(message: str) -> str:
    """Say what was expected in the words of whoever calls, not in Python's."""
    for pattern, words in EXPECTED.items():
        if repr(pattern) in message or pattern in message:
            return f"Expected {words}."
    if "datetime" in message:
        return "Expected a time with its offset (RFC 3339), such as 2030-05-17T09:30:00-04:00."
    for name, words in WORDS.items():
        message = message.replace(name, words)
    return f"{message}."


LOCATION = ResponseHeader(
    name="Location", description="The path of what was made.", documentation_only=True
)

ANSWERS = {
    400: "The body or a parameter is not valid; `errors` says where and what was expected.",
    401: "The bearer token is missing or wrong.",
    403: "Without a token set, the API answers callers on its own machine only.",
    404: "There is no such record.",
    409: "It would break a rule that another record keeps.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The time is in the past.",
    500: "An error of the clinic's own.",
    503: "The database does not answer; `Retry-After` says when to try again.",
}


EVERY = (400, 401, 403, 500, 503)
"""What each operation on the clinic's records may answer."""
BODY = (413, 415)
"""What an operation that takes a body may answer besides."""


def answers(*statuses: int) -> dict[int, ResponseSpec]:
    """Document the problems that an operation may answer with."""
    return {
        status: ResponseSpec(
            Problem, media_type=MEDIA_TYPE, description=ANSWERS[status], generate_examples=False
        )
        for status in sorted(statuses)
    }
