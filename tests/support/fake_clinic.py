"""An HTTP server that answers like the clinic and records what it was sent."""

import itertools
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

Response = tuple[int, Any]


@dataclass(frozen=True)
class Request:
    """A received request, its body decoded if it is JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.path.partition("?")[2]))

    @property
    def operation(self) -> str:
        """The operation's name, such as `POST /owners/{owner_id}/pets`."""
        path = self.path.partition("?")[0]
        for record in ("owner", "pet", "appointment"):
            path = re.sub(rf"^/{record}s/\d+", f"/{record}s/{{{record}_id}}", path)
        return f"{self.method} {path}"


@dataclass
class FakeClinic(AbstractContextManager["FakeClinic"]):
    """Answers like the clinic, unless `override` returns a response of its own."""

    ready: int = 200
    override: Callable[[Request], Response | None] = lambda _: None
    server_timing: str | None = None
    clock_offset: float = 0.0
    """Seconds by which its clock is ahead."""
    tls: ssl.SSLContext | None = None
    location: str = ""
    """Where its responses redirect to."""
    requests: list[Request] = field(default_factory=list)
    owners: dict[int, dict[str, Any]] = field(default_factory=dict)
    cancelled: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = itertools.count(1)
        clinic = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string((timestamp or time.time()) + clinic.clock_offset)

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = decode(self.rfile.read(size)) if size else None
                request = Request(self.command, self.path, headers, body)
                status, answer = clinic.respond(request)
                content = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                if link := clinic.link(request, answer):
                    self.send_header("Link", link)
                if clinic.location:
                    self.send_header("Location", clinic.location)
                if clinic.server_timing:
                    self.send_header("Server-Timing", clinic.server_timing)
                problem = isinstance(answer, dict) and "title" in answer
                kind = "application/problem+json" if problem else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)

    def respond(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/readyz":
            return self.ready, {}
        if (response := self.override(request)) is not None:
            return response
        path = request.path.partition("?")[0]
        if appointment := re.fullmatch(r"/appointments/(\d+)(/cancel)?", path):
            return 200, self._appointment(int(appointment[1]), cancel=bool(appointment[2]))
        if request.method == "DELETE":
            self.owners.pop(int(path.rsplit("/", 1)[1]))
            return 204, None
        if request.method == "POST":
            created = {"id": next(self.ids), **request.body}
            if path == "/owners":
                self.owners[created["id"]] = created
            return 201, created
        return 200, self._owners(request) if path == "/owners" else [{"id": 1}]

    def _appointment(self, number: int, *, cancel: bool) -> dict[str, Any]:
        if cancel:
            self.cancelled.setdefault(number, "2026-11-23T05:32:49Z")
        status = "cancelled" if number in self.cancelled else "booked"
        return {"id": number, "status": status, "cancelled_at": self.cancelled.get(number)}

    def _owners(self, request: Request) -> list[dict[str, Any]]:
        cursor = int(request.query.get("cursor", 10**9))
        newest = [owner for key, owner in sorted(self.owners.items(), reverse=True) if key < cursor]
        return newest[: int(request.query.get("limit", "100"))]

    def link(self, request: Request, answer: Any) -> str | None:
        """Name the next page of owners, if there is one."""
        if not request.path.startswith("/owners?") or not isinstance(answer, list) or not answer:
            return None
        if answer[-1]["id"] <= min(self.owners):
            return None
        limit = request.query.get("limit", "100")
        return f'</owners?limit={limit}&cursor={answer[-1]["id"]}>; rel="next"'

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def load(self) -> list[Request]:
        """The requests of the load itself, which carry baggage; those before and after do not."""
        return [request for request in self.requests if "baggage" in request.headers]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
