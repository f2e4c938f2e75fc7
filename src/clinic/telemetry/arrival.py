"""How long requests wait between their arrival in the kernel and their start."""

import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, ClassVar

from opentelemetry.metrics import Meter

from clinic.connection import BoundedProtocol
from clinic.telemetry.requests import UNTRACED
from clinic.telemetry.series import NO_EXEMPLAR, Series

TCP_INFO = 11
"""`socket.TCP_INFO`, which exists on Linux only."""

LAST_DATA_RECEIVED = struct.Struct("=52xI")
"""`tcpi_last_data_recv` in `struct tcp_info` of linux/tcp.h, in ms.

Linux counts it in its own ticks, of 1 to 10 ms, so that a single wait may be a tick too long or too
short, and one of less than a tick is mostly 0. Arrivals do not depend on the ticks, hence the
errors cancel out: sum and mean of many waits are right, percentiles are not.
"""


class HTTPProtocol(BoundedProtocol):
    """The protocol of a connection, which also measures the requests."""

    wait: ClassVar[Series | None] = None
    """Set while telemetry runs; else nothing is measured."""

    borrowed: "BorrowedSocket | None" = None

    def on_headers_complete(self) -> None:
        """Start the request, and measure when the event loop gets round to it.

        That is one turn of the loop later: the callback below runs just before the request's task,
        after all that other connections have asked for in this turn.
        """
        if self.wait is not None and (seconds := self.seconds_since_arrival()) is not None:
            self.loop.call_soon(self.record_wait, self.scope, perf_counter() - seconds)
        super().on_headers_complete()

    def record_wait(self, scope: Mapping[str, Any], arrived: float) -> None:
        path = scope.get("path")  # None for an upgrade, which does not reach the app
        if self.wait is not None and path is not None and path not in UNTRACED:
            self.wait.record(perf_counter() - arrived, NO_EXEMPLAR)

    def seconds_since_arrival(self) -> float | None:
        """Return the time since the connection last received data, None if it is not TCP."""
        try:
            if self.borrowed is None:
                # uvloop's own socket object duplicates the file descriptor for each call.
                number = self.transport.get_extra_info("socket").fileno()
                self.borrowed = BorrowedSocket(socket.AF_INET, socket.SOCK_STREAM, 0, number)
            info = self.borrowed.getsockopt(socket.IPPROTO_TCP, TCP_INFO, LAST_DATA_RECEIVED.size)
            milliseconds: int = LAST_DATA_RECEIVED.unpack(info)[0]
        except (AttributeError, OSError, ValueError, struct.error):
            return None
        return milliseconds / 1000


class BorrowedSocket(socket.SocketType):
    """A socket that belongs to a transport: it is not closed with this object."""

    def __del__(self) -> None:
        self.detach()


@contextmanager
def measure_waits(meter: Meter) -> Iterator[None]:
    """Record how long requests wait; Linux only."""
    if sys.platform == "linux":
        wait = meter.create_histogram(
            "clinic.request.wait",
            "s",
            "Time that a request waits between its arrival and its start in the event loop.",
        )
        HTTPProtocol.wait = Series(wait, {})
    try:
        yield
    finally:
        HTTPProtocol.wait = None
