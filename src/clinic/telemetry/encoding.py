"""Encode spans as OTLP, with a cache of encoded attributes.

Spans share nearly all attributes: operation, statement, run. Encoding by OpenTelemetry's exporter
took a fifth of the CPU time of a traced request, and made the event loop wait for the GIL; this
module needs a tenth of that. A test compares the results. Spans with rare fields, such as events,
are encoded by the exporter.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_all
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from clinic.telemetry.spans import LeanSpan

VALUES = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
IDS = Struct(">BB16sBBQ")
PARENT = Struct(">BBQ")
TIMES = Struct("<BQBQ")
TRACE_ID, SPAN_ID, PARENT_ID = 1 << 3 | 2, 2 << 3 | 2, 4 << 3 | 2
LOCAL: int = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
REMOTE: int = LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
START, END = 7 << 3 | 1, 8 << 3 | 1
SEVEN_BITS = 0x7F


class Request:
    """An export request, with the one method that the exporter calls."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self.spans = spans

    def SerializePartialToString(self) -> bytes:  # noqa: N802 protobuf's name
        return encode_spans(self.spans)


def use_encoding() -> None:
    """Make OpenTelemetry's exporter encode spans with this module."""
    exporter: Any = trace_exporter
    exporter.encode_spans = Request


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return an encoded ExportTraceServiceRequest; all spans have the same resource."""
    scopes: dict[InstrumentationScope | None, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        scopes[span.instrumentation_scope].append(span)
    (resource,) = encode_all([first for first, *_ in scopes.values()]).resource_spans
    parts = []
    for scope, members in zip(resource.scope_spans, scopes.values(), strict=True):
        scope.ClearField("spans")
        encoded = [field(2, encode_span(span)) for span in members]
        parts.append(field(2, serialize(scope) + b"".join(encoded)))
    resource.ClearField("scope_spans")
    return field(1, serialize(resource) + b"".join(parts))


def encode_span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    attributes: Any = span.attributes
    rare = span.has_lists if type(span) is LeanSpan else has_rare_fields(span)
    if rare or context is None or context.trace_state:
        return encode_rare(span)
    flags = REMOTE if parent and parent.is_remote else LOCAL
    status = span.status
    try:
        encoded = [
            (encode_new if type(value) is float else encode_known)(name, value)
            for name, value in attributes.copy().items()
        ]
    except (KeyError, TypeError, ValueError):  # a value that is not one of VALUES
        return encode_rare(span)
    return b"".join(
        [
            IDS.pack(TRACE_ID, 16, context.trace_id.to_bytes(16), SPAN_ID, 8, context.span_id),
            PARENT.pack(PARENT_ID, 8, parent.span_id) if parent else b"",
            TIMES.pack(START, span.start_time, END, span.end_time),
            encode_rest(span.name, span.kind, status.status_code, status.description, flags),
            *encoded,
        ]
    )


def has_rare_fields(span: ReadableSpan) -> bool:
    return bool(
        span.events
        or span.links
        or span.dropped_attributes
        or span.dropped_events
        or span.dropped_links
    )


def encode_rare(span: ReadableSpan) -> bytes:
    return serialize(encode_all([span]).resource_spans[0].scope_spans[0].spans[0])


@lru_cache(1024)
def encode_rest(
    name: str, kind: SpanKind, code: StatusCode, description: str | None, flags: int
) -> bytes:
    fields: Any = {"name": name, "kind": kind.value + 1, "flags": flags}
    status: Any = {"code": code.value, "message": description}
    return serialize(Span(**fields, status=Status(**status)))


def encode_new(name: str, value: object) -> bytes:
    """Encode an attribute, without a cache: one would not distinguish -0.0 from 0.0."""
    fields: Any = {VALUES[type(value)]: value}
    return serialize(Span(attributes=[KeyValue(key=name, value=AnyValue(**fields))]))


encode_known = lru_cache(4096, typed=True)(encode_new)


def serialize(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field."""
    head = [number << 3 | 2]
    length = len(data)
    while length > SEVEN_BITS:
        head.append(length & SEVEN_BITS | SEVEN_BITS + 1)
        length >>= 7
    return bytes((*head, length)) + data
