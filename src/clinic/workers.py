"""Several processes that serve the API on one address, and the parent that supervises them.

Workers are the processes of one service, and share their parent's memory. Replicas are services of
their own, each with or without workers, that share a port.

uvicorn's own supervisor is not used: its workers share one socket, so that one worker takes most
connections; each of them reports a failed start; and they outlive a parent that is killed.

The parent loads the app and forks, so that the workers share memory, and a fault in the app or the
address is reported once.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE

from clinic.telemetry import runtime

BEAT_SECONDS = 1
"""Interval at which a worker reports that its event loop runs; shortest time between its starts."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FORK = get_context("fork")

log = logging.getLogger(__name__)


class DrainingServer(Server):
    """A server that, when it stops, first accepts the connections that wait at its sockets.

    The kernel resets those that wait at a socket when it is closed, although other processes
    accept connections of the same port.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        waiting = []
        for listener, server in zip(sockets or [], self.servers, strict=False):
            waiting += accept_all(listener)
            server.close()  # at once: a connection that arrives in between is reset
        for connection in waiting:
            await loop.connect_accepted_socket(self.make_protocol, connection)
        await super().shutdown(sockets)

    def make_protocol(self) -> asyncio.Protocol:
        config, state = self.config, self.server_state
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn
            config=config, server_state=state, app_state=self.lifespan.state
        )
        return protocol


def accept_all(listener: socket.socket) -> list[socket.socket]:
    accepted = []
    with suppress(OSError):  # none waits any more
        while True:
            accepted.append(listener.accept()[0])
    return accepted


def serve(config: Config, sockets: list[socket.socket] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, in this process; return its exit status."""
    server = DrainingServer(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


def serve_with_workers(
    config: Config, sockets: list[list[socket.socket]], stop_seconds: float
) -> int:
    """Serve until SIGTERM or SIGINT, a process for each list of sockets; return the exit status.

    A worker whose event loop does not run for `stop_seconds`, or that takes longer than that to
    stop, is killed.
    """
    runtime.workers = len(sockets)
    config.load()
    # A garbage collection in a worker would write to every object, which would then not be shared.
    gc.collect()
    gc.freeze()
    return Supervisor(config, sockets, stop_seconds).run()


def bind(
    host: str, port: int, count: int, shared_port: int | None = None
) -> list[list[socket.socket]]:
    """Bind the sockets of each worker, one for each address of the host and each port.

    Linux distributes connections over the sockets of one address. Elsewhere the workers share one.
    Other programs of this user may listen at the shared port, too, if all of them share it. Raises
    OSError with the address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    own: list[socket.socket] = []
    shared: list[tuple[int, tuple[Any, ...]]] = []
    for family, (address, _, *scope) in dict.fromkeys((it[0], it[4]) for it in found):
        # Without SO_REUSEPORT this fails if another program listens there, even with SO_REUSEPORT.
        own.append(bind_socket(family, (address, port, *scope)))
        port = own[-1].getsockname()[1]
        if shared_port:
            shared.append((family, (address, shared_port, *scope)))
    ports = str(port) if shared_port is None else f"{port} and {shared_port}"
    processes = f"{count} workers listen" if count > 1 else "Listening"
    log.info("%s on %s port %s", processes, own[0].getsockname()[0], ports)
    addresses = [(one.family, one.getsockname()) for one in own]
    if sys.platform == "linux":
        for one in own:
            one.close()
        own = []
        shared += addresses
    return [
        own + [bind_socket(*address, socket.SO_REUSEPORT) for address in shared]
        for _ in range(count)
    ]


def bind_socket(family: int, address: tuple[Any, ...], *options: int) -> socket.socket:
    bound = socket.socket(family)
    for option in (socket.SO_REUSEADDR, *options):
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind(address)
    except OSError as error:
        message = f"Cannot listen on {address[0]} port {address[1]}: {error.strerror}"
        raise OSError(message) from error
    bound.settimeout(0)
    return bound


class Worker:
    """A process that serves on its sockets."""

    serves = False
    has_ended = False
    missed_beats = 0

    def __init__(
        self, config: Config, sockets: list[socket.socket], inherited: Iterable[int]
    ) -> None:
        """Start the process; it closes the descriptors in `inherited`, which it does not need."""
        self.config = config
        self.sockets = sockets
        self.started = time.monotonic()
        self.beats, beat = os.pipe()
        for end in (self.beats, beat):
            os.set_blocking(end, False)
        self.process = FORK.Process(target=self.run, args=(beat, [self.beats, *inherited]))
        # Blocks signals to the process until it has its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(beat)

    def run(self, beat: int, inherited: Iterable[int]) -> None:
        """Serve, in the process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for descriptor in inherited:
            os.close(descriptor)

        async def send_beat() -> None:
            try:
                os.write(beat, b".")
            except BlockingIOError:
                pass  # The parent is suspended.
            except BrokenPipeError:  # The parent has ended.
                os.kill(os.getpid(), signal.SIGTERM)

        self.config.callback_notify = send_beat
        self.config.timeout_notify = 0  # at every check of uvicorn, which is once a second
        sys.exit(serve(self.config, self.sockets))

    def read_beats(self) -> bool:
        """Return whether the event loop has run since the last call."""
        try:
            return bool(os.read(self.beats, 4096))
        except BlockingIOError:
            return False

    def reap(self, seconds: float | None = None) -> str:
        """Wait until the process ends, and kill it after `seconds`; return how it ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            log.error("Worker %d does not stop: killed", self.process.pid)
            self.process.kill()
            self.process.join()
        os.close(self.beats)
        self.has_ended = True
        code = self.process.exitcode or 0
        return f"{signal.strsignal(-code)}" if code < 0 else f"exit status {code}"


class Supervisor:
    """Keeps a worker running for each list of sockets.

    Workers start one after the other, so that a fault that stops all of them is reported once. A
    worker that ends after it has served is started again; if it ends before, the API stops.
    """

    def __init__(
        self, config: Config, sockets: list[list[socket.socket]], stop_seconds: float
    ) -> None:
        self.config = config
        self.sockets = sockets
        self.stop_seconds = stop_seconds
        self.workers: dict[int, Worker] = {}

    @property
    def running(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if not worker.has_ended]

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; return the exit status."""
        status = 0
        with caught_signals() as caught:
            while caught not in (ready := self.wait(caught)):
                if not ready:
                    self.count_missed_beats()
                if not all(self.check(worker) for worker in self.running):
                    status = STARTUP_FAILURE
                    break
                self.start_next()
            self.stop()
        return status

    def wait(self, caught: socket.socket) -> list[Any]:
        """Wait until a signal arrives, a worker ends or begins to serve, or a beat is due."""
        if not self.workers:
            return wait([caught], 0)
        awaited: list[Any] = [worker.process.sentinel for worker in self.running]
        awaited += [worker.beats for worker in self.running if not worker.serves]
        return wait([caught, *awaited], BEAT_SECONDS)

    def count_missed_beats(self) -> None:
        """Kill workers that have sent no beat for `stop_seconds`.

        Each wait counts as one missed beat, however long it takes: while this process is suspended,
        workers miss no beats.
        """
        for worker in self.running:
            worker.missed_beats += 1
            if worker.serves and worker.missed_beats * BEAT_SECONDS > self.stop_seconds:
                log.error("Worker %d does not respond: killed", worker.process.pid)
                worker.process.kill()

    def check(self, worker: Worker) -> bool:
        """Return False if the worker has ended without having served."""
        if worker.read_beats():
            worker.serves = True
            worker.missed_beats = 0
        if worker.process.exitcode is not None:
            end = worker.reap()
            after = "started again" if worker.serves else "it has not served, so the API stops"
            log.error("Worker %d ended (%s): %s", worker.process.pid, end, after)
        return worker.serves or not worker.has_ended

    def start_next(self) -> None:
        """Start a worker that does not run, unless another one is starting."""
        if not all(worker.serves for worker in self.running):
            return
        for number, sockets in enumerate(self.sockets):
            worker = self.workers.get(number)
            if worker is None or (
                worker.has_ended and time.monotonic() - worker.started > BEAT_SECONDS
            ):
                self.workers[number] = Worker(self.config, sockets, self.descriptors(number))
                return

    def descriptors(self, number: int) -> Iterator[int]:
        """Yield the descriptors that belong to other workers."""
        yield from (worker.beats for worker in self.running)
        for others in self.sockets:
            if others is not self.sockets[number]:
                yield from (one.fileno() for one in others)

    def stop(self) -> None:
        for listener in {one for sockets in self.sockets for one in sockets}:
            listener.close()
        for worker in self.running:
            worker.process.terminate()
        deadline = time.monotonic() + self.stop_seconds
        for worker in self.running:
            worker.reap(max(0.0, deadline - time.monotonic()))


@contextmanager
def caught_signals() -> Iterator[socket.socket]:
    """Yield a socket that SIGTERM and SIGINT make readable; they have no other effect."""
    caught, sender = socket.socketpair()
    sender.setblocking(False)  # noqa: FBT003 positional only
    with caught, sender:
        signal.set_wakeup_fd(sender.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        yield caught
        signal.set_wakeup_fd(-1)
