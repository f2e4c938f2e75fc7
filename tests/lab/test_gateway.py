"""The gateway: what it refuses, what it forwards, and what clients see of the services."""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import httpx
import psutil
import pytest

import lab.gateway
from lab.paths import PROJECT
from lab.stack import compose
from lab.stack.ports import free_ports
from tests.support.native_stack import until
from tests.support.programs import running

GATEWAY = PROJECT / "src" / "lab" / "gateway.py"
PASSWORD = "a-password"
PATH = "3f9c0123456789abcdef"
CREDENTIALS = "Basic dmV0LWNsaW5pYzphLXBhc3N3b3Jk"
MAX_IDLE = 8  # each costs the next requests
VIRTUAL_USERS = 400  # of the profile breakpoint, each with a connection to the OTLP receiver
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, list[str]]
    body: bytes


@dataclass
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"of the service"


class Upstream(ThreadingHTTPServer):
    """A service behind the gateway: keeps requests, and gives one response to all."""

    daemon_threads = True
    request_queue_size = VIRTUAL_USERS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.received: list[Received] = []
        self.response = Response()
        self.go_on, self.client_left = Event(), Event()

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # the gateway ends what it does not need
            super().handle()

    def answer(self) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        try:
            received = Received(self.command, self.path, headers, self.body())
        except ValueError:  # the body was broken off
            self.close_connection = True
            return
        self.server.received.append(received)
        if self.path.endswith("/events"):
            self.stream()
            return
        if self.path.endswith("/cut"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
            self.close_connection = True
            return
        if self.path.endswith("/nothing"):
            self.close_connection = True
            return
        response = self.server.response
        self.send_response(response.status)
        for name, values in response.headers.items():
            for value in values.split("\n"):
                self.send_header(name, value)
        if not {"Content-Length", "Transfer-Encoding"} & response.headers.keys():
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD" and response.status not in (204, 304):
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(response.body)

    def body(self) -> bytes:
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def stream(self) -> None:
        """Send an event, then one more when told; see whether the client leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"9\r\ndata: 1\n\n\r\n")
        self.server.go_on.wait(10)
        self.wfile.write(b"9\r\ndata: 2\n\n\r\n")
        self.close_connection = True
        with suppress(ConnectionResetError):
            self.connection.recv(1)
        self.server.client_left.set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


@dataclass
class Gateway:
    """A running gateway and the service behind all its ports."""

    upstream: Upstream
    prometheus: int
    alertmanager: int
    traces: int
    otlp: int
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client

    def send(
        self, method: str = "GET", path: str = "/x", port: int = 0, **options: Any
    ) -> httpx.Response:
        url = f"http://127.0.0.1:{port or self.prometheus}{path}"
        return self.client.request(method, url, **options)

    def raw(self, data: str, port: int = 0) -> str:
        """Send bytes as they are and return all that comes back until the connection ends."""
        with socket.create_connection(("127.0.0.1", port or self.prometheus), 10) as client:
            client.sendall(data.encode("latin-1"))
            received = b""
            while block := client.recv(65536):
                received += block
        return received.decode("latin-1")


@contextmanager
def gateway(folder: Path, upstream: Upstream, **settings: str) -> Iterator[Gateway]:
    """Run the file as the container does: alone, without the project."""
    (folder / "password").write_text(f"{PASSWORD}\n")
    (folder / "traces-path").write_text(f"{PATH}\n")
    prometheus, alertmanager, traces, otlp = free_ports(4)
    base = f"http://{upstream.address}"
    environment = {
        "GATEWAY_SECRETS": str(folder),
        "GATEWAY_PROMETHEUS": f"{prometheus}={base}",
        "GATEWAY_ALERTMANAGER": f"{alertmanager}={base}/",
        "GATEWAY_TRACES": f"{traces}={base}/{{traces-path}}",
        "GATEWAY_OTLP": f"{otlp}={base}/{{traces-path}}",
    } | settings
    ready = f"http://127.0.0.1:{otlp}/gateway/healthz"
    log = folder / "log"
    with (
        running([sys.executable, "-I", GATEWAY], log, ready, **environment) as process,
        httpx.Client() as client,
    ):
        yield Gateway(upstream, prometheus, alertmanager, traces, otlp, process, log, client)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with Upstream() as upstream, gateway(folder, upstream, GATEWAY_ALLOWED_HOSTS="Lab, x.y") as one:
        yield one


@pytest.fixture
def stack(shared: Gateway) -> Gateway:
    shared.upstream.received.clear()
    shared.upstream.response = Response()
    shared.upstream.go_on.clear()
    shared.upstream.client_left.clear()
    return shared


def is_problem(response: httpx.Response, status: int) -> bool:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    return True


# What is forwarded


def test_a_request_is_forwarded_with_the_credentials_of_the_stack(stack: Gateway) -> None:
    response = stack.send(
        "POST",
        "/api/v1/query?a=1&b=%2F%20..//",
        content=b"body",
        headers={
            "Authorization": "Bearer mine",
            "X-Own": "kept",
            "Connection": "keep-alive, X-Hop, content-length",
            "X-Hop": "1",
            "Keep-Alive": "timeout=5",
            "TE": "trailers",
            "Upgrade": "websocket",
            "Proxy-Authorization": "Basic x",
        },
    )

    assert (response.status_code, response.text) == (200, "of the service")
    (received,) = stack.upstream.received
    assert received.method == "POST"
    assert received.path == "/api/v1/query?a=1&b=%2F%20..//"
    assert received.body == b"body"
    assert received.headers["host"] == [stack.upstream.address]
    assert received.headers["authorization"] == [CREDENTIALS]
    assert received.headers["x-own"] == ["kept"]
    assert received.headers["content-length"] == ["4"]
    assert not {"x-hop", "keep-alive", "te", "upgrade", "proxy-authorization"} & set(
        received.headers
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_methods_are_forwarded(stack: Gateway, method: str) -> None:
    response = stack.send(method)

    assert response.status_code == 200
    assert response.headers["content-length"] == "14"
    assert response.text == ("" if method == "HEAD" else "of the service")
    assert stack.upstream.received[0].method == method


def test_the_trace_store_and_the_receiver_get_the_secret_path(stack: Gateway) -> None:
    stack.send(path="/api/search?q=1", port=stack.traces)
    stack.send("POST", path="/v1/traces", port=stack.otlp)
    stack.send(path="/", port=stack.alertmanager)

    paths = [received.path for received in stack.upstream.received]
    assert paths == [f"/{PATH}/api/search?q=1", f"/{PATH}/v1/traces", "/"]


def test_a_body_in_chunks_is_forwarded(stack: Gateway) -> None:
    """As the OTLP exporter for Go sends what it has compressed."""
    content = gzip.compress(os.urandom(200_000))
    blocks = (content[at : at + 7_777] for at in range(0, len(content), 7_777))

    response = stack.send("POST", "/v1/traces", stack.otlp, content=blocks)

    assert response.status_code == 200
    (received,) = stack.upstream.received
    assert received.body == content
    assert "content-length" not in received.headers


def test_large_bodies_pass_in_both_directions(stack: Gateway) -> None:
    body = os.urandom(20 * 2**20)
    stack.upstream.response = Response(body=body)

    response = stack.send("POST", content=body)

    assert response.content == body
    assert stack.upstream.received[0].body == body


def test_connections_are_kept(stack: Gateway) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.prometheus}") as client:
        ports = {
            client.request(method, path, content=body)
            .extensions["network_stream"]
            .get_extra_info("client_addr")
            for method, path, body in (
                ("GET", "/x", b""),
                ("POST", "/x", b"body"),
                ("POST", "/x", iter([b"chunk", b"ed"])),
                ("HEAD", "/x", b""),
                ("GET", "/gateway/healthz", b""),
                ("GET", "/x", b""),
            )
        }

    assert len(ports) == 1


@contextmanager
def burst(stack: Gateway) -> Iterator[None]:
    """Send spans from all virtual users at once, and keep their connections."""
    body = bytes(20_000)
    head = f"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as opened:
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", stack.otlp), 60))
            for _ in range(VIRTUAL_USERS)
        ]
        for part in (head + body[:-1], body[-1:]):
            for client in clients:
                client.sendall(part)
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        yield


def test_connections_of_all_virtual_users_leave_a_quarter_of_the_memory_limit(
    stack: Gateway,
) -> None:
    limit = int(compose.services()["gateway"]["mem_limit"].removesuffix("m")) * 2**20

    with burst(stack):
        used = psutil.Process(stack.process.pid).memory_info().rss

    assert used < limit * 3 / 4


def test_a_burst_leaves_few_connections_to_a_service(stack: Gateway) -> None:
    with burst(stack):
        stack.send(port=stack.otlp)
        open_ = [
            connection
            for connection in psutil.Process(stack.process.pid).net_connections()
            if connection.status == psutil.CONN_ESTABLISHED
            and connection.raddr.port == stack.upstream.server_port
        ]

    assert 0 < len(open_) <= MAX_IDLE


def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(stack: Gateway) -> None:
    stack.upstream.response = Response(
        headers={"Transfer-Encoding": "chunked"}, body=b"3\r\nabc\r\n0\r\n\r\n"
    )

    received = stack.raw("GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n").lower()

    head, body = received.split("\r\n\r\n")
    assert body == "abc"
    assert "transfer-encoding" not in head


@pytest.mark.parametrize("status", [400, 404, 422, 499, 500, 503, 599])
def test_errors_of_a_service_are_passed_on(stack: Gateway, status: int) -> None:
    stack.upstream.response = Response(status, body=b'{"status":"error"}')

    response = stack.send()

    assert (response.status_code, response.text) == (status, '{"status":"error"}')


@pytest.mark.parametrize("status", [204, 304])
def test_responses_without_a_body_have_none(stack: Gateway, status: int) -> None:
    stack.upstream.response = Response(status, {"Transfer-Encoding": "chunked"}, b"")

    responses = [stack.send() for _ in range(2)]

    assert [it.status_code for it in responses] == [status, status]
    assert not any(it.content or "transfer-encoding" in it.headers for it in responses)


def test_chunks_of_a_response_are_passed_on_as_they_arrive(stack: Gateway) -> None:
    with httpx.stream("GET", f"http://127.0.0.1:{stack.prometheus}/events", timeout=10) as response:
        events = response.iter_text()
        first = next(events)  # before the service sends the second
        stack.upstream.go_on.set()
        second = next(events)
        before = stack.upstream.client_left.is_set()

    assert (first, second) == ("data: 1\n\n", "data: 2\n\n")
    assert not before
    assert stack.upstream.client_left.wait(10)


def test_a_request_that_expects_100_continue_gets_it_before_its_body(stack: Gateway) -> None:
    head = (
        "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.prometheus), 10) as client:
        client.sendall(head.encode())
        interim = client.recv(1000)
        client.sendall(b"abc")
        final = client.recv(1000)

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert final.startswith(b"HTTP/1.1 200 OK")
    assert stack.upstream.received[0].body == b"abc"
    assert "expect" not in stack.upstream.received[0].headers


def test_a_refused_request_that_expects_100_continue_does_not_get_it(stack: Gateway) -> None:
    head = "POST /x HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"

    assert stack.raw(f"{head}{CLOSE}").startswith("HTTP/1.1 421")


def test_health_is_the_gateways_own(stack: Gateway) -> None:
    for port in (stack.prometheus, stack.alertmanager, stack.traces, stack.otlp):
        assert stack.send(path="/gateway/healthz", port=port).status_code == 200
    assert stack.upstream.received == []


# What is refused


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:9090",
        "[::1]:9090",
        "gateway:9090",
        "host.docker.internal",
        "lab:1",
        "X.Y",
    ],
)
def test_own_names_are_answered(stack: Gateway, host: str) -> None:
    assert stack.send(headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9090",
        "localhost.",
        "localhost.evil.example",
        "evil.example/localhost",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:9090:80",
        "localhost:",
        "localhost:port",
        "127.0.0.1.nip.io",
        "127.1",
        "2130706433",
        "0.0.0.0",  # noqa: S104 - a name that is refused
        "[::ffff:127.0.0.1]",
        "::1",
        "[::1",
        "localhost, evil.example",
        "",
        "a",
    ],
)
def test_other_names_are_not(stack: Gateway, host: str) -> None:
    for port in (stack.prometheus, stack.alertmanager, stack.traces, stack.otlp):
        assert is_problem(stack.send(port=port, headers={"Host": host}), 421)
    assert is_problem(stack.send(path="/gateway/healthz", headers={"Host": host}), 421)
    assert stack.upstream.received == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}, http://evil.example",
        "chrome-extension://abc",
        "file://",
    ],
)
def test_requests_of_other_origins_are_refused(stack: Gateway, method: str, origin: str) -> None:
    for port in (stack.prometheus, stack.alertmanager, stack.traces, stack.otlp):
        headers = {"Origin": origin.format(port=port), "Access-Control-Request-Method": "POST"}
        refused = stack.send(method, port=port, headers=headers)
        assert refused.status_code == 403
        assert not [name for name in refused.headers if name.startswith("access-control")]
    assert stack.upstream.received == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_requests_of_the_own_origin_are_forwarded(stack: Gateway, method: str) -> None:
    for name in ("127.0.0.1", "localhost", "LocalHost"):
        host = f"{name}:{stack.prometheus}"
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert stack.send(method, headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "other", "none, cross-site"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_requests_of_pages_of_other_sites_are_refused(
    stack: Gateway, site: str, method: str
) -> None:
    for port in (stack.prometheus, stack.alertmanager, stack.traces, stack.otlp):
        for mode in ({}, {"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "cors"}):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", **mode}
            assert stack.send(method, port=port, headers=headers).status_code == 403
    assert stack.upstream.received == []


def test_links_lead_to_pages(stack: Gateway) -> None:
    for method in ("GET", "HEAD"):
        assert stack.send(method, port=stack.prometheus, headers=LINK).status_code == 200
        assert stack.send(method, port=stack.alertmanager, headers=LINK).status_code == 200
        assert stack.send(method, port=stack.traces, headers=LINK).status_code == 403
        assert stack.send(method, port=stack.otlp, headers=LINK).status_code == 403


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),
        ("DELETE", {}),
        ("OPTIONS", {}),
        ("GET", {"Sec-Fetch-Dest": "iframe"}),
        ("GET", {"Sec-Fetch-Dest": "object"}),
        ("GET", {"Sec-Fetch-Dest": "empty"}),
        ("GET", {"Sec-Fetch-Mode": "nested-navigate"}),
        ("GET", {"Origin": "null"}),
    ],
)
def test_only_tabs_are_links(stack: Gateway, method: str, headers: dict[str, str]) -> None:
    assert stack.send(method, headers={**LINK, **headers}).status_code == 403
    assert stack.upstream.received == []


def test_links_lead_to_a_trace_store_with_pages(tmp_path: Path) -> None:
    with Upstream() as upstream, gateway(tmp_path, upstream, GATEWAY_TRACES_UI="1") as stack:
        assert stack.send(port=stack.traces, headers=LINK).status_code == 200
        assert stack.send(port=stack.otlp, headers=LINK).status_code == 403


HOST = "Host: localhost\r\n"
CLOSE = "Connection: close\r\n\r\n"
POST = f"POST /x HTTP/1.1\r\n{HOST}"


@pytest.mark.parametrize(
    "request_",
    [
        f"GET /x HTTP/1.1\r\n{CLOSE}",
        f"GET /x HTTP/1.0\r\n{CLOSE}",
        f"GET /x HTTP/1.1\r\n{HOST}{HOST}{CLOSE}",
        f"GET /x HTTP/1.1\r\n{HOST}Host: evil.example\r\n{CLOSE}",
        f"GET /x HTTP/1.1\r\nHost : localhost\r\n{CLOSE}",
        f"{POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        f"{POST}Content-Length: +3\r\n\r\nabc",
        f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        f"{POST}Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n",
        f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n{CLOSE}3\r\nabc\r\n0\r\n\r\n",
        f"CONNECT localhost:1 HTTP/1.1\r\n{HOST}{CLOSE}",
        f"TRACE /x HTTP/1.1\r\n{HOST}{CLOSE}",
        f"get /x HTTP/1.1\r\n{HOST}{CLOSE}",
        f"OPTIONS * HTTP/1.1\r\n{HOST}{CLOSE}",
        f"GET x HTTP/1.1\r\n{HOST}{CLOSE}",
    ],
)
def test_what_is_not_http_is_refused(stack: Gateway, request_: str) -> None:
    received = stack.raw(request_)

    assert re.match(r"HTTP/1.1 (400|501) ", received)
    assert received.count("HTTP/1.1") == 1
    assert not stack.upstream.received or "chunked" in request_
    assert not any(one.body for one in stack.upstream.received)


@pytest.mark.parametrize("target", ["http://evil.example/x", "http://localhost/x"])
def test_a_target_with_a_name_is_answered_by_host_alone(stack: Gateway, target: str) -> None:
    own = stack.raw(f"GET {target} HTTP/1.1\r\n{HOST}{CLOSE}")
    other = stack.raw(f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n{CLOSE}")

    assert not own.startswith("HTTP/1.1 200") or stack.upstream.received[0].path == "/x"
    assert other.startswith("HTTP/1.1 421")


def test_no_second_request_hides_in_the_body_of_the_first(stack: Gateway) -> None:
    """A service that took the length in one way and the gateway in the other would see it."""
    hidden = f"GET /hidden HTTP/1.1\r\n{HOST}\r\n"

    head = f"{POST}Content-Length: {len(hidden) + 5}\r\nTransfer-Encoding: chunked\r\n{CLOSE}"
    stack.raw(f"{head}0\r\n\r\n{hidden}")

    assert "/hidden" not in [one.path for one in stack.upstream.received]


@pytest.mark.parametrize(
    "path",
    [
        "/../api",
        "/..",
        "/x/../../api",
        "/./api",
        "/.",
        "//api",
        "/x//api",
        "/%2e%2e/api",
        "/%2E./api",
        "/.%2e",
        "/x%2f..%2fapi",
        "/..%2fapi",
        "/..\\api",
        "/%5c..%5capi",
        "/..?x=1",
    ],
)
def test_the_secret_path_is_not_left(stack: Gateway, path: str) -> None:
    received = stack.raw(f"GET {path} HTTP/1.1\r\n{HOST}{CLOSE}", stack.traces)

    assert received.startswith("HTTP/1.1 400")
    assert stack.upstream.received == []


@pytest.mark.parametrize("path", ["/...", "/a..b", "/%252e%252e/x", "/?/../x", "/a%2Fb", "/;x"])
def test_other_paths_are_forwarded_as_they_are(stack: Gateway, path: str) -> None:
    stack.raw(f"GET {path} HTTP/1.1\r\n{HOST}{CLOSE}", stack.traces)

    assert stack.upstream.received[0].path == f"/{PATH}{path}"


def test_a_body_above_64_mib_is_refused(stack: Gateway) -> None:
    blocks = (b"x" * 2**20 for _ in range(66))

    assert stack.raw(f"{POST}Content-Length: {64 * 2**20 + 1}\r\n{CLOSE}").startswith(
        "HTTP/1.1 413"
    )
    assert is_problem(stack.send("POST", content=blocks, timeout=60), 413)
    assert not any(one.body for one in stack.upstream.received)


def test_a_head_above_64_kib_is_refused(stack: Gateway) -> None:
    for long in (
        f"GET /{'x' * 70_000} HTTP/1.1\r\n{HOST}{CLOSE}",
        f"GET / HTTP/1.1\r\n{HOST}X: {'x' * 70_000}\r\n{CLOSE}",
    ):
        assert not stack.raw(long).startswith("HTTP/1.1 200")
    assert stack.upstream.received == []
    assert stack.raw(f"GET /{'x' * 50_000} HTTP/1.1\r\n{HOST}{CLOSE}").startswith("HTTP/1.1 200")


# What clients see of the services


def test_responses_open_nothing_to_other_origins(stack: Gateway) -> None:
    stack.upstream.response = Response(
        headers={
            "Access-Control-Allow-Origin": "*",
            "access-control-expose-headers": "x",
            "Vary": "Origin\nAccept",
            "X-Frame-Options": "SAMEORIGIN",
            "X-Empty": "",
            "Connection": "X-Hop",
            "X-Hop": "1",
            "Keep-Alive": "timeout=5",
        }
    )
    headers = stack.send().headers

    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["x-empty"] == ""
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers.get_list("vary") == ["Origin", "Accept"]
    assert not {"x-hop", "keep-alive"} & set(headers)
    assert stack.send(headers={"Host": "x"}).headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("http://{address}/{path}/x?y=1", "/x?y=1"),
        ("http://{address}/{path}", "/"),
        ("/{path}/x/", "/x/"),
        ("/{path}", "/"),
        ("http://{address}/other", "/other"),
        ("/x", "/x"),
        ("x", "x"),
        ("http://elsewhere.example/x", "http://elsewhere.example/x"),
    ],
)
@pytest.mark.parametrize("status", [201, 301, 307])
def test_redirects_name_neither_the_service_nor_the_secret_path(
    stack: Gateway, location: str, seen: str, status: int
) -> None:
    location = location.format(address=stack.upstream.address, path=PATH)
    body = f'<a href="{location}">Moved</a>'.encode()
    stack.upstream.response = Response(status, {"Location": location, "X-Also": location}, body)

    response = stack.send(port=stack.traces)

    assert response.status_code == status
    assert response.headers["location"] == response.headers["x-also"] == seen
    assert PATH not in f"{response.headers}{response.text}"
    assert stack.upstream.address not in f"{response.headers}{response.text}"


def test_a_refused_password_asks_nobody_for_one(stack: Gateway) -> None:
    stack.upstream.response = Response(401, {"WWW-Authenticate": "Basic"})

    response = stack.send()

    assert is_problem(response, 502)
    assert "www-authenticate" not in response.headers


def test_a_service_that_breaks_off_is_502_or_an_incomplete_body(stack: Gateway) -> None:
    assert is_problem(stack.send(path="/nothing"), 502)
    with pytest.raises(httpx.RemoteProtocolError):
        stack.send(path="/cut")
    assert stack.send().status_code == 200


def test_a_service_that_is_away_is_named_and_logged_once(tmp_path: Path) -> None:
    with Upstream() as upstream, gateway(tmp_path, upstream) as stack:
        upstream.shutdown()
        upstream.server_close()
        for _ in range(3):
            response = stack.send("POST", port=stack.otlp, content=b"x" * 100_000)
            assert is_problem(response, 502)
            assert "The OTLP receiver" in response.text
            assert upstream.address not in response.text
        assert stack.log.read_text().count("does not answer") == 1


def test_pushes_are_kept_while_prometheus_does_not_answer(tmp_path: Path) -> None:
    """They arrive afterwards, each once and in their order, with the credentials."""
    headers = {"Content-Encoding": "snappy"}

    def push(stack: Gateway, body: bytes) -> httpx.Response:
        return stack.send("POST", "/api/v1/write", content=body, headers=headers)

    with Upstream() as upstream, gateway(tmp_path, upstream) as stack:
        assert push(stack, b"0").status_code == 200
        upstream.response = Response(503)
        assert [push(stack, b"%d" % number).status_code for number in range(1, 6)] == [204] * 5
        until(lambda: len(upstream.received) > 3)
        refused = {one.body for one in upstream.received[1:]}
        upstream.response = Response(204)
        until(lambda: upstream.received[-1].body == b"5")
        until(lambda: "answers again" in stack.log.read_text())
        assert push(stack, b"6").status_code == 204

    assert refused == {b"1"}
    arrived = upstream.received[-6:]
    assert [one.body for one in arrived] == [b"%d" % number for number in range(1, 7)]
    assert {one.headers["authorization"][0] for one in arrived} == {CREDENTIALS}
    assert {one.headers["content-encoding"][0] for one in arrived} == {"snappy"}


def test_a_push_that_prometheus_rejects_is_not_kept(stack: Gateway) -> None:
    stack.upstream.response = Response(400, body=b"out of bounds")

    response = stack.send("POST", "/api/v1/write", content=b"x")

    assert (response.status_code, response.content) == (400, b"out of bounds")
    assert len(stack.upstream.received) == 1


@pytest.mark.anyio
async def test_a_push_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that Prometheus never takes does not hold up those after it."""
    prometheus = lab.gateway.Service(lab.gateway.PROMETHEUS, 1, "127.0.0.1:1", "", has_pages=True)
    tried = lab.gateway.Gateway([prometheus], PASSWORD)
    monkeypatch.setattr(lab.gateway, "RETRY_SECONDS", 0.01)
    now = time.monotonic()
    tried.kept += [lab.gateway.Push(b"/", [], b"", until) for until in (now - 1, now + 0.1)]

    await tried.send_kept(prometheus)

    assert not tried.kept
    assert time.monotonic() > now + 0.1


def test_pushes_are_kept_up_to_8_mib(tmp_path: Path) -> None:
    with Upstream() as upstream, gateway(tmp_path, upstream) as stack:
        upstream.response = Response(503)
        body = b"x" * 2**20
        statuses = [stack.send("POST", "/api/v1/write", content=body).status_code for _ in range(9)]
        too_large = stack.send("POST", "/api/v1/write", content=body + b"x")

    assert statuses == [204] * 8 + [502]
    assert too_large.status_code == 503


def test_a_client_that_leaves_in_mid_body_is_no_fault_of_the_service(stack: Gateway) -> None:
    before = stack.log.read_text()

    with socket.create_connection(("127.0.0.1", stack.prometheus), 10) as client:
        client.sendall(f"{POST}Content-Length: 100\r\n\r\nabc".encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""
    assert stack.log.read_text() == before


# The process


def start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"GATEWAY_SECRETS": str(folder), **settings}
    return subprocess.run(
        [sys.executable, "-I", GATEWAY],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("missing", ["password", "traces-path"])
@pytest.mark.parametrize("content", [None, "", "two words", "a/b", "é", "a\nb"])
def test_it_does_not_start_without_its_secrets(
    tmp_path: Path, missing: str, content: str | None
) -> None:
    for name in ("password", "traces-path"):
        (tmp_path / name).write_text("secret")
    (tmp_path / missing).unlink()
    if content is not None:
        (tmp_path / missing).write_text(content)

    ended = start(tmp_path, GATEWAY_PROMETHEUS=f"{free_ports(1)[0]}=http://127.0.0.1:1")

    assert ended.returncode == 1
    assert str(tmp_path / missing) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert content in (None, "") or content not in ended.stderr


@pytest.mark.parametrize(
    "value",
    ["9090", "=http://x", "x=http://x", "1=https://x", "1=x", "1=http://"],
)
def test_it_does_not_start_with_an_address_that_is_none(tmp_path: Path, value: str) -> None:
    for name in ("password", "traces-path"):
        (tmp_path / name).write_text("secret")

    ended = start(tmp_path, GATEWAY_ALERTMANAGER=value)

    assert ended.returncode == 1
    assert "GATEWAY_ALERTMANAGER" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_does_not_start_without_any_service_or_on_a_taken_port(tmp_path: Path) -> None:
    for name in ("password", "traces-path"):
        (tmp_path / name).write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = [start(tmp_path, GATEWAY_OTLP=f"{bad}=http://x") for bad in (port, 99999)]

    assert [one.returncode for one in ended] == [1, 1]
    assert str(port) in ended[0].stderr
    assert "99999" in ended[1].stderr
    assert "GATEWAY_PROMETHEUS" in start(tmp_path).stderr


def test_sigterm_ends_it_whatever_is_open(tmp_path: Path) -> None:
    with Upstream() as upstream, gateway(tmp_path, upstream) as stack:
        silent = socket.create_connection(("127.0.0.1", stack.prometheus))
        with silent, httpx.stream("GET", f"http://127.0.0.1:{stack.prometheus}/events"):
            stack.process.send_signal(signal.SIGTERM)
            assert stack.process.wait(10) in (0, -signal.SIGTERM)


def test_secrets_and_requests_are_not_logged(stack: Gateway) -> None:
    stack.send(path="/a-request")
    stack.send(path="/a-request", headers={"Host": "evil.example"})

    log = stack.log.read_text()
    assert "Prometheus" in log
    assert not any(word in log for word in (PASSWORD, PATH, "a-request", "evil.example"))
