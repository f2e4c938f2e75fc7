"""What telemetry costs a request: `just bench` prints the ratio of its CPU time with and without.

Both apps live in one process and take turns, so that whatever else the machine does meets both.
Spans go through the batching queue and are then thrown away: encoding and sending come on top.
"""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import uvloop
from litestar import Litestar
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from clinic.app import create_app
from clinic.settings import Settings
from tests.conftest import caller, fresh_database

REQUESTS = 1000
ROUNDS = 9
BAGGAGE = b"k6.test_run_id=20261123-053249-load,k6.scenario=load"


class Nowhere(SpanExporter):
    """Takes every span and keeps none."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


async def cost(app: Litestar, path: str) -> float:
    """Return the CPU seconds of a request, without those of a client or a server around it."""
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
    assert message.get("status", 200) == 200


async def compare(settings: Settings) -> None:
    """Let both apps answer in turns and print what each took."""
    traced = create_app(settings, exporter=Nowhere(), reader=InMemoryMetricReader())
    plain = create_app(settings)
    async with traced.lifespan():
        os.environ["OTEL_SDK_DISABLED"] = "true"
        async with plain.lifespan():
            async with caller(plain) as client:
                owner = {"name": "Ana", "email": "ana@example.org"}
                path = (await client.post("/owners", json=owner)).headers["location"]
            await cost(traced, path), await cost(plain, path)
            rounds = [(await cost(traced, path), await cost(plain, path)) for _ in range(ROUNDS)]
    for name, seconds in zip(("traced", "plain"), zip(*rounds, strict=True), strict=True):
        print(f"{name:<7} {statistics.median(seconds) * 1e6:6.0f} us of CPU a request")
    ratios = sorted(traced / plain for traced, plain in rounds)
    middle = statistics.median(ratios)
    print(f"ratio   {middle:6.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f}, {ROUNDS} rounds)")


if __name__ == "__main__":
    with fresh_database() as settings:
        uvloop.run(compare(settings))
