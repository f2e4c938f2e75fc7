"""Who may call: bearers of the token or, where none is set, callers on the same machine."""

from http import HTTPStatus
from secrets import compare_digest
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Guard

from clinic.networks import Networks, address_of
from clinic.problems import RefusedError

SCHEME = "bearer"
COMPONENTS = Components(security_schemes={SCHEME: SecurityScheme(type="http", scheme="bearer")})


def guard_of(token: str | None, open_networks: Networks) -> Guard:
    """Make the guard of everything but health and schema.

    Guards are coroutines because Litestar runs any other in a thread, at a third of a request.
    """
    return bearers_of(token) if token else neighbours_of(open_networks)


def bearers_of(token: str) -> Guard:
    """Let those pass who send the token."""
    expected = f"Bearer {token}".encode()

    async def bearer_only(
        connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        sent = connection.headers.get("authorization", "").encode("latin-1", "replace")
        if not compare_digest(sent, expected):
            raise NotAuthorizedException(
                "Expected the header `Authorization: Bearer TOKEN` with this clinic's token",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return bearer_only


def neighbours_of(open_networks: Networks) -> Guard:
    """Let callers on this machine and on the open networks pass: there is no token to send."""

    async def neighbours_only(
        connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        host = connection.client.host if connection.client else ""
        if not is_loopback(host) and host not in open_networks:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "Without a token the clinic answers callers on its own machine only, and this call "
                f"came from {host or 'an unknown address'}. Set CLINIC_API_TOKEN to open it to "
                "others.",
            )

    return neighbours_only


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    address = address_of(host)
    return address is not None and address.is_loopback
