"""The API in several processes: `CLINIC_WORKERS`."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import psutil
import pytest

from clinic.settings import Settings
from performance.torture.stops import send_until_closed
from tests.support.clinic import unique_email
from tests.support.server import OTLPReceiver, serving, stop

BROKEN_START = """
from clinic.telemetry import Telemetry

def start(self):
    raise ValueError("broken")

Telemetry.start = start
"""
UNTRACED = {"OTEL_SDK_DISABLED": "true"}


@contextmanager
def serving_workers(
    settings: Settings, count: int = 2, /, **env: str
) -> Iterator[tuple[subprocess.Popen[str], str, list[psutil.Process]]]:
    """Run the API in several processes, of which each accepts connections."""
    with serving(settings, CLINIC_WORKERS=str(count), **env) as (server, url):
        workers = listening(server, count)
        try:
            yield server, url, workers
        finally:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()


def listening(server: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Wait until so many workers listen."""

    def found() -> list[psutil.Process]:
        return [it for it in psutil.Process(server.pid).children() if listens(it)]

    until(lambda: len(found()) == count)
    return found()


def listens(process: psutil.Process) -> bool:
    try:
        return any(it.status == psutil.CONN_LISTEN for it in process.net_connections())
    except psutil.Error:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def connections_of(process: psutil.Process) -> int:
    return sum(it.status == psutil.CONN_ESTABLISHED for it in process.net_connections())


@contextmanager
def open_connections(url: str, count: int) -> Iterator[list[httpx.Client]]:
    """Keep connections open, each of which has had a response."""
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=url)) for _ in range(count)]
        assert {client.get("/livez").status_code for client in clients} == {200}
        yield clients


def test_every_worker_answers_logs_and_exports_as_one_process_does(settings: Settings) -> None:
    receiver = OTLPReceiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    with serving_workers(settings, **env) as (server, url, workers):
        with open_connections(url, 40) as clients, ThreadPoolExecutor(8) as callers:
            statuses = list(callers.map(register, clients * 10))
            broken = list(callers.map(post_malformed, clients))
            ready = {client.get("/readyz").status_code for client in clients}
        if sys.platform == "linux":
            processes = (psutil.Process(server.pid), *workers)
            until(lambda: reports_memory(receiver, processes))
            shared = [it.memory_full_info() for it in processes]
            # The parent and its two workers need less than two processes that share nothing.
            assert sum(it.pss for it in shared) < sum(it.rss for it in shared[1:])
        seconds, log = stop(server)
    receiver.shutdown()
    receiver.server_close()

    assert statuses == [201] * 400
    assert {response.status_code for response in broken} == {400}
    assert {response.headers["content-type"] for response in broken} == {"application/problem+json"}
    assert ready == {200}
    spans = [name for name in receiver.spans if name != "connection wait"]
    assert (spans.count("POST /owners"), spans.count("INSERT owner")) == (440, 400)
    assert len(receiver.trace_ids) == 440
    assert receiver.counts["http.server.request.duration"] == 440
    assert len(receiver.spans_of) == len(receiver.counts_of) == 2
    assert min(receiver.spans_of.values()) > 100
    assert [line for line in log if line["level"] != "INFO"] == []
    messages = [line["message"] for line in log]
    assert sum(message.startswith("Started server process") for message in messages) == 2
    assert sum("workers listen on" in message for message in messages) == 1
    assert server.returncode == 0
    assert seconds < 10


def reports_memory(receiver: OTLPReceiver, processes: Iterable[psutil.Process]) -> bool:
    """Say whether the workers report what all processes use; memory that they share counts once."""
    in_all = sum(it.memory_full_info().pss for it in processes)
    return sum(receiver.memory_of.values()) == pytest.approx(in_all, rel=0.1)


def register(client: httpx.Client) -> int:
    return client.post("/owners", json={"name": "Ana", "email": unique_email()}).status_code


def post_malformed(client: httpx.Client) -> httpx.Response:
    return client.post("/owners", content=b"\xff", headers={"content-type": "application/json"})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux distributes connections")
def test_connections_are_distributed_over_the_workers(settings: Settings) -> None:
    with (
        serving_workers(settings, **UNTRACED) as (_, url, workers),
        open_connections(url, 100),
    ):
        held = [connections_of(worker) for worker in workers]

    assert sum(held) >= 100
    assert min(held) >= 25  # by chance less once in a million times


@pytest.mark.anyio
async def test_requests_in_progress_are_answered_at_a_stop(settings: Settings) -> None:
    dsn = settings.database_url.replace("+asyncpg", "")
    with serving_workers(settings, **UNTRACED) as (server, url, workers):
        connection = await asyncpg.connect(dsn)
        async with httpx.AsyncClient(base_url=url) as client:
            async with connection.transaction():
                await connection.execute("LOCK TABLE owner IN EXCLUSIVE MODE")
                requests = [
                    asyncio.create_task(
                        client.post("/owners", json={"name": "Ana", "email": unique_email()})
                    )
                    for _ in range(16)
                ]
                await asyncio.sleep(1)
                server.send_signal(signal.SIGTERM)
                await asyncio.sleep(1)
                serving_still = [worker.is_running() for worker in workers]
            statuses = [(await request).status_code for request in requests]
        await connection.close()
        server.wait(30)

    assert serving_still == [True, True]
    assert statuses == [201] * 16
    assert [worker.is_running() for worker in workers] == [False, False]


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 2])
async def test_a_stop_fails_no_request_of_busy_clients(settings: Settings, count: int) -> None:
    """Each learns from its last response that the connection ends."""
    receiver = OTLPReceiver()
    env = {"CLINIC_WORKERS": str(count), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    with serving(settings, **env) as (server, url):
        await asyncio.sleep(1)
        clients = [
            asyncio.create_task(send_until_closed(httpx.URL(url).port or 0)) for _ in range(10)
        ]
        await asyncio.sleep(1)
        server.send_signal(signal.SIGTERM)
        answered = [await client for client in clients]
        await asyncio.to_thread(server.wait, 30)
    receiver.shutdown()
    receiver.server_close()

    assert min(answered) > 0
    assert receiver.spans.count("GET /owners") == sum(answered)


def test_a_worker_that_dies_is_replaced_while_the_others_serve(settings: Settings) -> None:
    with serving_workers(settings, **UNTRACED) as (server, url, workers):
        for _ in range(2):
            first, second = listening(server, 2)
            with open_connections(url, 20) as clients:
                # New connections to the dead worker wait for its successor.
                first.kill()
                first.wait(10)
                assert all(client.get("/livez").status_code == 200 for client in clients)
                assert second.is_running()
            until_replaced(server, first)
        listening(server, 2)
        with open_connections(url, 20):
            pass
        _, log = stop(server)

    ends = [line["message"] for line in log if line["level"] == "ERROR"]
    assert [message.partition(" (")[2] for message in ends] == ["Killed): started again"] * 2
    assert f"Worker {workers[0].pid} " in ends[0]
    assert server.returncode == 0


def until_replaced(server: subprocess.Popen[str], worker: psutil.Process) -> None:
    until(lambda: worker.pid not in pids(server) and len(pids(server)) == 2)


def pids(server: subprocess.Popen[str]) -> set[int]:
    return {it.pid for it in psutil.Process(server.pid).children() if listens(it)}


def test_a_worker_that_is_halted_is_replaced(settings: Settings) -> None:
    with serving_workers(settings, CLINIC_STATEMENT_TIMEOUT="1", **UNTRACED) as (
        server,
        url,
        (first, second),
    ):
        first.suspend()
        until_replaced(server, first)
        with open_connections(url, 20):
            pass
        survivors = pids(server)
        _, log = stop(server)

    assert second.pid in survivors
    assert [line["message"] for line in log if line["level"] == "ERROR"] == [
        f"Worker {first.pid} does not respond: killed",
        f"Worker {first.pid} ended (Killed): started again",
    ]


def test_a_worker_that_does_not_stop_is_killed(settings: Settings) -> None:
    with serving_workers(settings, CLINIC_STATEMENT_TIMEOUT="1", **UNTRACED) as (
        server,
        _,
        (first, _second),
    ):
        first.suspend()
        _, log = stop(server)

    assert not first.is_running()
    assert [line["message"] for line in log if line["level"] == "ERROR"] == [
        f"Worker {first.pid} does not stop: killed"
    ]


def test_workers_do_not_outlive_a_parent_that_is_killed(settings: Settings) -> None:
    receiver = OTLPReceiver()
    with serving_workers(settings, 3, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as (
        server,
        url,
        workers,
    ):
        with httpx.Client(base_url=url) as client:
            statuses = [register(client) for _ in range(10)]
        server.kill()
        server.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        receiver.shutdown()
        receiver.server_close()

    assert alive == []
    assert statuses == [201] * 10
    assert receiver.spans.count("POST /owners") == 10


def test_one_interrupt_from_the_terminal_stops_all(settings: Settings) -> None:
    with serving_workers(settings, **UNTRACED) as (server, url, workers), open_connections(url, 8):
        for process in (psutil.Process(server.pid), *workers):
            process.send_signal(signal.SIGINT)
        output, _ = server.communicate(timeout=30)

    assert server.returncode == 0
    assert not any(worker.is_running() for worker in workers)
    assert {json.loads(line)["level"] for line in output.splitlines()} == {"INFO"}


@pytest.mark.parametrize("count", ["1", "3"])
def test_a_port_that_is_taken_is_reported_once(settings: Settings, count: str) -> None:
    with serving_workers(settings, **UNTRACED) as (_, url, _workers):
        second = run_clinic(
            settings, CLINIC_WORKERS=count, CLINIC_PORT=str(httpx.URL(url).port), **UNTRACED
        )

    assert second.returncode == 3
    errors = [line for line in map(json.loads, second.stdout.splitlines()) if is_error(line)]
    assert len(errors) == 1
    assert "address already in use" in errors[0]["message"].lower()


@pytest.mark.parametrize("count", ["1", "3"])
def test_a_start_that_fails_in_a_worker_is_reported_once(
    settings: Settings, count: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN_START)
    run = run_clinic(settings, CLINIC_WORKERS=count, CLINIC_PORT="0", PYTHONPATH=str(tmp_path))

    assert run.returncode == 3
    messages = [line["message"] for line in map(json.loads, run.stdout.splitlines())]
    assert sum(message.startswith("Started server process") for message in messages) == 1
    assert sum("startup failed" in message for message in messages) == 1


def run_clinic(settings: Settings, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clinic"],
        env={"CLINIC_DATABASE_URL": settings.database_url, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def is_error(line: dict[str, str]) -> bool:
    return line["level"] == "ERROR"


def test_every_address_of_a_name_is_served(settings: Settings) -> None:
    with serving_workers(settings, CLINIC_HOST="localhost", **UNTRACED) as (_, url, workers):
        port = httpx.URL(url).port
        hosts = {str(it[4][0]) for it in socket.getaddrinfo("localhost", port)}
        bound = [{it.laddr.ip for it in worker.net_connections()} for worker in workers]

    assert bound == [hosts, hosts]
