"""Who may call: bearers of the token or, where none is set, callers on the same machine."""

from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from secrets import compare_digest
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Guard

from clinic.problems import RefusedError

SCHEME = "bearer"
COMPONENTS = Components(security_schemes={SCHEME: SecurityScheme(type="http", scheme="bearer")})


def guard_of(token: str | None) -> Guard:
    """Make the guard of everything but health and schema.

    Guards are coroutines because Litestar runs any other in a thread, at a third of a request.
    """
    return bearers_of(token) if token else loopback_only


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


async def loopback_only(
    connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
) -> None:
    """Let callers on this machine pass: without a token the clinic is open to nobody else."""
    if connection.client is None or not is_loopback(connection.client.host):
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            "Without a token the clinic answers callers on its own machine only. "
            "Set CLINIC_API_TOKEN to open it to others.",
        )


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
