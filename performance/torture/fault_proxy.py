"""A TCP proxy whose target can be made to seem away, slow, refusing, full or broken."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from threading import Thread
from types import TracebackType
from typing import Any, Self

from lab.stack.config import HOST
from lab.stack.ports import free as free_port

CHUNK = 65536
SLOW_SECONDS = 5.0
POLL_SECONDS = 0.05


class Fault(StrEnum):
    """What clients of the proxy see."""

    NONE = "none"
    AWAY = "away"
    """Connections are refused."""
    SILENT = "silent"
    """Connections are accepted, and nothing is forwarded or answered."""
    SLOW = "slow"
    """Requests arrive at once, and each response is 5 s late."""
    UNAVAILABLE = "unavailable"
    """Each request gets 503."""
    TOO_MANY = "too many"
    """Each request gets 429."""
    FULL = "full"
    """Each request gets 500, as from a program that cannot write to its disk."""
    GARBAGE = "garbage"
    """Each request gets 200 with a body that is not what its headers say."""
    BROKEN = "broken"
    """Each request gets bytes that are not HTTP."""


RESPONSES = {
    Fault.UNAVAILABLE: (b"503 Service Unavailable", b"try later"),
    Fault.TOO_MANY: (b"429 Too Many Requests", b"slow down"),
    Fault.FULL: (b"500 Internal Server Error", b"write: no space left on device"),
    Fault.GARBAGE: (b"200 OK", bytes(range(256)) * 4),
}


class FaultProxy:
    """Forwards a port of this machine to another one, from a thread of its own."""

    def __init__(self, target: int) -> None:
        """Choose a port to listen on."""
        self.target = target
        self.port = free_port()
        self.fault = Fault.NONE
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.set(Fault.NONE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._end_connections())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault) -> None:
        """End all connections; new ones see the fault."""
        self._call(self._set(fault))

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _set(self, fault: Fault) -> None:
        await self._end_connections()
        self.fault = fault
        if fault is not Fault.AWAY:
            self._listener = await asyncio.start_server(self._serve, HOST, self.port)

    async def _end_connections(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None
        # A connection may just have been accepted: its task follows, and then its writer.
        while connections := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.wait(connections, timeout=POLL_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if self.fault in {Fault.NONE, Fault.SLOW}:
                    await self._forward(reader, writer)
                elif self.fault is Fault.SILENT:
                    while await reader.read(CHUNK):
                        pass
                else:
                    await self._answer(reader, writer)
        finally:
            await self._close(writer)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Close a connection once what was written is sent, or it is aborted."""
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._writers.discard(writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seconds = SLOW_SECONDS if self.fault is Fault.SLOW else 0
        target_reader, target_writer = await asyncio.open_connection(HOST, self.target)
        self._writers.add(target_writer)
        try:
            await asyncio.gather(
                pipe(reader, target_writer, 0), pipe(target_reader, writer, seconds)
            )
        finally:
            await self._close(target_writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"transfer-encoding: chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            _, _, length = head.partition(b"content-length: ")
            await reader.readexactly(int(length.partition(b"\r\n")[0] or 0))
        if self.fault is Fault.BROKEN:
            writer.write(bytes(range(256)))
        else:
            status, body = RESPONSES[self.fault]
            kind = b"application/x-protobuf" if self.fault is Fault.GARBAGE else b"text/plain"
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (status, kind, len(body), body)
            )
        await writer.drain()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Write what is read, later by a number of seconds, in its order."""
    loop = asyncio.get_running_loop()
    while chunk := await reader.read(CHUNK):
        if seconds:
            loop.call_later(seconds, writer.write, chunk)
        else:
            writer.write(chunk)
            await writer.drain()
    loop.call_later(seconds, writer.close)
