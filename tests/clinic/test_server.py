"""The API as a process: configured by environment variables, stopped by a signal."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clinic.settings import Settings
from lab.stack.config import HOST
from lab.stack.ports import free as free_port
from tests.support.clinic import unique_email


class OTLPReceiver(ThreadingHTTPServer):
    """Stores the names of the spans that it receives."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), OTLPHandler)
        self.spans: list[str] = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"


class OTLPHandler(BaseHTTPRequestHandler):
    server: OTLPReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            self.server.spans += [
                span.name
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(settings: Settings, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the API on a free port."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "clinic"],
        env={"CLINIC_DATABASE_URL": settings.database_url, "CLINIC_PORT": str(port), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://{HOST}:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < deadline, "not ready after 60 s"
            try:
                httpx.get(f"{url}/readyz").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield server, url
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


def stop(server: subprocess.Popen[str]) -> tuple[float, list[dict[str, str]]]:
    """Send SIGTERM; return the seconds until the exit, and the log."""
    started = time.monotonic()
    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=30)
    return time.monotonic() - started, [json.loads(line) for line in output.splitlines()]


def test_a_shutdown_loses_no_span(settings: Settings) -> None:
    receiver = OTLPReceiver()
    with serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as (server, url):
        with httpx.Client(base_url=url) as client, ThreadPoolExecutor(8) as callers:
            statuses = list(callers.map(lambda _: register(client), range(700)))
            # OTLP cannot carry an ID beyond 64 bits.
            client.get(f"/owners/{2**63}")
        seconds, log = stop(server)

    assert statuses == [201] * 700
    assert Counter(receiver.spans) == {
        "POST /owners": 700,
        "INSERT owner": 700,
        "GET /owners/{owner_id}": 1,
    }
    assert seconds < 10
    assert [line for line in log if line["level"] != "INFO"] == []
    receiver.shutdown()
    receiver.server_close()


def register(client: httpx.Client) -> int:
    return client.post("/owners", json={"name": "Ana", "email": unique_email()}).status_code


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(100)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("receiver", ["refuses", "never answers"])
def test_an_unavailable_receiver_affects_neither_answers_nor_shutdown(
    settings: Settings, receiver: str
) -> None:
    with silent_port() as silent:
        port = silent if receiver == "never answers" else free_port()
        with serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{HOST}:{port}") as (
            server,
            url,
        ):
            with httpx.Client(base_url=url) as client:
                statuses = [client.get("/owners?limit=1").status_code for _ in range(1500)]
            seconds, log = stop(server)

    assert statuses == [200] * 1500
    assert seconds < 10
    assert any(line["level"] in {"WARNING", "ERROR"} for line in log)


def test_disabled_telemetry_exports_nothing_and_adds_no_header(settings: Settings) -> None:
    receiver = OTLPReceiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_SDK_DISABLED": "true"}
    with serving(settings, **env) as (server, url):
        response = httpx.get(f"{url}/owners")
        stop(server)

    assert response.status_code == 200
    assert "traceresponse" not in response.headers
    assert receiver.spans == []
    receiver.shutdown()
    receiver.server_close()


def run_command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clinic", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_invalid_setting_is_reported_in_one_line() -> None:
    run = run_command(CLINIC_PORT="http")

    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith("CLINIC_PORT: Expected `int`, got `str`.")


def test_help_names_the_commands_and_other_commands_are_refused() -> None:
    usage = run_command("--help")
    unknown = run_command("start")

    assert usage.returncode == 0
    assert {"serve", "migrate"} <= set(usage.stdout.split())
    assert unknown.returncode == 2
    assert "'start'" in unknown.stderr
