"""Encode spans as OTLP, with a cache of encoded attributes.

Spans share nearly all attributes: operation, statement, run. Encoding by OpenTelemetry's exporter
took a fifth of the CPU time of a traced request, and made the event loop wait for the GIL; this
module needs a tenth of that. A test compares the results. Spans with rare fields, such as events,
are encoded by the exporter. To encode each span when it ends was measured and costs more: many
spans in a row are encoded from the CPU's caches.
"""
# ruff: noqa: SLF001 a span's properties would cost as much as the encoding of its fields

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_all
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from clinic.telemetry.spans import LeanSpan

IDS = Struct(">BB16sBBQ")
PARENT = Struct(">BBQ")
TIMES = Struct("<BQBQ")
DOUBLE = Struct("<Bd")
TRACE_ID, SPAN_ID, PARENT_ID = 1 << 3 | 2, 2 << 3 | 2, 4 << 3 | 2
LOCAL: int = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
REMOTE: int = LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
START, END = 7 << 3 | 1, 8 << 3 | 1
INT_VALUE, DOUBLE_VALUE = 3 << 3, 4 << 3 | 1
TEXT_VALUE, ATTRIBUTE, ATTRIBUTE_VALUE = 1, 9, 2
SEVEN_BITS = 0x7F
MAX_INT = 2**63 - 1


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
    context, parent = span._context, span._parent
    attributes: Any = span._attributes
    rare = span.has_lists if type(span) is LeanSpan else has_rare_fields(span)
    if rare or context is None or context.trace_state:
        return encode_rare(span)
    flags = REMOTE if parent and parent.is_remote else LOCAL
    status = span._status
    try:
        encoded = [
            encode_text(name, value) if type(value) is str else encode_number(name, value)
            for name, value in attributes.items()
        ]
    except (TypeError, ValueError):  # a value that only the exporter encodes
        return encode_rare(span)
    return b"".join(
        [
            IDS.pack(TRACE_ID, 16, context.trace_id.to_bytes(16), SPAN_ID, 8, context.span_id),
            PARENT.pack(PARENT_ID, 8, parent.span_id) if parent else b"",
            TIMES.pack(START, span._start_time, END, span._end_time),
            encode_rest(span._name, span._kind, status.status_code, status.description, flags),
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


@lru_cache(4096)
def encode_text(name: str, value: str) -> bytes:
    return encode_attribute(name, field(TEXT_VALUE, value.encode()))


def encode_number(name: str, value: object) -> bytes:
    """Encode a number without a cache: most are IDs and durations."""
    if type(value) is int and 0 <= value <= MAX_INT:
        return encode_attribute(name, bytes((INT_VALUE, *varint(value))))
    if type(value) is float:
        return encode_attribute(name, DOUBLE.pack(DOUBLE_VALUE, value))
    raise TypeError


def encode_attribute(name: str, value: bytes) -> bytes:
    return field(ATTRIBUTE, encode_key(name) + field(ATTRIBUTE_VALUE, value))


@lru_cache(256)
def encode_key(name: str) -> bytes:
    return field(1, name.encode())


def serialize(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field."""
    return bytes((number << 3 | 2, *varint(len(data)))) + data


def varint(number: int) -> list[int]:
    """Return the bytes of a number, seven bits in each, the lowest first."""
    encoded = []
    while number > SEVEN_BITS:
        encoded.append(number & SEVEN_BITS | SEVEN_BITS + 1)
        number >>= 7
    encoded.append(number)
    return encoded
