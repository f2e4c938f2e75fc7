"""Query parameters: known ones, once each, numbers in one spelling."""

import re
from enum import Enum
from functools import cache
from http import HTTPStatus
from typing import Any, get_args
from urllib.parse import parse_qsl

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from clinic.body import check_no_fields
from clinic.problems import INVALID, Fault, RefusedError, expected_member

INVALID_ENCODING = re.compile(rb"[^!-~]|%(?![0-9A-Fa-f]{2})")
EXPECTED_ENCODING = "Expected a query of percent-encoded UTF-8."
WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Refuse a query or a body that the operation does not take, after authentication."""
    if query := request.scope["query_string"]:
        faults = query_faults(query, known_parameters(request.route_handler))
        if faults:
            raise RefusedError(HTTPStatus.BAD_REQUEST, INVALID, *faults)
    if (
        request.method in {"POST", "DELETE"}
        and "data" not in request.route_handler.parsed_fn_signature.parameters
    ):
        await check_no_fields(request)


def query_faults(query: bytes, known: dict[str, type]) -> list[Fault]:
    """Return what is wrong with the names and the spelling of a query's parameters."""
    if INVALID_ENCODING.search(query):
        return [Fault(EXPECTED_ENCODING)]
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError:
        return [Fault(EXPECTED_ENCODING)]
    names = [name for name, _ in pairs]
    faults = [
        Fault(unknown(known), parameter=name) for name in dict.fromkeys(names) if name not in known
    ]
    faults += [
        Fault("Expected this parameter once.", parameter=name)
        for name in known
        if names.count(name) > 1
    ]
    faults += [
        Fault("Expected a whole number, such as 100.", parameter=name)
        for name, value in pairs
        if known.get(name) is int and not WHOLE_NUMBER.fullmatch(value)
    ]
    # Litestar would read `null` as an absent value.
    faults += [
        Fault(expected_member(known[name]), parameter=name)
        for name, value in pairs
        if issubclass(kind := known.get(name, str), Enum) and value not in values(kind)
    ]
    return faults


def unknown(known: dict[str, type]) -> str:
    names = [f"`{name}`" for name in known]
    if not names:
        return "There is no such parameter: this operation takes none."
    *others, last = names
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"There is no such parameter: this operation takes {listed}."


def values(kind: type[Enum]) -> set[Any]:
    return {member.value for member in kind}


@cache
def known_parameters(handler: BaseRouteHandler) -> dict[str, type]:
    """Return the types of the handler's query parameters by their names, optional or not."""
    parameters = handler.parsed_fn_signature.parameters
    return {
        definition.kwarg_definition.name or name: (
            get_args(definition.annotation) or (definition.annotation,)
        )[0]
        for name, definition in parameters.items()
        if isinstance(definition.kwarg_definition, QueryParameter)
    }
