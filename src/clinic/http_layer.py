"""What HTTP asks of every route: HEAD, `Allow`, one spelling of a path, and common headers."""

import asyncio
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from clinic.admission import Admission
from clinic.problems import HEADERS, RefusedError, problem_response, unavailable
from clinic.routes import Match, Routes

STOPPING = unavailable("The API is stopping.")


class HTTPLayer:
    """ASGI app round Litestar's own; refuses callers, unknown paths and methods before routing."""

    def __init__(self, app: Litestar, admission: Admission) -> None:
        self.admission = admission
        self.app: ASGIApp = app.asgi_handler
        self.routes = Routes(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        match = self.routes.match(scope)
        method = scope["method"]
        if method == "HEAD":
            # A copy: the server reads the method of its own scope when it sends the response.
            scope, send = {**scope, "method": "GET"}, without_body(send)
        elif method == "OPTIONS" and match:
            send = with_allow(send, match.route.allow)
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        error = self.admission.examine(scope).refusal or path_refusal(match, method)
        if error is None:
            try:
                await self.app(scope, receive, send_with_headers)
            except asyncio.CancelledError:
                # uvicorn stops, and has waited long enough for this request.
                if has_begun:
                    raise
                error = STOPPING
        if error is not None:
            await refuse(error, scope, receive, send_with_headers)


def path_refusal(match: Match | None, method: str) -> RefusedError | None:
    """Return why there is nothing at a path, or nothing for a method."""
    if match is None:
        return RefusedError(HTTPStatus.NOT_FOUND, "There is nothing at this path.")
    if method in match.route.methods:
        return None
    allow = match.route.allow
    return RefusedError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"This path allows {allow} only.",
        headers={"Allow": allow},
    )


async def refuse(error: RefusedError, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Send the problem of a request that does not reach Litestar."""
    request: Request[Any, Any, Any] = Request(scope, receive, send)
    response = problem_response(request, error).to_asgi_response(app=None, request=request)
    await response(scope, receive, send)


def without_body(send: Send) -> Send:
    """Leave the body out, as in a response to HEAD."""

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_headers


def with_allow(send: Send, allow: str) -> Send:
    """Replace Litestar's `Allow`, which names the methods of one handler only."""

    async def send_allow(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [header for header in message["headers"] if header[0].lower() != b"allow"]
            message["headers"] = [*headers, (b"allow", allow.encode())]
        await send(message)

    return send_allow
