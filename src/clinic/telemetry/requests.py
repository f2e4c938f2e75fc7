"""Server spans and durations of requests."""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Message, Receive, Scope, Send
from litestar.utils import normalize_path
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

from clinic.fields import MAX_ID
from clinic.logs import frames
from clinic.telemetry.context import CURRENT, Attributes, RequestContext, parse_run

UNTRACED = frozenset({"/livez", "/readyz"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROPAGATED = frozenset({b"traceparent", b"tracestate"})


class TracedApp:
    """ASGI app that adds a server span and a duration to each request, except health checks.

    OpenTelemetry's middleware gets a scope of our own with the few keys that it needs. From the
    real one it would set most attributes twice, and record query strings, client addresses and
    user agents, which may be personal. `serve` sets the remaining attributes once.
    """

    def __init__(
        self, app: Litestar, tracer_provider: TracerProvider, meter: Meter, *, load_runs: bool
    ) -> None:
        self.routing = app.asgi_router.handle_routing
        self.app = app.asgi_handler
        self.load_runs = load_runs
        self.duration = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests."
        )
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
        headers = scope["headers"]
        baggage = [value for name, value in headers if name == b"baggage"]
        run = parse_run(b",".join(baggage)) if baggage and self.load_runs else {}
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        route, ids = self.match_route(scope)
        context = RequestContext(scope, method, route, run)
        span_scope: dict[str, Any] = {
            "type": "http",
            "method": scope["method"],
            "server": scope["server"],
            "headers": [header for header in headers if header[0] in PROPAGATED],
            "span": (context.operation.replace("_OTHER", "HTTP"), run),
            "context": context,
            "ids": ids,
        }
        await self.traced(span_scope, receive, send)  # type: ignore[arg-type]  # Litestar types messages more narrowly than ASGI does
        if context.error is not None:
            raise context.error

    async def serve(self, span_scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request inside its span."""
        context: RequestContext = span_scope["context"]
        span = trace.get_current_span()
        span.set_attributes(request_attributes(context) | span_scope["ids"])
        ids = span.get_span_context()
        response = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags & 1:02x}"
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"traceresponse", response.encode()),
                ]
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR and context.error is not None:
                    record_exception(span, context.error)
                context.error = None  # Only an exception without a response is raised again.
            await send(message)

        token = CURRENT.set(context)
        started = perf_counter()
        try:
            await self.app(context.scope, receive, send_traced)
        except Exception as error:  # noqa: BLE001 __call__ raises it again: inside the span, the SDK would record its message
            context.error = error
            record_exception(span, error)
        finally:
            CURRENT.reset(token)
            attributes = metric_attributes(
                context.method, context.route, context.scope["scheme"], status, bool(context.run)
            )
            self.duration.record(perf_counter() - started, attributes)

    def match_route(self, scope: HTTPScope) -> tuple[str | None, Attributes]:
        """Return the route of a request and the IDs in its path."""
        try:
            *_, ids, route = self.routing(
                path=normalize_path(scope["path"]), method=scope["method"]
            )
        except HTTPException:
            return None, {}
        # OTLP cannot carry larger numbers.
        return route, {
            f"clinic.{name.removesuffix('_id')}.id": key
            for name, key in ids.items()
            if abs(key) <= MAX_ID
        }


def request_attributes(context: RequestContext) -> dict[str, str | int]:
    """Describe a request; its path only if it matches a route: any other may hold personal data."""
    scope = context.scope
    attributes: dict[str, str | int] = {
        "clinic.operation": context.operation,
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


@lru_cache(1024)
def metric_attributes(
    method: str,
    route: str | None,
    scheme: str,
    status: int,
    synthetic: bool,  # noqa: FBT001 part of the cache key
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


def record_exception(span: Span, error: BaseException) -> None:
    """Record type and traceback, without the message: it may quote what a caller sent."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    span.add_event("exception", {"exception.type": kind, "exception.stacktrace": frames(error)})
