"""A clinic of a few lines that remembers what it was asked, for tests of those who ask."""

import itertools
import json
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

Answer = tuple[int, Any]


@dataclass(frozen=True)
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.path.partition("?")[2]))


@dataclass
class StandIn(AbstractContextManager["StandIn"]):
    """Answers like the clinic, save where `override` says otherwise."""

    ready: int = 200
    override: Callable[[Asked], Answer | None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)
    owners: dict[int, dict[str, Any]] = field(default_factory=dict)
    cancelled: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = itertools.count(1)
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

            def do_DELETE(self) -> None:
                self.answer()

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = decoded(self.rfile.read(size)) if size else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                status, said = stand_in.reply(asked)
                content = b"" if said is None else json.dumps(said).encode()
                self.send_response(status)
                if link := stand_in.link(asked, said):
                    self.send_header("Link", link)
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
        path = asked.path.partition("?")[0]
        if appointment := re.fullmatch(r"/appointments/(\d+)(/cancel)?", path):
            return 200, self._appointment(int(appointment[1]), cancelled=bool(appointment[2]))
        if asked.method == "DELETE":
            self.owners.pop(int(path.rsplit("/", 1)[1]))
            return 204, None
        if asked.method == "POST":
            made = {"id": next(self.ids), **asked.body}
            if path == "/owners":
                self.owners[made["id"]] = made
            return 201, made
        return 200, self._page(asked) if path == "/owners" else [{"id": 1}]

    def _appointment(self, number: int, *, cancelled: bool) -> dict[str, Any]:
        if cancelled:
            self.cancelled.setdefault(number, "2026-11-23T05:32:49Z")
        status = "cancelled" if number in self.cancelled else "booked"
        return {"id": number, "status": status, "cancelled_at": self.cancelled.get(number)}

    def _page(self, asked: Asked) -> list[dict[str, Any]]:
        query = asked.query
        newest = (owner for key, owner in sorted(self.owners.items(), reverse=True))
        before = int(query.get("cursor", 10**9))
        page = (owner for owner in newest if owner["id"] < before)
        return list(itertools.islice(page, int(query.get("limit", "100"))))

    def link(self, asked: Asked, said: Any) -> str | None:
        """Lead to the next page of owners while there is one, as the clinic does."""
        if not asked.path.startswith("/owners?") or not isinstance(said, list) or not said:
            return None
        if said[-1]["id"] <= min(self.owners):
            return None
        limit = asked.query.get("limit", "100")
        return f'</owners?limit={limit}&cursor={said[-1]["id"]}>; rel="next"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def load(self) -> list[Asked]:
        """The requests of the load, which alone say whose they are."""
        return [asked for asked in self.asked if "baggage" in asked.headers]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def decoded(body: bytes) -> Any:
    """Read JSON; what is something else stays as it is."""
    try:
        return json.loads(body)
    except ValueError:
        return body
