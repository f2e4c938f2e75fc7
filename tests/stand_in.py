"""A clinic of a few lines that remembers what it was asked, for tests of those who ask."""

import itertools
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = tuple[int, Any]


@dataclass(frozen=True)
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None


@dataclass
class StandIn(AbstractContextManager["StandIn"]):
    """Answers like the clinic, save where `override` says otherwise."""

    ready: int = 200
    override: Callable[[Asked], Answer | None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, said = stand_in.reply(Asked(self.command, self.path, headers, body))
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def reply(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path == "/readyz":
            return self.ready, {}
        if (other := self.override(asked)) is not None:
            return other
        if asked.method == "POST":
            return 201, {"id": next(self._ids), **asked.body}
        return 200, [{"id": 1}]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def load(self) -> list[Asked]:
        """The requests that came after the check of readiness."""
        return [asked for asked in self.asked if asked.path != "/readyz"]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
