"""Spans that take a third of the CPU time of the SDK's.

The SDK checks and copies each attribute, holds two locks meanwhile, and copies a span that ends.
Here attributes are a dictionary of the API's own text and numbers, and a child of a sampled span is
sampled without asking the sampler. All else is the SDK's, and so are all spans if there is a limit
for attributes. A test compares the results. To return to the SDK's, use its `TracerProvider`.
"""
# ruff: noqa: SLF001 a span has the fields of the SDK's

import logging
from collections.abc import Mapping
from threading import Lock
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import EventBase, Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

MOST_ATTRIBUTES = 64
"""More than a span of the API has."""
FLAGS = {
    (False, False): TraceFlags(),
    (False, True): TraceFlags(TraceFlags.RANDOM_TRACE_ID),
    (True, False): TraceFlags(TraceFlags.SAMPLED),
    (True, True): TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID),
}
"""By whether a span is sampled and whether its trace ID is random."""

log = logging.getLogger(__name__)


class LeanTracerProvider(TracerProvider):
    """Provides tracers of lean spans."""

    def get_tracer(self, *arguments: Any, **options: Any) -> trace.Tracer:
        """Return a tracer; the SDK's if attributes may have to be cut or dropped."""
        tracer = super().get_tracer(*arguments, **options)
        limits = self._span_limits
        most = limits.max_span_attributes
        if limits.max_span_attribute_length is None and (most is None or most >= MOST_ATTRIBUTES):
            return LeanTracer(tracer)
        return tracer


class LeanTracer(Tracer):
    """Starts lean spans."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self.__dict__ = tracer.__dict__  # Shared: the provider changes it.

    def start_span(  # noqa: PLR0913, PLR0917 the SDK's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 the SDK's signature
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 the SDK's signature
    ) -> trace.Span:
        """Start a span without making it the current one."""
        current = trace.get_current_span(context)
        parent: SpanContext | None = current.get_span_context()
        ids: IdGenerator = self.id_generator
        decision: Any = Decision.RECORD_AND_SAMPLE
        state: TraceState | None
        if type(current) is LeanSpan and parent is not None and parent.trace_flags.sampled:
            trace_id, flags, state = parent.trace_id, parent.trace_flags, parent.trace_state
        else:
            if parent is not None and parent.is_valid:
                trace_id, is_random = parent.trace_id, parent.trace_flags.random_trace_id
            else:
                parent = None
                trace_id, is_random = ids.generate_trace_id(), ids.is_trace_id_random()
            result = self.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            decision, attributes, state = result.decision, result.attributes, result.trace_state
            flags = FLAGS[decision.is_sampled(), is_random]
        own = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)  # noqa: FBT003 not remote
        if not decision.is_recording():
            return NonRecordingSpan(own)
        span = LeanSpan(self, name, own, parent, kind, {**(attributes or {})})
        span._start_time = time_ns() if start_time is None else start_time
        span._record_exception = record_exception
        span._set_status_on_exception = set_status_on_exception
        for link in links or ():
            span.add_link(link.context, link.attributes)
        return span


class LeanSpan(Span):
    """A span that one thread describes and ends, with attributes of valid types."""

    _attributes: dict[str, Any]
    _end_time = None
    _status = Status(StatusCode.UNSET)
    _events: Any = ()
    _links: Any = ()

    def __init__(  # noqa: PLR0913, PLR0917 its fields
        self,
        tracer: Tracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: dict[str, Any],
    ) -> None:
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._attributes = attributes
        self._resource = tracer.resource
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer._instrumentation_scope
        self._span_processor = tracer.span_processor
        self._limits = tracer._span_limits
        self._lock = Lock()

    @property
    def has_lists(self) -> bool:
        """Whether the span has had events or links."""
        return bool(self._events != () or self._links != ())

    def set_attribute(self, key: str, value: Any) -> None:
        if self.is_open():
            self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.is_open():
            self._attributes.update(attributes)

    def end(self, end_time: int | None = None) -> None:
        if self.is_open():
            self._end_time = time_ns() if end_time is None else end_time
            self._span_processor.on_end(self)

    def is_open(self) -> bool:
        if self._end_time is None:
            return True
        log.warning("The span %s has ended and cannot be changed.", self._name)
        return False

    def _add_event(self, event: EventBase) -> None:
        self._events = self._events or self._new_events()  # type: ignore[no-untyped-call]
        super()._add_event(event)

    def _add_link(self, link: Link) -> None:
        self._links = self._links or self._new_links([])
        super()._add_link(link)
