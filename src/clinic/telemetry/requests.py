"""Server spans and durations of requests."""

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Message, Receive, Scope, Send
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanContext, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clinic.admission import Admission
from clinic.fields import MAX_ID
from clinic.logs import frames
from clinic.routes import METHODS, Routes
from clinic.telemetry.context import CURRENT, NO_RUN, Attributes, RequestContext, parse_run
from clinic.telemetry.series import Series

PARENTS = TraceContextTextMapPropagator()
UNTRACED = frozenset({"/livez", "/readyz"})

LATE_SECONDS = 0.001
"""Delay by the event loop from which on a request's span states it."""

log = logging.getLogger(__name__)


class TracedApp:
    """ASGI app that adds a server span and a duration to each request, except health checks.

    OpenTelemetry's middleware starts the span and ends it. It gets a scope of our own with the few
    keys that it needs, and no messages: from the real ones it would decode all headers, set most
    attributes twice, and record query strings, client addresses and user agents, which may be
    personal. `serve` sets the remaining attributes once.
    """

    def __init__(
        self,
        app: Litestar,
        admission: Admission,
        tracer_provider: TracerProvider,
        meter: Meter,
        loop_late_seconds: Callable[[], float],
    ) -> None:
        self.routes = Routes(app)
        self.app = app.asgi_handler
        self.admission = admission
        self.loop_late_seconds = loop_late_seconds
        duration = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests."
        )
        self.duration = lru_cache(1024)(lambda *key: Series(duration, metric_attributes(*key)))
        # No meter: the middleware's three metrics cost more than the span. The histogram above
        # replaces them.
        self.traced = OpenTelemetryMiddleware(
            self.serve,
            default_span_details=lambda scope: scope["span"],
            tracer_provider=tracer_provider,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in UNTRACED:
            await self.app(scope, receive, send)
            return
        try:
            context, span_scope = self.describe(scope)
        except Exception:
            log.exception("A request cannot be traced")
            await self.app(scope, receive, send)
            return
        span_scope["send"] = send
        await self.traced(span_scope, receive, send)  # type: ignore[arg-type]  # Litestar types messages more narrowly than ASGI does
        if context.error is not None:
            raise context.error

    def describe(self, scope: HTTPScope) -> tuple[RequestContext, dict[str, Any]]:
        """Return what is known of a request, and the scope for OpenTelemetry's middleware.

        Only trusted callers name a load run or the parent of the span. `tracestate` may hold
        anything and is not passed on.
        """
        caller = self.admission.examine(scope)
        run = parse_run(caller.baggage) if caller.baggage and caller.is_trusted else NO_RUN
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        route, ids = self.match_route(scope)
        context = RequestContext(scope, method, route, run)
        parent = caller.traceparent
        span_scope: dict[str, Any] = {
            # The span is that of "http", for which the middleware also prepares its metrics.
            "type": "websocket",
            "server": scope["server"],
            "headers": [(b"traceparent", parent)] if parent and caller.is_trusted else [],
            "span": (context.operation.replace("_OTHER", "HTTP"), run),
            "context": context,
            "attributes": {**request_attributes(context), **ids},
            "links": sampled_parent(parent) if parent and not caller.is_trusted else (),
        }
        return context, span_scope

    async def serve(self, span_scope: Mapping[str, Any], receive: Receive, _: object) -> None:
        """Serve a request inside its span."""
        started = perf_counter()
        context: RequestContext = span_scope["context"]
        send: Send = span_scope["send"]
        span = trace.get_current_span()
        add_details(span, span_scope)
        ids = span.get_span_context()
        response = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags & 1:02x}"
        status: int | None = None
        late_before = self.loop_late_seconds()

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"traceresponse", response.encode())]
                if context.run:
                    timing = server_timing(perf_counter() - started, context.database_seconds)
                    headers.append((b"server-timing", timing))
                message["headers"] = headers
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR and context.error is not None:
                    record_exception(span, context.error)
                context.error = None  # Only an exception without a response is raised again.
            await send(message)

        token = CURRENT.set(context)
        try:
            await self.app(context.scope, receive, send_traced)
        except Exception as error:  # noqa: BLE001 __call__ raises it again: inside the span, the SDK would record its message
            context.error = error
            record_exception(span, error)
        finally:
            CURRENT.reset(token)
            if span.is_recording():
                if status is not None:
                    add_status(span, status)
                late = self.loop_late_seconds() - late_before
                if late > LATE_SECONDS:
                    span.set_attribute("clinic.event_loop.late", late)
            duration = self.duration(
                context.method,
                context.route,
                context.scope["scheme"],
                status or int(HTTPStatus.INTERNAL_SERVER_ERROR),
                bool(context.run),
            )
            duration.record(perf_counter() - started)

    def match_route(self, scope: HTTPScope) -> tuple[str | None, Attributes]:
        """Return the route of a request and the IDs in its path."""
        match = self.routes.match(scope)
        if match is None or scope["method"] not in match.route.methods:
            return None, {}
        # OTLP cannot carry larger numbers.
        return match.route.template, {
            f"clinic.{name.removesuffix('_id')}.id": key
            for name, key in match.ids.items()
            if key <= MAX_ID
        }


def add_details(span: Span, span_scope: Mapping[str, Any]) -> None:
    span.set_attributes(span_scope["attributes"])
    for link in span_scope["links"]:
        span.add_link(link)


def add_status(span: Span, status: int) -> None:
    """Add the status of the response, as OpenTelemetry's semantic conventions ask for."""
    span.set_attribute("http.response.status_code", status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def sampled_parent(traceparent: bytes) -> tuple[SpanContext, ...]:
    """Return the span that a caller names as parent; nothing if it is not sampled."""
    carrier = {"traceparent": traceparent.decode("latin-1")}
    parent = trace.get_current_span(PARENTS.extract(carrier, Context())).get_span_context()
    return (parent,) if parent.is_valid and parent.trace_flags.sampled else ()


def request_attributes(context: RequestContext) -> dict[str, str | int]:
    """Describe a request; its path only if it matches a route: any other may hold personal data."""
    scope = context.scope
    attributes: dict[str, str | int] = {
        "clinic.operation": context.operation,
        "http.request.method": context.method,
        "network.protocol.version": scope["http_version"],
        "url.scheme": scope["scheme"],
    }
    if scope["server"]:
        # The middleware has set it with the port appended.
        attributes["server.address"] = scope["server"][0]
    if context.route:
        attributes["http.route"] = context.route
        attributes["url.path"] = scope["path"]
    if context.run:
        attributes["user_agent.synthetic.type"] = "test"
        attributes["peer.service"] = "k6"
    return attributes


def metric_attributes(
    method: str,
    route: str | None,
    scheme: str,
    status: int,
    synthetic: bool,  # noqa: FBT001 part of a cache's key
) -> dict[str, str | int]:
    """Return the attributes of a duration, which mark the requests of load runs as synthetic."""
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scheme,
    }
    if route:
        attributes["http.route"] = route
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        attributes["error.type"] = str(status)
    if synthetic:
        attributes["user_agent.synthetic.type"] = "test"
    return attributes


def server_timing(total: float, database: float) -> bytes:
    """Return the seconds of a request and of its statements as a W3C Server-Timing header."""
    return f"total;dur={1000 * total:.3f}, db;dur={1000 * database:.3f}".encode()


def record_exception(span: Span, error: BaseException) -> None:
    """Record type and traceback, without the message: it may quote what a caller sent."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    span.add_event("exception", {"exception.type": kind, "exception.stacktrace": frames(error)})
