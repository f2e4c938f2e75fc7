"""Authentication: a bearer token or, if none is set, the caller's address."""

from http import HTTPStatus
from typing import Any, NoReturn

from litestar import Request
from litestar.exceptions import NotAuthorizedException
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import BeforeRequestHookHandler

from clinic.admission import SAFE, Admission
from clinic.health import Readiness
from clinic.parameters import check_request
from clinic.problems import RefusedError

SCHEME = "bearer"
COMPONENTS = Components(security_schemes={SCHEME: SecurityScheme(type="http", scheme="bearer")})


def make_check(admission: Admission, readiness: Readiness) -> BeforeRequestHookHandler:
    """Make the check of every request for a resource: its caller, the schema, its query and body.

    Not a guard, for whose every call Litestar copies the handler.
    """

    async def check(request: Request[Any, Any, Any]) -> None:
        if not admission.examine(request.scope).is_trusted:
            refuse(request)
        if readiness.write_refusal and request.method not in SAFE:
            refusal = readiness.write_refusal
            raise RefusedError(refusal.status, refusal.detail, down=refusal.down)
        await check_request(request)

    def refuse(request: Request[Any, Any, Any]) -> NoReturn:
        if admission.token:
            raise NotAuthorizedException(
                "Expected the header `Authorization: Bearer TOKEN` with the API's token",
                headers={"WWW-Authenticate": 'Bearer realm="clinic"'},
            )
        host = request.client.host if request.client else ""
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            "Without a token, the API accepts requests only from its own machine or an open "
            f"network; this request came from {host or 'an unknown address'}. Set "
            "CLINIC_API_TOKEN to admit others.",
        )

    return check
