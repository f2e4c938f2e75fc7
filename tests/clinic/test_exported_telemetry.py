"""Everything that a set of requests exports, compared with a file: spans, events, links, metrics.

Write the file again with `GOLDEN=write uv run pytest tests/clinic/test_exported_telemetry.py`.
"""

import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sqlalchemy import text

from clinic.app import create_app
from clinic.database import Database
from clinic.settings import Settings
from tests.support.clinic import app_client, unique_email

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parent / "golden" / "telemetry.json"
TOKEN = {"authorization": "Bearer correct-horse-battery"}
RUN = {**TOKEN, "baggage": "k6.test_run_id=20261123-053249-load,k6.scenario=load"}
CALLER = 0xB7AD6B7169203331
PARENT = {"traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{CALLER:016x}-01"}
COMPARED_METRICS = ("http.server.", "db.client.connection.", "clinic.request.")


async def test_exported_spans_and_metrics_are_those_of_the_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    app = create_app(
        replace(settings, api_token="correct-horse-battery", pool_size=1, pool_timeout=1),
        exporter=spans,
        reader=metrics,
    )
    exported: dict[str, Any] = {}
    async with app.lifespan(), app_client(app) as client:
        database: Database = app.state.database
        await database.one(text("SELECT 1"))

        async def send(
            title: str, method: str, path: str, headers: dict[str, str], **options: Any
        ) -> Any:
            app.state.telemetry.flush()
            spans.clear()
            response = await client.request(method, path, headers=headers, **options)
            app.state.telemetry.flush()
            finished = spans.get_finished_spans()
            exported[title] = {
                "status": response.status_code,
                "headers": sorted(set(response.headers) & {"traceresponse", "server-timing"}),
                "spans": describe_spans(finished, has_waited="connection" in title),
            }
            return response.json() if response.content else None

        await send_usual(send)
        await send_refused(send)
        holding = asyncio.create_task(database.one(text("SELECT pg_sleep(0.8)")))
        await asyncio.sleep(0.05)
        await send("wait for a connection", "GET", "/owners", RUN)
        await holding
        holding = asyncio.create_task(database.one(text("SELECT pg_sleep(1.5)")))
        await asyncio.sleep(0.05)
        await send("no connection in time", "GET", "/owners", TOKEN)
        await holding

        async def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError

        monkeypatch.setattr(Database, "all", fail)
        await send("failure", "GET", "/owners", RUN)
        exported["metrics"] = describe_metrics(metrics)

    described = json.dumps(exported, indent=1, sort_keys=True) + "\n"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(described)
    assert described == GOLDEN.read_text()


async def send_usual(send: Any) -> None:
    owner = {"name": "Ana", "email": unique_email()}
    booking = {"scheduled_at": "2090-01-02T09:00:00Z", "reason": "check-up"}
    created = await send("POST in a run", "POST", "/owners", RUN, json=owner)
    path = f"/owners/{created['id']}"
    pet = await send("POST", "POST", f"{path}/pets", TOKEN, json={"name": "L", "species": "dog"})
    await send("booking", "POST", f"/pets/{pet['id']}/appointments", RUN, json=booking)
    once = {**RUN, "idempotency-key": unique_email().partition("@")[0]}
    await send("transaction", "POST", "/owners", once, json={**owner, "email": unique_email()})
    await send("GET", "GET", path, TOKEN)
    await send("GET in a run", "GET", f"{path}/pets", RUN)
    await send("query", "GET", "/owners?limit=7", TOKEN)
    await send("HEAD", "HEAD", path, RUN)
    await send("OPTIONS", "OPTIONS", path, TOKEN)
    await send("caller's trace", "GET", path, {**TOKEN, **PARENT})
    await send(
        "unsampled caller", "GET", path, {**TOKEN, "traceparent": f"00-{1:032x}-{1:016x}-00"}
    )
    await send("health", "GET", "/livez", TOKEN)
    await send("e-mail taken", "POST", "/owners", RUN, json=owner)


async def send_refused(send: Any) -> None:
    await send("no row", "GET", f"/owners/{2**63 - 1}", RUN)
    await send("larger than an ID", "GET", f"/owners/{2**63}", RUN)
    await send("invalid body", "POST", "/owners", RUN, json={"name": ""})
    await send("unknown path", "GET", "/people/ana@example.org", TOKEN)
    await send("unknown method", "BREW", "/owners", RUN)
    await send("other method", "PATCH", "/owners", TOKEN)
    await send("stranger", "GET", "/owners", {**PARENT, "baggage": RUN["baggage"]})


def describe_spans(spans: Sequence[ReadableSpan], *, has_waited: bool) -> list[dict[str, Any]]:
    names = {span.context.span_id: span.name for span in spans if span.context}
    names[CALLER] = "caller"
    return [
        {
            "name": span.name,
            "kind": span.kind.name,
            "parent": names[span.parent.span_id] if span.parent else None,
            "status": [span.status.status_code.name, span.status.description],
            "attributes": describe_attributes(dict(span.attributes or {})),
            "events": [
                {
                    event.name: {**dict(event.attributes or {}), "exception.stacktrace": "frames"},
                }
                for event in span.events
            ],
            "links": [names[link.context.span_id] for link in span.links],
            "scope": span.instrumentation_scope.name if span.instrumentation_scope else None,
        }
        for span in spans
        if has_waited or span.kind is not SpanKind.INTERNAL  # on a busy machine
    ]


def describe_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Replace what differs from run to run, and statements, which other tests compare."""
    attributes.pop("clinic.event_loop.late", None)  # on a busy machine
    if "db.query.text" in attributes:
        sql = attributes.pop("db.query.text")
        assert attributes.pop("clinic.statement_id") == f"{crc32(sql.encode()):08x}"
        assert isinstance(attributes.pop("server.port"), int)
    for name, value in attributes.items():
        if name.endswith(".id") and name.startswith("clinic."):
            assert isinstance(value, int)
            attributes[name] = "ID"
        elif name == "url.path":
            attributes[name] = re.sub(r"\d+", "ID", value)
    return attributes


def describe_metrics(metrics: InMemoryMetricReader) -> list[dict[str, Any]]:
    data = metrics.get_metrics_data()
    assert data is not None
    described = [
        {
            "name": metric.name,
            "unit": metric.unit,
            "description": metric.description,
            "points": sorted(
                (describe_point(point) for point in metric.data.data_points), key=json.dumps
            ),
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name.startswith(COMPARED_METRICS)
    ]
    return sorted(described, key=json.dumps)


def describe_point(point: Any) -> dict[str, Any]:
    attributes = dict(point.attributes)
    if not hasattr(point, "count"):
        return {"attributes": attributes}
    assert not any(exemplar.filtered_attributes for exemplar in point.exemplars)
    assert point.zero_count + sum(point.positive.bucket_counts) == point.count
    return {
        "attributes": attributes,
        "count": point.count,
        "has_exemplars": bool(point.exemplars),
    }
