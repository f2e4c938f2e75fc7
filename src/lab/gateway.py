"""The gateway: forwards requests to Prometheus, Alertmanager and the trace store.

A page of any site can make a browser on this machine send requests. The gateway refuses these. To
all others it adds the credentials of the services behind it, so that people and programs need none.

While Prometheus does not answer, the gateway keeps what k6 pushes. k6 sends each push once, and
what changed once, such as a single error or the end of the run, is in no later push.

A container runs this file alone, with the packages of the API's image.
"""

import asyncio
import json
import os
import re
import socket
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import anyio
import httpcore
import uvicorn

HOST = os.environ.get("GATEWAY_HOST", "127.0.0.1")
SECRETS = Path(os.environ.get("GATEWAY_SECRETS", "/run/web"))
ADDED_NAMES = os.environ.get("GATEWAY_ALLOWED_HOSTS", "").lower().replace(",", " ").split()
NAMES = {"localhost", "127.0.0.1", "[::1]", "gateway", "host.docker.internal", *ADDED_NAMES}
PROMETHEUS = "Prometheus"
# The service of each variable, and whether links on other sites may open its pages.
SERVICES = {
    "GATEWAY_PROMETHEUS": (PROMETHEUS, True),
    "GATEWAY_ALERTMANAGER": ("Alertmanager", True),
    "GATEWAY_TRACES": ("The trace store", os.environ.get("GATEWAY_TRACES_UI") == "1"),
    "GATEWAY_OTLP": ("The OTLP receiver", False),
}
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
HEALTH = b"/gateway/healthz"
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
KEEP_ALIVE = 120  # longer than the interval of any client
TIMEOUTS = {"connect": 5, "pool": 5, "read": 60, "write": 60}
MAX_IDLE = 8  # connections; the pool iterates over them at every request
MAX_FORWARDED = 64  # requests at a time to each service; others wait
STOP_SECONDS = 1
MAX_HEAD = 64 * 2**10
MAX_BODY = 64 * 2**20
PUSH = b"/api/v1/write"
MAX_PUSH = 2**20  # larger ones are not kept
MAX_KEPT = 8 * 2**20  # bytes of pushes: those of about 20 minutes
KEEP_SECONDS = 600.0  # Prometheus accepts no samples that are older
RETRY_SECONDS = 1.0
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te"}
HOP_BY_HOP |= {b"proxy-connection", b"trailer", b"transfer-encoding", b"upgrade"}
REPLACED = {b"authorization", b"expect", b"host"}
PROTECTION = {
    b"cross-origin-resource-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
Headers = list[tuple[bytes, bytes]]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RefusedError(Exception):
    """A request that gets a problem (RFC 9457) as its response."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class ClientLeftError(Exception):
    """The client closed its connection before the request was complete."""


@dataclass(frozen=True)
class Service:
    """A service behind the gateway."""

    name: str
    port: int
    """The port of the gateway that forwards to the service."""
    address: str
    prefix: str
    """The secret path; empty if the service has none."""
    has_pages: bool

    def url(self, target: bytes) -> httpcore.URL:
        host, _, port = self.address.partition(":")
        return httpcore.URL(
            scheme=b"http",
            host=host.encode(),
            port=int(port or "80"),
            target=self.prefix.encode() + target,
        )

    def hide(self, value: bytes) -> bytes:
        """Remove the service's own address and the secret path from a header."""
        text = value.replace(f"http://{self.address}".encode(), b"")
        return text.replace(self.prefix.encode(), b"") or (b"/" if value else b"")


@dataclass(frozen=True)
class Push:
    """Samples of k6 on their way to Prometheus."""

    target: bytes
    headers: Headers
    body: bytes
    until: float
    """Time until which it is kept."""


class Gateway:
    """The ASGI application; the port of a connection determines the service."""

    def __init__(self, services: list[Service], password: str) -> None:
        self.services = {service.port: service for service in services}
        credentials = b64encode(f"vet-clinic:{password}".encode())
        self.authorization = (b"authorization", b"Basic " + credentials)
        self.pool = httpcore.AsyncConnectionPool(
            max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=5
        )
        # The pool's own limit is not used: the cost of a request grows with its queue.
        self.turns = {port: anyio.CapacityLimiter(MAX_FORWARDED) for port in self.services}
        self.problems: dict[str, str] = {}
        self.kept: deque[Push] = deque()
        self.sender: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        service = self.services[scope["server"][1]]
        try:
            check_request(service, scope)
            if scope["raw_path"] == HEALTH:
                await respond(send, HTTPStatus.OK, b"text/plain", b"OK\n")
            elif is_push(service, scope):
                await self.forward_push(service, scope, receive, send)
            else:
                await self.forward(service, scope, receive, send)
        except RefusedError as refused:
            problem = {
                "status": refused.status,
                "title": refused.status.phrase,
                "detail": refused.detail,
            }
            body = json.dumps(problem).encode()
            await respond(send, refused.status, b"application/problem+json", body)
        except ClientLeftError:
            return

    async def forward_push(
        self, service: Service, scope: Message, receive: Receive, send: Send
    ) -> None:
        """Forward a push, or keep it and send it after those that were kept before."""
        headers = [it for it in end_to_end(scope["headers"]) if it[0] not in REPLACED]
        headers = [it for it in headers if it[0] != b"content-length"]
        headers += [(b"host", service.address.encode()), self.authorization]
        body = b"".join([block async for block in read_body(receive)])
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        push = Push(scope["raw_path"] + query, headers, body, time.monotonic() + KEEP_SECONDS)
        response = None if self.kept else await self.try_push(service, push)
        if response and response.status == HTTPStatus.UNAUTHORIZED:
            raise self.problem(service, "refuses the gateway's password")
        if response:
            await respond(send, response.status, b"text/plain", response.content)
            return
        if sum(len(one.body) for one in self.kept) + len(body) > MAX_KEPT:
            raise self.problem(service, "does not answer, and no more pushes can be kept")
        self.kept.append(push)
        if not self.sender or self.sender.done():
            self.sender = asyncio.create_task(self.send_kept(service))
        await respond(send, HTTPStatus.NO_CONTENT, b"text/plain", b"")

    async def try_push(self, service: Service, push: Push) -> httpcore.Response | None:
        """Send a push; return None if the service does not answer, or cannot take it now."""
        try:
            async with self.turns[service.port]:
                response = await self.pool.request(
                    "POST",
                    service.url(push.target),
                    headers=push.headers,
                    content=push.body,
                    extensions={"timeout": TIMEOUTS},
                )
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            self.problem(service, "does not answer")
            return None
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.problem(service, f"refuses pushes with status {response.status}")
            return None
        return response

    async def send_kept(self, service: Service) -> None:
        """Send the pushes that were kept, in their order, until none is left."""
        sent = 0
        while self.kept:
            push = self.kept[0]
            response = await self.try_push(service, push)
            if response is None and time.monotonic() < push.until:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.kept.popleft()
            if response is None or response.status >= HTTPStatus.BAD_REQUEST:
                log(f"{service.name} did not take a push that was kept.")
            else:
                sent += 1
        if sent:
            self.problems.pop(service.name, None)
            log(f"{service.name} answers again: it got {sent} pushes that were kept.")

    async def forward(self, service: Service, scope: Message, receive: Receive, send: Send) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        names = {name for name, _ in scope["headers"]}
        headers = [it for it in end_to_end(scope["headers"]) if it[0] not in REPLACED]
        headers += [(b"host", service.address.encode()), self.authorization]
        if b"transfer-encoding" in names:
            headers.append((b"transfer-encoding", b"chunked"))
        has_body = names & {b"content-length", b"transfer-encoding"}
        try:
            async with (
                self.turns[service.port],
                self.pool.stream(
                    scope["method"],
                    service.url(scope["raw_path"] + query),
                    headers=headers,
                    content=read_body(receive) if has_body else None,
                    extensions={"timeout": TIMEOUTS},
                ) as response,
            ):
                if response.status == HTTPStatus.UNAUTHORIZED:  # browsers would ask for it
                    raise self.problem(service, "refuses the gateway's password")
                if self.problems.pop(service.name, None):
                    log(f"{service.name} answers again.")
                await send_on(service, response, receive, send)
        except httpcore.TimeoutException as error:
            raise self.problem(service, "does not answer in time", gateway_timeout=True) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise self.problem(service, "does not answer") from error

    def problem(
        self, service: Service, what: str, *, gateway_timeout: bool = False
    ) -> RefusedError:
        """Log a problem of a service, once until it changes or the service answers again."""
        text = f"{service.name} {what}."
        if self.problems.get(service.name) != text:
            self.problems[service.name] = text
            log(text)
        status = HTTPStatus.GATEWAY_TIMEOUT if gateway_timeout else HTTPStatus.BAD_GATEWAY
        return RefusedError(status, f"{text} See `just status` and `just logs`.")


def check_request(service: Service, scope: Message) -> None:
    """Refuse requests that pages of other sites make a browser send, and ambiguous requests."""
    hosts = values(scope, b"host")
    if len(hosts) != 1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Send one Host header.")
    authority = AUTHORITY.fullmatch(hosts[0].lower())
    if not authority or authority[1] not in NAMES:
        raise RefusedError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This host name is not known here. Use localhost or 127.0.0.1, or add the name to "
            "CLINIC_ALLOWED_HOSTS.",
        )
    is_own = {"same-origin", "none"}.issuperset(values(scope, b"sec-fetch-site"))
    is_link = (
        service.has_pages
        and scope["method"] in ("GET", "HEAD")
        and values(scope, b"sec-fetch-mode") == ["navigate"]
        and values(scope, b"sec-fetch-dest") == ["document"]
    )
    origins = {origin.lower() for origin in values(scope, b"origin")}
    if not origins <= {f"http://{hosts[0].lower()}"} or not (is_own or is_link):
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            f"{service.name} does not accept requests from pages of other sites. Send the request "
            f"from a program, or open http://{hosts[0]}/ in the browser.",
        )
    path = scope["raw_path"]
    if scope["method"] not in METHODS or not path.startswith(b"/"):
        methods = ", ".join(sorted(METHODS))
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"Send a path, and one of {methods}.")
    if len(values(scope, b"content-length") + values(scope, b"transfer-encoding")) > 1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Send one Content-Length or Transfer-Encoding.")
    if b"//" in path or {b".", b".."} & set(re.split(rb"[/\\]", unquote_to_bytes(path))):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Send the path without //, /./ and /../.")
    if any(int(length) > MAX_BODY for length in values(scope, b"content-length")):
        raise too_large()


def is_push(service: Service, scope: Message) -> bool:
    """Say whether a request is a push of k6 that may be kept."""
    lengths = values(scope, b"content-length")
    return (
        service.name == PROMETHEUS
        and (scope["method"], scope["raw_path"]) == ("POST", PUSH)
        and all(int(length) <= MAX_PUSH for length in lengths)
        and len(lengths) == 1
    )


def too_large() -> RefusedError:
    size = f"{MAX_BODY >> 20} MiB"
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send at most {size} at a time.")


def values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for header, value in scope["headers"] if header == name]


def end_to_end(headers: Headers) -> Headers:
    """Remove the hop-by-hop headers."""
    options = b",".join(value for name, value in headers if name == b"connection").lower()
    named = {option.strip() for option in options.split(b",")} - {b"content-length"}
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP | named]


async def read_body(receive: Receive) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        size, more = size + len(message["body"]), message.get("more_body", False)
        if size > MAX_BODY:
            raise too_large()
        yield message["body"]


async def send_on(
    service: Service, response: httpcore.Response, receive: Receive, send: Send
) -> None:
    """Send a response as it arrives, until it ends or the client leaves."""
    own = [(name.lower(), value) for name, value in response.headers]
    headers = [
        (name, service.hide(value))
        for name, value in end_to_end(own)
        if not name.startswith(b"access-control-")
    ]
    if any(name == b"location" for name, _ in headers):
        # The body of a redirect contains the address, too.
        await respond(send, response.status, b"text/plain", b"", headers)
        return
    await start(send, response.status, headers)

    async def cancel_when_client_leaves() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_client_leaves)
        async for block in response.aiter_stream():
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})
        tasks.cancel_scope.cancel()


async def respond(
    send: Send, status: int, media_type: bytes, body: bytes, headers: Headers | None = None
) -> None:
    replaced = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    names = {name for name, _ in replaced}
    kept = [header for header in headers or [] if header[0] not in names]
    await start(send, status, [*kept, *replaced])
    await send({"type": "http.response.body", "body": body})


async def start(send: Send, status: int, headers: Headers) -> None:
    missing = PROTECTION.keys() - {name for name, _ in headers}
    added = [(name, PROTECTION[name]) for name in sorted(missing)]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *added]})


def read_secret(name: str) -> str:
    file = SECRETS / name
    try:
        secret = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} cannot be read ({error}).") from error
    if not re.fullmatch(r"[0-9A-Za-z_-]+", secret):
        raise SystemExit(f"{file} does not hold a secret of letters, digits, - and _.")
    return secret


def read_services() -> Iterator[Service]:
    """Read the services from the environment."""
    path = read_secret("traces-path")
    for variable, (name, has_pages) in SERVICES.items():
        value = os.environ.get(variable)
        if not value:
            continue
        match = re.fullmatch(r"([1-9][0-9]{0,4})=(http://[^/]+.*)", value)
        if not match:
            raise SystemExit(f"{variable} is {value!r}; expected PORT=URL: 9090=http://host:9090.")
        url = urlsplit(match[2].replace("{traces-path}", path))
        yield Service(name, int(match[1]), url.netloc, url.path.rstrip("/"), has_pages)


def log(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its log is its output


def main() -> None:
    """Serve until SIGTERM."""
    services = list(read_services())
    if not services:
        raise SystemExit(f"Set at least one of {', '.join(SERVICES)}.")
    sockets = []
    for service in services:
        try:
            sockets.append(socket.create_server((HOST, service.port)))
        except (OSError, OverflowError) as error:
            raise SystemExit(f"{HOST}:{service.port} cannot be used: {error}.") from error
        log(f"{service.name} is at http://{HOST}:{service.port}.")
    config = uvicorn.Config(
        Gateway(services, read_secret("password")),
        access_log=False,
        date_header=False,
        h11_max_incomplete_event_size=MAX_HEAD,
        http="h11",  # stricter than httptools, and limits headers
        lifespan="off",
        log_level="critical",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=KEEP_ALIVE,
        ws="none",
    )
    uvicorn.Server(config).run(sockets)


if __name__ == "__main__":
    main()
