"""Authentication: a bearer token or, if none is set, the caller's address."""

from http import HTTPStatus
from secrets import compare_digest
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Guard

from clinic.networks import Networks, parse_address
from clinic.problems import RefusedError

SCHEME = "bearer"
COMPONENTS = Components(security_schemes={SCHEME: SecurityScheme(type="http", scheme="bearer")})


def make_guard(token: str | None, open_networks: Networks) -> Guard:
    """Make the guard of every resource.

    Guards are coroutines: Litestar runs sync ones in a thread pool, which costs about a third of
    the request's time.
    """
    return require_token(token) if token else allow_local_networks(open_networks)


def require_token(token: str) -> Guard:
    expected = f"Bearer {token}".encode()

    async def check_token(
        connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        sent = connection.headers.get("authorization", "").encode("latin-1", "replace")
        if not compare_digest(sent, expected):
            raise NotAuthorizedException(
                "Expected the header `Authorization: Bearer TOKEN` with the API's token",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check_token


def allow_local_networks(open_networks: Networks) -> Guard:
    """Admit callers on this machine and on the open networks."""

    async def check_address(
        connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        host = connection.client.host if connection.client else ""
        if not is_loopback(host) and host not in open_networks:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "Without a token, the API accepts requests only from its own machine or an open "
                f"network; this request came from {host or 'an unknown address'}. Set "
                "CLINIC_API_TOKEN to admit others.",
            )

    return check_address


def is_loopback(host: str) -> bool:
    address = parse_address(host)
    return address is not None and address.is_loopback
