"""The stack's own HTTP services answer its programs only: no page in a browser, no foreign name."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lab.paths import PROJECT
from lab.stack.ports import free as free_port
from tests.support.programs import running

BODY = (
    b'{"alerts": [{"status": "firing", "labels": {"alertname": "A"}, "annotations": '
    b'{"summary": "S"}}]}'
)


@dataclass
class Program:
    """A service that runs alone, as in its container."""

    name: str
    port: int
    path: str

    def status(self, *headers: tuple[str, str]) -> int:
        """Send what the service is for, with these headers and no others."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        posts = self.name == "notifications"
        connection.putrequest("POST" if posts else "GET", self.path, skip_host=True)
        if posts:
            headers = (
                *headers,
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(BODY))),
            )
        for header in headers:
            connection.putheader(*header)
        connection.endheaders(BODY if posts else None)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="module", params=["notifications", "postgres-sampler"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    name = request.param.replace("-", "_")
    settings = {
        f"{name.upper()}_PORT": str(port),
        "NOTIFICATIONS_FILE": str(folder / "notifications.jsonl"),
    }
    path = "/" if name == "notifications" else "/metrics"
    ready = f"http://127.0.0.1:{port}/{'healthz' if name == 'notifications' else 'metrics'}"
    file: Path = PROJECT / "src" / "lab" / f"{name}.py"
    with running([sys.executable, "-I", file], folder / "log", ready, **settings):
        yield Program(request.param, port, path)


def test_its_own_names_are_answered(program: Program) -> None:
    for host in ("127.0.0.1", f"localhost:{program.port}", "LOCALHOST", "[::1]:9", program.name):
        assert program.status(("Host", host)) == 200, host


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("evil.example",),
        ("evil.example:9095",),
        ("localhost.evil.example",),
        ("127.0.0.1.nip.io",),
        ("localhost:x",),
        ("localhost", "localhost"),
        ("localhost", "evil.example"),
    ],
)
def test_another_name_of_this_machine_is_not_answered(
    program: Program, hosts: tuple[str, ...]
) -> None:
    assert program.status(*(("Host", host) for host in hosts)) == 421


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("ORIGIN", "http://127.0.0.1:9095"),
        ("Sec-Fetch-Site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("Sec-Fetch-Site", "none"),
    ],
)
def test_a_browser_is_not_answered(program: Program, header: tuple[str, str]) -> None:
    assert program.status(("Host", "localhost"), header) == 403


def test_headers_have_a_limit(program: Program) -> None:
    assert program.status(("Host", "localhost"), ("X-Long", "x" * 70_000)) == 431
    many = tuple((f"X-{number}", "") for number in range(101))
    assert program.status(("Host", "localhost"), *many) == 431
