"""The API stops in time and fails no request, whatever its database and its clients do."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest
from sqlalchemy import make_url

from clinic.settings import Settings
from clinic.telemetry import SHUTDOWN_SECONDS
from performance.torture.fault_proxy import Fault, FaultProxy
from tests.support.clinic import unique_email
from tests.support.server import OTLPReceiver, serving

pytestmark = pytest.mark.anyio

SLOW_SECONDS = 4
# Without workers uvicorn ends by the signal that it got, once everything is done.
ENDED = {0, -signal.SIGTERM}


@pytest.fixture
def receiver() -> Iterator[OTLPReceiver]:
    receiver = OTLPReceiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


async def register(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/owners", json={"name": "Ana", "email": unique_email()})


async def ended(server: subprocess.Popen[str]) -> float:
    """Wait for the end of the API, and return the seconds that it took."""
    started = time.monotonic()
    await asyncio.to_thread(server.communicate, timeout=60)
    return time.monotonic() - started


@asynccontextmanager
async def slow_owners(settings: Settings, seconds: float) -> AsyncIterator[None]:
    """Let every INSERT of an owner take some seconds."""
    connection = await asyncpg.connect(settings.database_url.replace("+asyncpg", ""))
    try:
        await connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({seconds}); RETURN new; END $$; "
            "CREATE TRIGGER slow BEFORE INSERT ON owner FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        yield
    finally:
        await connection.execute("DROP FUNCTION slow CASCADE")
        await connection.close()


@pytest.mark.parametrize("signals", [1, 3])
async def test_a_slow_request_at_a_stop_is_answered_and_traced(
    settings: Settings, receiver: OTLPReceiver, signals: int
) -> None:
    """A second signal does not cut it short."""
    with serving(settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as (server, url):
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            slow_owners(settings, SLOW_SECONDS),
        ):
            requests = [asyncio.create_task(register(client)) for _ in range(5)]
            await asyncio.sleep(1)
            for _ in range(signals):
                server.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.1)
            statuses = [(await request).status_code for request in requests]
        await ended(server)

    assert statuses == [201] * 5
    assert server.returncode in ENDED
    assert receiver.spans.count("POST /owners") == receiver.spans.count("INSERT owner") == 5


async def test_a_request_that_is_too_slow_at_a_stop_gets_503_and_is_traced(
    settings: Settings, receiver: OTLPReceiver
) -> None:
    env = {"CLINIC_STATEMENT_TIMEOUT": "2", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    with serving(settings, **env) as (server, url):
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            slow_owners(settings, 2 * SLOW_SECONDS),
        ):
            requests = [asyncio.create_task(register(client)) for _ in range(5)]
            await asyncio.sleep(1)
            server.send_signal(signal.SIGTERM)
            responses = [await request for request in requests]
            await ended(server)

    assert [response.status_code for response in responses] == [503] * 5
    assert all(int(response.headers["retry-after"]) > 0 for response in responses)
    assert receiver.spans.count("POST /owners") == receiver.spans.count("INSERT owner") == 5


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.SILENT])
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_while_postgresql_is_away_takes_no_longer_than_stated(
    settings: Settings, receiver: OTLPReceiver, fault: Fault, workers: str
) -> None:
    address = make_url(settings.database_url)
    with FaultProxy(address.port or 0) as proxy:
        through = address.set(port=proxy.port).render_as_string(hide_password=False)
        env = {
            "CLINIC_DATABASE_URL": through,
            "CLINIC_STATEMENT_TIMEOUT": "2",
            "CLINIC_WORKERS": workers,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        }
        with serving(settings, **env) as (server, url):
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                assert (await register(client)).status_code == 201
                proxy.set(fault)
                requests = [asyncio.create_task(register(client)) for _ in range(5)]
                await asyncio.sleep(1)
                server.send_signal(signal.SIGTERM)
                stopping = asyncio.create_task(ended(server))
                statuses = [(await request).status_code for request in requests]
                seconds = await stopping

    assert statuses == [503] * 5
    assert seconds < 2 + SHUTDOWN_SECONDS + 2
    assert server.returncode in ENDED
    assert receiver.spans.count("POST /owners") == 6
