"""How long requests wait for the event loop, measured over real connections."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from clinic.telemetry.arrival import HTTPProtocol, measure_waits
from lab.stack.config import HOST
from tests.support.metrics import points

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs TCP_INFO of Linux")


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


@contextmanager
def serving() -> Iterator[tuple[httpx.Client, asyncio.AbstractEventLoop]]:
    """Serve an app in a thread; yield a client of it and its event loop."""
    config = uvicorn.Config(answer, HOST, 0, http=HTTPProtocol, log_config=None)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "not ready after 30 s"
            time.sleep(0.01)
        listener: asyncio.Server = server.servers[0]
        port = listener.sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://{HOST}:{port}") as client:
            yield client, listener.get_loop()
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def metrics() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    with measure_waits(MeterProvider([reader]).get_meter("clinic")):
        yield reader


@pytest.mark.parametrize("connection", ["new", "idle"])
def test_a_request_waits_while_the_event_loop_is_blocked(
    metrics: InMemoryMetricReader, connection: str
) -> None:
    with serving() as (client, loop):
        if connection == "idle":
            client.get("/livez")
            time.sleep(0.3)
        loop.call_soon_threadsafe(time.sleep, 0.2)
        time.sleep(0.08)
        client.get("/owners")

    (waits,) = points(metrics, "clinic.request.wait")
    assert waits.count == 1
    assert 0.05 < waits.sum < 0.2
    assert waits.attributes == {}


def test_requests_hardly_wait_for_an_idle_event_loop(metrics: InMemoryMetricReader) -> None:
    with serving() as (client, _):
        for _ in range(100):
            client.get("/owners?limit=1")

    (waits,) = points(metrics, "clinic.request.wait")
    assert waits.count == 100
    assert waits.sum / waits.count < 0.01


def test_health_checks_are_not_counted(metrics: InMemoryMetricReader) -> None:
    with serving() as (client, _):
        statuses = [client.get(path).status_code for path in ("/livez", "/readyz", "/readyz?a=b")]

    assert statuses == [204, 204, 204]
    assert metrics.get_metrics_data() is None


def test_nothing_is_measured_without_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[object] = []
    monkeypatch.setattr(HTTPProtocol, "seconds_since_arrival", measured.append)

    with serving() as (client, _):
        status = client.get("/owners").status_code

    assert status == 204
    assert measured == []
