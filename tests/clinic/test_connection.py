"""What a client may do with a connection: tried with sockets, with short deadlines."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import pytest
import uvicorn

from clinic.connection import BoundedProtocol, Limits
from clinic.problems import HEADERS
from lab.stack.config import HOST

SECONDS = 0.4
LARGE = 20_000_000
GET = b"GET /owners HTTP/1.1\r\nHost: localhost\r\n"


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Answer with the size of the body, or with what the path asks for."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    body = b"x" * LARGE if _scope["path"] == "/large" else str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def count_headers(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the number of headers, after the body."""
    while (await receive())["more_body"]:
        pass
    body = str(len(scope["headers"])).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_late(_scope: Any, _receive: Any, send: Any) -> None:
    await asyncio.sleep(SECONDS / 2)
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body"})


async def refuse_at_once(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body"})


@contextmanager
def serving(app: Any = echo, keep_alive: int = 60, **limits: Any) -> Iterator[int]:
    """Serve an app in a thread; yield its port."""

    class Protocol(BoundedProtocol):
        pass

    Protocol.limits = Limits(**{"seconds": SECONDS, **limits})
    config = uvicorn.Config(
        app,
        HOST,
        0,
        http=Protocol,
        log_config=None,
        ws="none",
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


def connect(port: int) -> socket.socket:
    client = socket.create_connection((HOST, port), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def answer(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def send_all(client: socket.socket, data: bytes) -> None:
    """Send until the server no longer reads."""
    with suppress(OSError):
        client.sendall(data)


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def problem(response: bytes) -> Any:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document = json.loads(body)
    assert document["status"] == status(response)
    return document


LARGE_HEADERS = {
    "one header": b"x: " + b"a" * 40_000 + b"\r\n",
    "many headers": b"".join(b"x-%d: 1\r\n" % i for i in range(4000)),
    "a name": b"x" * 40_000 + b": 1\r\n",
    "20 MB": b"baggage: " + b"," * 20_000_000 + b"\r\n",
    "no end": b"x: " + b"a" * 40_000,
}


@pytest.mark.parametrize("kind", LARGE_HEADERS)
def test_large_headers_are_refused(kind: str) -> None:
    with serving() as port, connect(port) as client:
        send_all(client, GET + LARGE_HEADERS[kind] + b"\r\n")
        assert problem(answer(client))["status"] == 431


def test_a_long_request_line_is_refused() -> None:
    with serving() as port, connect(port) as client:
        send_all(client, b"GET /?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert problem(answer(client))["status"] == 431


def test_large_headers_of_a_pipelined_request_are_refused() -> None:
    with serving() as port, connect(port) as client:
        send_all(client, GET + b"\r\n" + GET + LARGE_HEADERS["one header"] + b"\r\n")
        response = answer(client)
    assert b"431" in response


def test_headers_below_the_limit_and_bodies_pass_in_any_pieces() -> None:
    request = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 30_000 + b"\r\n"
        b"Content-Length: 60000\r\nConnection: close\r\n\r\n" + b"b" * 60_000
    )
    with serving(seconds=10) as port:
        for size in (len(request), 50_000, 1_000):
            with connect(port) as client:
                for start in range(0, len(request), size):
                    client.sendall(request[start : start + size])
                    time.sleep(0.001)
                assert answer(client).endswith(b"\r\n\r\n60000")


def test_pipelined_requests_with_large_bodies_pass() -> None:
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n" + b"b" * 40_000
    with serving(seconds=10) as port, connect(port) as client:
        client.sendall(post * 5 + GET + b"Connection: close\r\n\r\n")
        assert answer(client).count(b"HTTP/1.1 200") == 6


SLOW = {
    "nothing": b"",
    "blank lines": b"\r\n",
    "half a request line": b"GET /own",
    "headers without an end": GET + b"x: 1\r\n",
    "headers byte by byte": GET + b"x: ",
    "a body without an end": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab",
    "chunks without an end": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_and_silent_connections_end(kind: str) -> None:
    with serving() as port, connect(port) as client:
        client.sendall(SLOW[kind])
        started = time.monotonic()
        if "byte by byte" in kind:
            Thread(target=trickle, args=(client,), daemon=True).start()
        response = answer(client)
        seconds = time.monotonic() - started
    assert SECONDS * 0.9 < seconds < SECONDS + 1
    if kind in {"nothing", "blank lines"}:
        assert response == b""
    else:
        assert problem(response)["status"] == 408


def trickle(client: socket.socket) -> None:
    for _ in range(100):
        time.sleep(0.05)
        send_all(client, b"a")


def test_a_body_that_never_ends_after_its_response_is_not_awaited() -> None:
    with serving(refuse_at_once) as port, connect(port) as client:
        client.sendall(SLOW["a body without an end"])
        response = answer(client)
    assert status(response) == 401
    assert response.count(b"HTTP/1.1") == 1


def test_a_body_that_arrives_after_its_response_leaves_an_idle_connection() -> None:
    with serving(refuse_at_once, keep_alive=1) as port, connect(port) as client:
        client.sendall(SLOW["a body without an end"])
        time.sleep(0.1)
        client.sendall(b"cdefghij")
        started = time.monotonic()
        assert status(answer(client)) == 401
    assert time.monotonic() - started > SECONDS


def test_blank_lines_do_not_keep_an_idle_connection() -> None:
    with serving(keep_alive=1) as port, connect(port) as client:
        client.sendall(GET + b"\r\n")
        time.sleep(0.2)
        client.sendall(b"\r\n")
        assert status(answer(client)) == 200


def test_an_endless_body_ends_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(refuse_at_once, seconds=10, body=1024) as port, connect(port) as client:
        client.sendall(head)
        assert status(client.recv(1000)) == 401
        send_all(client, b"400\r\n" + b"a" * 1024 + b"\r\n" + b"1\r\na\r\n" * 20_000)
        assert answer(client) == b""


def test_large_trailers_end_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with serving(seconds=10, body=1024) as port, connect(port) as client:
        send_all(client, head + b"x: " + b"a" * 1_000_000)
        assert problem(answer(client))["status"] == 413


def test_trailers_are_no_headers() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = b"Host: evil.example\r\nbaggage: k6.test_run_id=1\r\nContent-Type: text/plain\r\n"
    with serving(count_headers, seconds=10) as port, connect(port) as client:
        client.sendall(head + b"1\r\na\r\n0\r\n" + trailers + b"\r\n")
        assert client.recv(1000).endswith(b"\r\n\r\n2")
        client.sendall(GET + b"a: 1\r\nb: 2\r\nConnection: close\r\n\r\n")
        assert answer(client).endswith(b"\r\n\r\n4")


BROKEN = {
    "no HTTP": (b"junk\r\n\r\n", 400),
    "a body longer than announced": (b"}}", 400),
    "headers that are too large": (GET + LARGE_HEADERS["one header"] + b"\r\n", 431),
    "headers without an end": (GET, 408),
    "broken chunks": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        400,
    ),
}


@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("kind", BROKEN)
def test_requests_before_one_that_is_refused_get_their_responses(kind: str, before: int) -> None:
    rest, refused = BROKEN[kind]
    with serving(respond_late) as port, connect(port) as client:
        send_all(client, (GET + b"\r\n") * before + rest)
        responses = answer(client)
    lines = [line for line in responses.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert [status(line) for line in lines] == [204] * before + [refused]
    assert problem(responses[responses.rindex(b"HTTP/1.1 ") :])


def test_a_client_that_does_not_read_is_disconnected() -> None:
    with serving() as port, connect(port) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        time.sleep(SECONDS + 0.5)
        read = 0
        with suppress(ConnectionResetError):
            while part := client.recv(65536):
                read += len(part)
    assert read < 3 * LARGE


def test_idle_connections_stay_for_the_time_of_the_setting() -> None:
    with serving(keep_alive=1) as port, connect(port) as client:
        client.sendall(GET + b"\r\n")
        started = time.monotonic()
        assert status(answer(client)) == 200
    assert 0.9 < time.monotonic() - started < 2


def test_connections_beyond_the_limit_are_refused() -> None:
    with serving(seconds=10, connections=3) as port:
        held = [connect(port) for _ in range(3)]
        for client in held:
            client.sendall(GET + b"\r\n")
            assert status(client.recv(1000)) == 200
        with connect(port) as late:
            response = answer(late)
        assert problem(response)["status"] == 503
        assert b"retry-after: " in response
        held.pop().close()
        deadline = time.monotonic() + 5
        while True:
            with connect(port) as client:
                client.sendall(GET + b"Connection: close\r\n\r\n")
                if status(answer(client)) == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for client in held:
            client.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET /owners HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /owners HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET /owners#part HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /owners?limit=1#part HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(request_: bytes) -> None:
    with serving() as port, connect(port) as client:
        client.sendall(request_)
        response = answer(client)
    assert problem(response)["status"] == 400
    assert all(b"%b: %b\r\n" % header in response for header in HEADERS)


def test_an_upgrade_is_ignored_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with serving(keep_alive=1) as port, connect(port) as client:
        client.sendall(GET + upgrade)
        assert status(client.recv(1000)) == 200
    assert caplog.records == []
