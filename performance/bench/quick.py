"""Compare the CPU time of a request to the floor, the clinic and the traced clinic, in one process.

They take turns, so that other load on the machine affects all alike. Spans pass the batch processor
and are then discarded: encoding and export are not measured.
"""

import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from unittest import mock

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from clinic.app import create_app
from clinic.settings import Settings
from performance.bench.floor import Floor
from tests.support.clinic import app_client, http_scope, unique_email

REQUESTS = 300
BAGGAGE = b"k6.test_run_id=20261123-053249-load,k6.scenario=load"


class DiscardingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


async def cpu_seconds(app: Any, path: str) -> float:
    """Return the CPU time of requests to the app alone, without client and server."""
    began = time.process_time()
    for _ in range(REQUESTS):
        scope = http_scope("GET", path, (b"baggage", BAGGAGE))
        await app(scope, receive, send)
    return time.process_time() - began


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    if message.get("status", HTTPStatus.OK) != HTTPStatus.OK:
        raise RuntimeError(f"expected status 200, got {message}")


async def measure(settings: Settings, rounds: int) -> list[tuple[float, float, float]]:
    """Return the CPU seconds of the floor, the clinic and the traced clinic in each round."""
    floor = Floor()
    traced = create_app(settings, exporter=DiscardingExporter(), reader=InMemoryMetricReader())
    clinic = create_app(settings)
    async with traced.lifespan():
        with mock.patch.dict(os.environ, OTEL_SDK_DISABLED="true"):
            async with clinic.lifespan(), app_client(clinic) as client:
                owner = await client.post("/owners", json={"name": "Ana", "email": unique_email()})
                path = f"{owner.headers['location']}/pets"
                await client.post(path, json={"name": "Luna", "species": "dog"})
                await floor.start(settings.database_url)
                result = [
                    (
                        await cpu_seconds(floor, path),
                        await cpu_seconds(clinic, path),
                        await cpu_seconds(traced, path),
                    )
                    for _ in range(rounds + 1)
                ]
                await floor.pool.close()
    return result[1:]
