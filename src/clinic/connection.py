"""Connections: how large a request may be, how long it may take, and how many there may be.

uvicorn bounds neither headers nor the time that a request takes to arrive.
"""

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import ClassVar, NamedTuple

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from clinic.problems import HEADERS, MEDIA_TYPE, RETRY_AFTER, Problem

MAX_HEADERS = 32 * 1024
"""Bytes of a request's line and headers; beyond it the response is 431."""

CHUNK_OVERHEAD = 8
"""A body in chunks of one byte takes at most this many bytes for each of its own."""

VERSIONS = frozenset({"1.0", "1.1"})
"""Versions of HTTP that are served; the parser also takes 0.9 and 2.0 in a request line."""

LAST_REQUEST_SECONDS = 2.0
"""How long an idle connection stays open at a stop.

Most clients send their next request before, and learn from its response that the connection ends; a
request that crosses the end of its connection is lost.
"""

LINGER_SECONDS = 2.0
"""How long what a refused client still sends is read: a reset would discard the response."""


class Limits(NamedTuple):
    seconds: float = 30.0
    """Time in which a request must arrive, and a client must read what it is sent."""
    connections: int = 1000
    body: int = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol of a connection, with limits on size, time and number.

    A request that arrives in one piece, as nearly all do, needs no timer.
    """

    limits: ClassVar[Limits] = Limits()

    received = 0
    """Bytes of the current request, and of those that arrived with its first piece."""
    is_idle = True
    """Whether no request is arriving."""
    in_headers = False
    is_refused = False
    is_stopping = False
    deadline: TimerHandle | None = None
    """Until the current request, or the first one, has arrived."""
    stalled: TimerHandle | None = None
    """Until the client has read what it was sent."""
    postponed: tuple[HTTPStatus, str] | None = None
    """The refusal of a request after earlier ones whose responses come first."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self.refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The API has no free connection. Try again in {RETRY_AFTER} s.",
                (b"retry-after", str(RETRY_AFTER).encode()),
            )
        else:
            self.deadline = self.loop.call_later(self.limits.seconds, self.expire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.unset_timers()

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        if self.is_idle:
            self.received = 0
        self.received += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # The request is answered as if it had not asked for another protocol.
        except httptools.HttpParserError:
            if not self.is_refused:
                self.refuse(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP.")
            return
        if self.is_idle:
            return
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.limits.seconds, self.expire)
        self.check_size()

    def check_size(self) -> None:
        """Refuse a request that has not arrived completely and is already too large."""
        if self.in_headers:
            if self.received > MAX_HEADERS:
                self.refuse_headers()
        elif self.received > MAX_HEADERS + CHUNK_OVERHEAD * self.limits.body:
            self.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than the API accepts."
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.is_idle = False
        self.in_headers = True

    def on_headers_complete(self) -> None:
        if self.received > MAX_HEADERS and self.header_size() > MAX_HEADERS:
            self.refuse_headers()
            raise httptools.HttpParserError
        if self.parser.get_http_version() not in VERSIONS or b"#" in self.url:
            raise httptools.HttpParserError
        self.in_headers = False
        if not self.url.startswith(b"/"):
            self.use_authority()
        super().on_headers_complete()
        # Trailers of a chunked body are not headers: they arrive after the request was admitted.
        self.headers = []
        if self.is_stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.is_idle = True
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
            if self.cycle.response_complete and self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    def header_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def use_authority(self) -> None:
        """Replace `Host` by the authority of a request line such as `GET http://api/owners`."""
        host = httptools.parse_url(self.url).host
        if host:
            authority = self.url.partition(b"://")[2].partition(b"/")[0]
            self.headers[:] = [
                (name, authority if name == b"host" else value) for name, value in self.headers
            ]

    def expire(self) -> None:
        """End a connection on which no request has arrived in time."""
        self.deadline = None
        if self.is_refused:
            return
        if self.is_idle:
            self.close()
        else:
            self.refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The request did not arrive within {self.limits.seconds:g} s.",
            )

    def refuse_headers(self) -> None:
        self.refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The headers are larger than {MAX_HEADERS // 1024} KiB.",
        )

    def refuse(self, status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> None:
        """Send a problem unless a response has begun, and end the connection.

        Earlier requests get their responses first: they arrived completely, and may be served.
        """
        self.is_refused = True
        if self.is_owing():
            self.postponed = status, detail
            return
        self._unset_keepalive_if_required()
        self.unset_timers()
        if not self.has_begun_response():
            self.transport.write(response(status, detail, *headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.stalled = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def is_owing(self) -> bool:
        """Say whether a request before the one that is arriving has no complete response yet."""
        if self.pipeline:
            return True
        cycle: RequestResponseCycle | None = self.cycle
        is_before = self.is_idle or self.in_headers
        return is_before and cycle is not None and not cycle.response_complete

    def has_begun_response(self) -> bool:
        """Say whether the current request has a response, and stop one that has not begun."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            return False
        if cycle.response_complete:  # perhaps before the request
            return not (self.is_idle or self.in_headers)
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def shutdown(self) -> None:
        """Close the connection after the request in progress, or one that arrives in time."""
        self.is_stopping = True
        cycle: RequestResponseCycle | None = self.cycle
        if self.is_refused or (cycle is not None and not cycle.response_complete):
            super().shutdown()
        else:
            self.loop.call_later(LAST_REQUEST_SECONDS, super().shutdown)

    def close(self) -> None:
        """Close the connection, at the latest when the time to read the response is over."""
        self.transport.close()
        self.limit_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.limit_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.limit_writing()
        elif self.postponed is not None and not self.is_owing():
            self.refuse(*self.postponed)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.limit_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stalled is not None and not self.transport.is_closing():
            self.stalled.cancel()
            self.stalled = None

    def limit_writing(self) -> None:
        if self.stalled is None:
            self.stalled = self.loop.call_later(self.limits.seconds, self.transport.abort)

    def unset_timers(self) -> None:
        for timer in (self.deadline, self.stalled):
            if timer is not None:
                timer.cancel()
        self.deadline = self.stalled = None


def response(status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> bytes:
    """Return a problem as the last response of a connection."""
    problem = Problem(status=status, title=status.phrase, detail=detail)
    body = msgspec.json.encode(problem)
    lines = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *HEADERS,
        (b"connection", b"close"),
        *headers,
    ]
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    return b"%b%b\r\n%b" % (STATUS_LINE[status], head, body)
