"""Lean spans, compared with those of OpenTelemetry's SDK."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_all
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from clinic.telemetry.encoding import encode_spans
from clinic.telemetry.spans import LeanSpan, LeanTracerProvider

STATE = TraceState([("vendor", "value")])
REMOTE = [
    SpanContext(0xA << 60, 0xB, is_remote=True, trace_flags=TraceFlags(flags), trace_state=STATE)
    for flags in range(4)
]
SAMPLERS: list[Sampler] = [
    DEFAULT_ON,
    ALWAYS_ON,
    ALWAYS_OFF,
    ParentBased(TraceIdRatioBased(0.5)),
    TraceIdRatioBased(0.5),
    StaticSampler(Decision.RECORD_ONLY),
]


class Counting(IdGenerator):
    """Generates the same IDs each time, half of them below the bound of a sampler of a half."""

    def __init__(self) -> None:
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        self.last += 1
        return self.last << 63 | 1

    def is_trace_id_random(self) -> bool:
        return self.last % 4 < 2


def exported(kind: type[TracerProvider], sampler: Sampler) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = kind(
        sampler,
        Resource({"service.name": "clinic"}),
        id_generator=Counting(),
        span_limits=SpanLimits(max_events=2, max_links=2),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("clinic", "1", "https://example.org/schema")
    for remote in [None, *REMOTE]:
        parent = set_span_in_context(NonRecordingSpan(remote)) if remote else None
        for number in range(6):
            trace_request(tracer, parent, number)
    return exporter.get_finished_spans()


def trace_request(tracer: Tracer, parent: Any, number: int) -> None:
    attributes: dict[str, Any] = {"number": number, "text": "ñ", "share": 0.5, "is_run": True}
    link = Link(REMOTE[0], {"a": "b"})
    server = tracer.start_span(
        "GET", parent, SpanKind.SERVER, attributes, [link] * (number % 4), start_time=1
    )
    server.set_attribute("number", -1)
    child = tracer.start_span("SELECT", set_span_in_context(server), start_time=number)
    child.set_attributes({"a": "b", "c": 1})
    for at in range(number):
        child.add_event("event", {"at": at}, timestamp=at)
        child.add_link(REMOTE[1])
    child.set_status(Status(StatusCode.ERROR, "why") if number % 2 else StatusCode.OK)
    child.update_name("INSERT")
    grandchild = tracer.start_span("wait", set_span_in_context(child), start_time=3)
    grandchild.end(4)
    child.end(5)
    server.end(6)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=Sampler.get_description)
def test_a_lean_span_is_what_the_sdks_would_be(sampler: Sampler) -> None:
    expected = exported(TracerProvider, sampler)
    actual = exported(LeanTracerProvider, sampler)

    assert {type(span) for span in actual} <= {LeanSpan}
    assert [describe(span) for span in actual] == [describe(span) for span in expected]
    if actual:
        encoded = ExportTraceServiceRequest.FromString(encode_spans(actual))
        assert encoded == encode_all(actual)


def describe(span: ReadableSpan) -> Any:
    assert span.context is not None
    return {
        **json.loads(span.to_json()),
        "times": (span.start_time, span.end_time),
        "flags": span.context.trace_flags,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": span.instrumentation_scope,
    }


def test_an_ended_span_does_not_change(caplog: pytest.LogCaptureFixture) -> None:
    exporter = InMemorySpanExporter()
    provider = LeanTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("clinic").start_span("GET", attributes={"a": 1})
    span.end(10**18)

    with caplog.at_level(logging.WARNING):
        span.set_attribute("a", 2)
        span.set_attributes({"b": 2})
        span.add_event("late")
        span.set_status(StatusCode.ERROR)
        span.end()

    (ended,) = exporter.get_finished_spans()
    assert not span.is_recording()
    assert (ended.end_time, ended.events, ended.status.status_code) == (
        10**18,
        (),
        StatusCode.UNSET,
    )
    assert dict(ended.attributes or {}) == {"a": 1}
    assert len(caplog.records) == 5


def test_a_span_is_the_current_one_and_records_an_exception() -> None:
    exporter = InMemorySpanExporter()
    provider = LeanTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("clinic")

    def fail() -> None:
        with tracer.start_as_current_span("outer"):
            tracer.start_span("inner").end()
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        fail()

    inner, ended = exporter.get_finished_spans()
    assert inner.parent == ended.context
    assert [event.name for event in ended.events] == ["exception"]
    assert ended.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpanLimits(), {"a": "abc", "b": 1}),
        (SpanLimits(max_span_attributes=1), {"b": 1}),
        (SpanLimits(max_span_attribute_length=2), {"a": "ab", "b": 1}),
    ],
    ids=["none", "number", "length"],
)
def test_limits_of_attributes_are_kept(limits: SpanLimits, kept: dict[str, Any]) -> None:
    provider = LeanTracerProvider(span_limits=limits, shutdown_on_exit=False)

    span: Any = provider.get_tracer("clinic").start_span("GET", attributes={"a": "abc", "b": 1})

    assert span.attributes == kept
    assert isinstance(span, LeanSpan) == (len(kept) == 2 and kept["a"] == "abc")
