"""Measure what telemetry costs: the CPU time of a request with and without it, and the ratio.

Both apps run in one process and take turns, so that other load on the machine affects both alike.
Spans pass the batch processor and are then discarded: encoding and export are not measured.
"""

import os
import statistics
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import uvloop
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from clinic.app import create_app
from clinic.settings import Settings
from tests.support.clinic import app_client, migrated_database

REQUESTS = 1000
ROUNDS = 9
BAGGAGE = b"k6.test_run_id=20261123-053249-load,k6.scenario=load"


class DiscardingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


async def cost(app: Litestar, path: str) -> float:
    """Return the CPU seconds per request of the app alone, without client and server."""
    started = time.process_time()
    for _ in range(REQUESTS):
        scope: Any = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"clinic"), (b"baggage", BAGGAGE)],
            "scheme": "http",
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 49152),
            "root_path": "",
            "state": {},
        }
        await app(scope, receive, send)
    return (time.process_time() - started) / REQUESTS


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    if message.get("status", HTTPStatus.OK) != HTTPStatus.OK:
        raise RuntimeError(f"expected status 200, got {message}")


async def compare(settings: Settings) -> None:
    """Run both apps in turns and print the CPU time of each and their ratio."""
    traced = create_app(settings, exporter=DiscardingExporter(), reader=InMemoryMetricReader())
    plain = create_app(settings)
    async with traced.lifespan():
        os.environ["OTEL_SDK_DISABLED"] = "true"
        async with plain.lifespan():
            async with app_client(plain) as client:
                owner = {"name": "Ana", "email": "ana@example.org"}
                path = (await client.post("/owners", json=owner)).headers["location"]
            await cost(traced, path), await cost(plain, path)
            rounds = [(await cost(traced, path), await cost(plain, path)) for _ in range(ROUNDS)]
    for name, seconds in zip(("traced", "plain"), zip(*rounds, strict=True), strict=True):
        print(f"{name:<7} {statistics.median(seconds) * 1e6:6.0f} µs of CPU time per request")
    low, *_, high = ratios = sorted(traced / plain for traced, plain in rounds)
    ratio = statistics.median(ratios)
    print(f"ratio   {ratio:6.2f}  ({low:.2f} to {high:.2f}, {ROUNDS} rounds)")


if __name__ == "__main__":
    with migrated_database() as settings:
        uvloop.run(compare(settings))
