"""Errors as RFC 9457 problem details: one map from each exception to its response."""

import logging
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.inspect import EnumType, Metadata, StructType, Type, UnionType, type_info
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from clinic.database import is_stale_plan
from clinic.fields import InvalidFieldError
from clinic.logs import causes

MEDIA_TYPE = "application/problem+json"
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every response."""
RETRY_AFTER = 2
"""Seconds after which a client may retry while the database is unavailable."""

INVALID = "The request is not valid."
INVALID_TIME = "Expected an RFC 3339 time with a UTC offset, such as 2030-05-17T09:30:00-04:00."
FIELD = re.compile(
    r"Object (?:(?P<missing>missing required)|contains unknown) field `(?P<name>.*)`", re.DOTALL
)
TYPE_NAMES = {
    "`str | null`": "text or null",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`str`": "text",
    "`object`": "an object",
    "`array`": "a list",
}
"""msgspec's names of types, and those that a caller knows."""

Rows = TypeVar("Rows", bound=Sequence[Any])

log = logging.getLogger(__name__)


class Fault(Struct, omit_defaults=True):
    """One invalid value of a request, and where it is."""

    detail: Annotated[str, Meta(examples=["Expected an e-mail address, such as ana@example.org."])]
    pointer: Annotated[str, Meta(examples=["#/email"])] | UnsetType = UNSET
    """JSON Pointer (RFC 6901) into the body."""
    parameter: Annotated[str, Meta(examples=["limit"])] | UnsetType = UNSET
    """Name of the query parameter or header."""


class Problem(Struct, omit_defaults=True):
    """Problem details (RFC 9457)."""

    status: Annotated[int, Meta(examples=[400])]
    title: Annotated[str, Meta(examples=["Bad Request"])]
    detail: Annotated[str, Meta(examples=["The request is not valid."])]
    errors: list[Fault] = []
    down: Annotated[list[str], Meta(examples=[["database"]])] = []
    """The dependencies that are unavailable, if that is the reason."""


class RefusedError(Exception):
    """A request that the clinic refuses: a status and a sentence for the caller."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *faults: Fault,
        down: list[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults
        self.down = down or []
        self.headers = headers or {}


def or_404(rows: Rows | None, kind: str, key: int) -> Rows:
    """Return the rows, or the row, of a statement; raise 404 if there is none."""
    if not rows:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"There is no {kind} {key}.")
    return rows


def bad_parameter(name: str, detail: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, Fault(detail, parameter=name))


def unavailable(what: str, *down: str) -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE, f"{what} Try again in {RETRY_AFTER} s.", down=[*down]
    )


DATABASE_UNAVAILABLE = unavailable("The database is unavailable.", "database")
DATABASE_READ_ONLY = unavailable("The database is read-only.", "database")
DATABASE_LATE = unavailable("The database did not answer in time.", "database")
POOL_EXHAUSTED = unavailable("All connections to the database are in use.")
OTHER_SCHEMA = unavailable("The database's schema is not the API's.", "database")
SCHEMA_CHANGED = unavailable("The database's schema has just changed.")
CONFLICT = unavailable("Another request changed the same data at the same time.")

SQLSTATES = {
    "42703": OTHER_SCHEMA,
    "42P01": OTHER_SCHEMA,
    "25006": DATABASE_READ_ONLY,
    "40001": CONFLICT,
    "40P01": CONFLICT,
    "55P03": unavailable("The data is locked."),
    "53100": unavailable("The database's disk is full.", "database"),
    "53300": unavailable("The database accepts no more connections.", "database"),
    "57014": DATABASE_LATE,
    "3D000": DATABASE_UNAVAILABLE,
    "08": DATABASE_UNAVAILABLE,
    "28": DATABASE_UNAVAILABLE,
    "53": DATABASE_UNAVAILABLE,
    "57": DATABASE_UNAVAILABLE,
}
"""The response to an error that will pass, by its SQLSTATE or the class of that."""


CONSTRAINTS = {
    "uq_owner_email": RefusedError(
        HTTPStatus.CONFLICT,
        "Another owner has this e-mail address.",
        Fault("Expected an e-mail address that no other owner has.", pointer="#/email"),
    ),
    "fk_pet_owner_id_owner": RefusedError(HTTPStatus.NOT_FOUND, "There is no such owner."),
    "fk_appointment_pet_id_pet": RefusedError(HTTPStatus.NOT_FOUND, "There is no such pet."),
    "uq_appointment_pet_id_minute": RefusedError(
        HTTPStatus.CONFLICT,
        "The pet already has an appointment at this time, to the minute.",
        Fault("Expected a minute in which the pet has no appointment.", pointer="#/scheduled_at"),
    ),
}
"""The response to the violation of a database constraint, by the constraint's name."""


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Return the problem for an exception, and log it if the caller is not to blame."""
    refusal = to_problem(request, error)
    headers = dict(refusal.headers)
    if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log_failure(request, error, refusal)
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
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


def log_failure(request: Request[Any, Any, Any], error: Exception, refusal: RefusedError) -> None:
    # The route, not the path: an unknown path may hold anything that a caller typed.
    operation = f"{request.method} {request.scope.get('path_template', '')}"
    *_, root_cause = causes(error)
    kind = type(root_cause).__name__
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("%s (%s in %s)", refusal.detail, kind, operation)
    else:
        log.error("Unhandled error in %s (%s)", operation, kind, exc_info=error)


def to_problem(  # noqa: PLR0911 a map, one line for each kind of exception
    request: Request[Any, Any, Any], error: Exception
) -> RefusedError:
    """Map an exception to a refusal; 500 for an unexpected one."""
    match error:
        case RefusedError():
            return error
        case ValidationException():
            return invalid_parameters(request, error)
        case HTTPException():
            return RefusedError(HTTPStatus(error.status_code), http_message(error))
        case InvalidFieldError():
            fault = Fault(error.detail, pointer=f"#/{error.field}")
            return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, fault)
        case msgspec.DecodeError():
            body_type = request.route_handler.parsed_fn_signature.parameters["data"].annotation
            fault = body_fault(str(error), body_type)
            return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, fault)
        case DBAPIError(orig=BaseException(__cause__=cause)) if (
            name := getattr(cause, "constraint_name", None)
        ) in CONSTRAINTS:
            return CONSTRAINTS[name]
        case _:
            return database_refusal(error) or RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "The request could not be processed because of an internal error.",
            )


def database_refusal(error: Exception) -> RefusedError | None:
    """Return the response to a fault of the database that will pass, None for any other error."""
    match error:
        case PoolTimeoutError():
            return POOL_EXHAUSTED
        case TimeoutError():
            return DATABASE_LATE
        case OSError():
            return DATABASE_UNAVAILABLE
    if is_stale_plan(error):
        return SCHEMA_CHANGED
    # The driver's own error while it connects, SQLAlchemy's afterwards.
    state = str(getattr(getattr(error, "orig", error), "sqlstate", ""))
    if refusal := SQLSTATES.get(state) or SQLSTATES.get(state[:2]):
        return refusal
    is_gone = isinstance(error, DBAPIError) and error.connection_invalidated
    return DATABASE_UNAVAILABLE if is_gone else None


def http_message(error: HTTPException) -> str:
    """Describe an exception of Litestar's in one sentence."""
    match error.status_code:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return "The body is larger than the API accepts."
        case _:
            return f"{error.detail.rstrip('.')}."


def invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> RefusedError:
    """Name each invalid parameter; an impossible ID in the path is a 404."""
    entries = [entry for entry in error.extra or [] if isinstance(entry, dict)]
    if any(entry.get("source") == ParamType.PATH for entry in entries):
        return RefusedError(HTTPStatus.NOT_FOUND, "There is no such resource.")
    if any(entry.get("key") == "data" for entry in entries):
        return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, Fault("Expected a JSON body.", "#"))
    faults = [parameter_fault(request, entry["key"], entry["message"]) for entry in entries]
    return RefusedError(HTTPStatus.BAD_REQUEST, INVALID, *faults)


def parameter_fault(request: Request[Any, Any, Any], argument: str, message: str) -> Fault:
    """Turn msgspec's message on an argument of the handler into a fault of its parameter."""
    definition = request.route_handler.parsed_fn_signature.parameters[argument]
    name = getattr(definition.kwarg_definition, "name", None) or argument
    return Fault(expectation(message, type_info(definition.annotation)), parameter=name)


def body_fault(message: str, body_type: Any) -> Fault:
    """Turn msgspec's message on a body of this type into a fault that points at the field."""
    what, _, path = message.partition(" - at `$")
    keys = path.rstrip("`").replace("[", ".").replace("]", "").split(".")[1:]
    field_type = type_at(type_info(body_type), keys)
    if match := FIELD.fullmatch(what):
        keys.append(match["name"])
        what = "This field is required" if match["missing"] else "There is no such field"
    tokens = (key.replace("~", "~0").replace("/", "~1") for key in keys)
    pointer = "#" + "".join(f"/{token}" for token in tokens)
    return Fault(expectation(what, field_type), pointer=pointer)


def type_at(info: Type, keys: Sequence[str]) -> Type | None:
    """Find the type of the value under these keys of a body."""
    for key in keys:
        fields = (
            field
            for option in options(info)
            if isinstance(option, StructType)
            for field in option.fields
        )
        found = next((field.type for field in fields if field.encode_name == key), None)
        if found is None:
            return None
        info = found
    return info


def options(info: Type | None) -> tuple[Type, ...]:
    """Return the members of a union, or the type itself."""
    if isinstance(info, Metadata):
        return options(info.type)
    if isinstance(info, UnionType):
        return tuple(member for option in info.types for member in options(option))
    return (info,) if info else ()


def expectation(message: str, value_type: Type | None) -> str:
    """Rephrase msgspec's message on a value: JSON's types and examples instead of Python's."""
    if message.startswith("Invalid enum value"):
        enums = [option.cls for option in options(value_type) if isinstance(option, EnumType)]
        return expected_member(*enums) if enums else f"{message}."
    if "datetime" in message:
        return INVALID_TIME
    for python_name, name in TYPE_NAMES.items():
        message = message.replace(python_name, name)
    return f"{message}."


def expected_member(*enums: type[Enum]) -> str:
    members = [f"`{member.value}`" for enum in enums for member in enum]
    return f"Expected {' or '.join(members)}."
