from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_all
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from clinic.telemetry import encoding

USUAL: dict[str, Any] = {
    "http.route": "/owners",
    "http.response.status_code": 200,
    "db.seconds": 0.25,
}
VALUES: list[Any] = [
    "",
    "Ñandú 🐕",
    "x" * 127,
    "x" * 128,
    "x" * 20_000,
    0,
    -1,
    2**63 - 1,
    2**63,
    True,
    False,
    1,
    1.0,
    -0.0,
    float("inf"),
    b"\xff",
    None,
    ["a", "b"],
    [1, 1.0, True],
    {"a": {"b": [1]}},
    "lone \ud800 surrogate",
]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(
        resource=Resource({"service.name": "clinic"}, "https://example.org/resource"),
        span_limits=SpanLimits(max_span_attributes=20, max_events=2, max_links=2),
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def assert_equal(spans: tuple[ReadableSpan, ...]) -> None:
    encoded = ExportTraceServiceRequest.FromString(encoding.encode_spans(spans))
    assert encoded == encode_all(spans)


def test_usual_spans_are_encoded_as_by_the_exporter(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(_: ReadableSpan) -> bytes:
        raise AssertionError("expected no rare span")

    monkeypatch.setattr(encoding, "encode_rare", unexpected)
    tracers = [
        provider.get_tracer("clinic", "1"),
        provider.get_tracer("asgi", schema_url="https://example.org/schema"),
    ]
    remote = SpanContext(2**128 - 1, 2**64 - 1, is_remote=True, trace_flags=TraceFlags(1))
    parents = [None, set_span_in_context(NonRecordingSpan(remote))]
    for number in range(300):
        parent = parents[number % 2]
        span = tracers[number % 3 % 2].start_span(
            f"GET {number % 7}", parent, list(SpanKind)[number % 5], {**USUAL, "number": number}
        )
        child = tracers[0].start_span("SELECT", set_span_in_context(span))
        child.set_status(Status(StatusCode.ERROR, "why" if number % 2 else None))
        child.end()
        span.set_status(StatusCode.OK)
        span.end()

    assert_equal(exporter.get_finished_spans())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_attributes_of_any_kind_are_encoded_as_by_the_exporter(
    provider: TracerProvider, exporter: InMemorySpanExporter, value: Any
) -> None:
    tracer = provider.get_tracer("clinic")
    for attributes in ({**USUAL, "value": value}, {"value": value, "again": value}, {}):
        tracer.start_span("GET", attributes=attributes).end()

    assert_equal(exporter.get_finished_spans())


def test_equal_values_of_different_types_stay_different(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    for value in (1, True, 1.0, "1", 0, False, 0.0, -0.0):
        provider.get_tracer("clinic").start_span("GET", attributes={"value": value}).end()

    assert_equal(exporter.get_finished_spans())


def test_rare_spans_are_encoded_as_by_the_exporter(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    tracer = provider.get_tracer("clinic", attributes={"a": 1})
    stated = SpanContext(1, 2, is_remote=True, trace_state=TraceState([("vendor", "value")]))
    parent = set_span_in_context(NonRecordingSpan(stated))
    link = Link(stated, {"a": "b"})
    tracer.start_span("state", parent).end()
    tracer.start_span("links", links=[link, link, link]).end()
    tracer.start_span("dropped attributes", attributes={f"{i}": i for i in range(30)}).end()
    with pytest.raises(ValueError, match="why"), tracer.start_as_current_span("exception"):
        raise ValueError("why")
    span = tracer.start_span("events")
    for number in range(3):
        span.add_event("event", {"number": number}, timestamp=number)
    span.end()

    assert_equal(exporter.get_finished_spans())


@pytest.fixture
def in_use() -> Iterator[None]:
    encoding.use_encoding()
    yield
    exporter: Any = trace_exporter
    exporter.encode_spans = encode_all


@pytest.mark.usefixtures("in_use")
def test_the_exporter_uses_the_encoding(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.get_tracer("clinic").start_span("GET", attributes=USUAL).end()
    spans = exporter.get_finished_spans()
    otlp = trace_exporter.OTLPSpanExporter()
    sent: list[bytes] = []

    class Sent:
        success = True

    def send(body: bytes, *_: Any, **__: Any) -> Sent:
        sent.append(body)
        return Sent()

    monkeypatch.setattr(otlp._client, "export", send)  # noqa: SLF001 the exporter has no other place to look at

    otlp.export(spans)

    assert sent == [encoding.encode_spans(spans)]
