"""A server span and a duration for each request."""

import re
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
from clinic.telemetry.calls import CALL, Call, Labels, run_of

UNTRACED = frozenset({"/livez", "/readyz"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROPAGATED = frozenset({b"traceparent", b"tracestate"})
LOCATION = re.compile(rb"/(owner|pet|appointment)s/(\d+)")


class TracedApp:
    """The clinic's ASGI app with a server span around each request but the health checks."""

    def __init__(
        self, app: Litestar, tracers: TracerProvider, meter: Meter, *, load_runs: bool
    ) -> None:
        self.routing = app.asgi_router.handle_routing
        self.app = app.asgi_handler
        self.load_runs = load_runs
        self.duration = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests."
        )
        # Its own three metrics cost more than the span; the histogram above is what we keep.
        self.spans = OpenTelemetryMiddleware(
            self.serve,
            default_span_details=lambda shown: shown["span"],
            tracer_provider=tracers,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in UNTRACED:
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        baggage = [value for name, value in headers if name == b"baggage"]
        run = run_of(b",".join(baggage)) if baggage and self.load_runs else {}
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        route, ids = self.route_of(scope)
        call = Call(scope, method, route, run)
        # The middleware sets what it finds in the scope twice, and would record a query string, a
        # caller and a user agent: it is shown the least it needs, and the rest is set once below.
        shown: dict[str, Any] = {
            "type": "http",
            "method": scope["method"],
            "server": scope["server"],
            "headers": [header for header in headers if header[0] in PROPAGATED],
            "span": (call.operation.replace("_OTHER", "HTTP"), run),
            "call": call,
            "ids": ids,
        }
        await self.spans(shown, receive, send)  # type: ignore[arg-type]  # Litestar types messages more narrowly than ASGI does
        if call.error is not None:
            raise call.error

    async def serve(self, shown: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request inside its span."""
        call: Call = shown["call"]
        span = trace.get_current_span()
        span.set_attributes(describe(call) | shown["ids"])
        context = span.get_span_context()
        response = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
        )
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                for name, value in headers:
                    if name == b"location":
                        span.set_attributes(id_of(value))
                message["headers"] = [*headers, (b"traceresponse", response.encode())]
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR and call.error is not None:
                    record_exception(span, call.error)
                call.error = None
            await send(message)

        token = CALL.set(call)
        started = perf_counter()
        try:
            await self.app(call.scope, receive, answer)
        except Exception as error:  # noqa: BLE001 raised again outside the span, which would record its text
            call.error = error
            record_exception(span, error)
        finally:
            CALL.reset(token)
            labels = metric_labels(
                call.method, call.route, call.scope["scheme"], status, bool(call.run)
            )
            self.duration.record(perf_counter() - started, labels)

    def route_of(self, scope: HTTPScope) -> tuple[str | None, Labels]:
        """Ask the router which route a request takes and which ids its path names."""
        try:
            *_, ids, route = self.routing(
                path=normalize_path(scope["path"]), method=scope["method"]
            )
        except HTTPException:
            return None, {}
        # OTLP has no number that is larger.
        return route, {
            f"clinic.{name.removesuffix('_id')}.id": key
            for name, key in ids.items()
            if abs(key) <= MAX_ID
        }


def describe(call: Call) -> dict[str, str | int]:
    """Describe a request; its path only where a route took it, as an unknown one may say much."""
    scope = call.scope
    attributes: dict[str, str | int] = {
        "clinic.operation": call.operation,
        "network.protocol.version": scope["http_version"],
        "url.scheme": scope["scheme"],
    }
    if scope["server"]:
        # The middleware has written the port into it too.
        attributes["server.address"] = scope["server"][0]
    if call.route:
        attributes["http.route"] = call.route
        attributes["url.path"] = scope["path"]
    if call.run:
        attributes["user_agent.synthetic.type"] = "test"
        attributes["peer.service"] = "k6"
    return attributes


def id_of(location: bytes) -> Labels:
    """Name the record that an answer's Location leads to."""
    record = LOCATION.fullmatch(location)
    return {f"clinic.{record[1].decode()}.id": int(record[2])} if record else {}


@lru_cache(1024)
def metric_labels(
    method: str,
    route: str | None,
    scheme: str,
    status: int,
    synthetic: bool,  # noqa: FBT001 a cache key
) -> dict[str, str | int]:
    """Label a duration; a load run's requests are marked, so that organic traffic is told apart."""
    labels: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scheme,
    }
    if route:
        labels["http.route"] = route
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        labels["error.type"] = str(status)
    if synthetic:
        labels["user_agent.synthetic.type"] = "test"
    return labels


def record_exception(span: Span, error: BaseException) -> None:
    """Record what failed and where, without the message: it may quote what a caller sent."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    span.add_event("exception", {"exception.type": kind, "exception.stacktrace": frames(error)})
