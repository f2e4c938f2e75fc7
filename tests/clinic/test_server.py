"""The API as a process: configured by environment variables, stopped by a signal."""

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from clinic.settings import Settings
from clinic.telemetry import SHUTDOWN_SECONDS
from lab.stack.config import HOST
from performance.torture.fault_proxy import Fault, FaultProxy
from tests.support.clinic import unique_email
from tests.support.server import OTLPReceiver, serving, stop

JSON = {"content-type": "application/json"}


def test_a_shutdown_loses_no_span_and_no_measurement(settings: Settings) -> None:
    receiver = OTLPReceiver()
    with serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as (server, url):
        with httpx.Client(base_url=url) as client, ThreadPoolExecutor(8) as callers:
            statuses = list(callers.map(lambda _: register(client), range(700)))
            # OTLP cannot carry an ID beyond 64 bits.
            client.get(f"/owners/{2**63}")
        seconds, log = stop(server)

    assert statuses == [201] * 700
    spans = Counter(receiver.spans)
    del spans["connection wait"]
    assert spans == {
        "POST /owners": 700,
        "INSERT owner": 700,
        "GET /owners/{owner_id}": 1,
    }
    assert receiver.counts["http.server.request.duration"] == 701
    if sys.platform == "linux":
        assert receiver.counts["clinic.request.wait"] == 701
    assert seconds < 10
    assert [line for line in log if line["level"] != "INFO"] == []
    receiver.shutdown()
    receiver.server_close()


def register(client: httpx.Client) -> int:
    return client.post("/owners", json={"name": "Ana", "email": unique_email()}).status_code


@pytest.mark.parametrize(
    "fault", [Fault.AWAY, Fault.SILENT, Fault.UNAVAILABLE, Fault.GARBAGE, Fault.BROKEN]
)
def test_an_outage_of_the_receiver_affects_neither_answers_nor_shutdown(
    settings: Settings, fault: Fault
) -> None:
    """After it spans and metrics arrive without a restart."""
    receiver = OTLPReceiver()
    with FaultProxy(receiver.server_port) as proxy:
        endpoint = f"http://{HOST}:{proxy.port}"
        with serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as (server, url):
            with httpx.Client(base_url=url) as client:
                proxy.set(fault)
                statuses = [client.get("/owners?limit=1").status_code for _ in range(1500)]
                proxy.set(Fault.NONE)
                client.get("/pets/1")
                until(lambda: "GET /pets/{pet_id}" in receiver.spans)
                until(lambda: receiver.counts["http.server.request.duration"] == 1501)
            proxy.set(fault)
            httpx.get(f"{url}/owners")
            seconds, log = stop(server)
    receiver.shutdown()
    receiver.server_close()

    assert statuses == [200] * 1500
    assert seconds < SHUTDOWN_SECONDS + 20  # a busy machine needs some of it
    problems = [line for line in log if line["level"] in {"WARNING", "ERROR"}]
    assert problems or fault is Fault.GARBAGE  # which has status 200


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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


def test_more_processes_are_not_started_by_the_environment(settings: Settings) -> None:
    with serving(settings, WEB_CONCURRENCY="2", OTEL_SDK_DISABLED="true") as (server, url):
        children = psutil.Process(server.pid).children()
        broken = httpx.post(f"{url}/owners", content=b"\xff", headers=JSON)
        _, log = stop(server)

    assert children == []
    assert broken.status_code == 400
    assert {line["level"] for line in log} == {"INFO"}


RAW = {
    b"GET /owners HTTP/1.1\r\nHost: localhost\r\n\r\n": 200,
    b"GET /owners HTTP/1.0\r\nHost: localhost\r\n\r\n": 200,
    b"GET /owners HTTP/1.1\r\n\r\n": 400,
    b"GET /owners HTTP/1.1\r\nHost:\r\n\r\n": 400,
    b"GET /owners HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n": 400,
    b"GET /owners HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n": 400,
    b"GET /owners HTTP/1.1\r\nHost: evil.example\r\n\r\n": 421,
    b"GET http://localhost/owners HTTP/1.1\r\nHost: localhost\r\n\r\n": 200,
    b"GET http://evil.example/owners HTTP/1.1\r\nHost: localhost\r\n\r\n": 421,
    b"GET /owners HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 proxy\r\n\r\n": 403,
    b"GET /owners HTTP/1.1\r\nHost: localhost\r\nbaggage: %b\r\n\r\n" % (b"," * 40_000): 431,
    b"POST /appointments/1/cancel HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n": 403,
    b"POST /owners HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 9\r\n\r\n": 408,
}


def test_the_server_refuses_what_it_should(settings: Settings) -> None:
    receiver = OTLPReceiver()
    env = {"CLINIC_REQUEST_TIMEOUT": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    with serving(settings, **env) as (server, url):
        address = (HOST, httpx.URL(url).port or 0)
        statuses = {}
        for request in RAW:
            with socket.create_connection(address, timeout=10) as client:
                client.sendall(request)
                statuses[request] = int(client.recv(65536).split(b" ")[1])
        for _ in range(5):
            with socket.create_connection(address, timeout=10) as client:
                client.sendall([*RAW][-1] + b'{"na')
        time.sleep(0.2)
        _, log = stop(server)
    receiver.shutdown()
    receiver.server_close()

    assert statuses == RAW
    assert {line["level"] for line in log} == {"INFO"}
    assert sum("disconnected" in line["message"] for line in log) >= 5


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


def test_an_address_beyond_this_machine_is_refused_in_one_line() -> None:
    run = run_command(CLINIC_HOST="0.0.0.0")  # noqa: S104 it is refused

    assert run.returncode == 2
    assert "CLINIC_HOST: 0.0.0.0 is beyond this machine" in run.stderr.splitlines()[-1]


def test_help_names_the_commands_and_other_commands_are_refused() -> None:
    usage = run_command("--help")
    unknown = run_command("start")

    assert usage.returncode == 0
    assert {"serve", "migrate"} <= set(usage.stdout.split())
    assert unknown.returncode == 2
    assert "'start'" in unknown.stderr
