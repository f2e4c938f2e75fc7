"""Traces and metrics of each request, by OpenTelemetry; the clinic works without this file.

A request has one server span and one database span. Both carry the operation (`POST /owners`) and,
where k6 sent it, the run that the request belongs to. No span, metric or log line says who called,
what a body held, or what a query string asked for.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from threading import Thread
from time import perf_counter
from typing import Any
from uuid import uuid4

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Message, Receive, Scope, Send
from litestar.utils import normalize_path
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeterProvider, Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TraceState
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from clinic.logs import frames

RUN_ID = "k6.test_run_id"
UNTRACED = frozenset({"/livez", "/readyz"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROPAGATED = frozenset({b"traceparent", b"tracestate"})
SHUTDOWN_SECONDS = 6.0
"""How long the last spans and metrics may take when the clinic stops."""
TICK_SECONDS = 0.25
"""How often the event loop's lag is measured."""

DEFAULTS = {
    "OTEL_SERVICE_NAME": "clinic",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
}
"""Standard variables where the clinic's defaults differ from the SDK's."""

RUNTIME: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "cpython.gc.collections": None,
}

Labels = Mapping[str, str | int]


@dataclass(slots=True)
class Call:
    """A request as its telemetry knows it."""

    scope: HTTPScope
    method: str
    route: str | None
    run: Labels
    error: Exception | None = None

    @property
    def operation(self) -> str:
        """The request in low-cardinality words, `POST /owners/{owner_id}/pets`."""
        return f"{self.method} {self.route}" if self.route else self.method


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)


class Telemetry:
    """Starts with the app, watches its requests and statements, and stops without losing a span."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        load_runs: bool = True,
        exporter: SpanExporter | None = None,
        reader: MetricReader | None = None,
    ) -> None:
        """Watch this engine; exporter and reader replace OTLP where a test wants to look."""
        self.engine = engine
        self.load_runs = load_runs
        self.exporter = exporter
        self.reader = reader

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Watch the app while it runs; `OTEL_SDK_DISABLED=true` leaves it untouched."""
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            yield
            return
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        resource = Resource.create(
            {"service.version": version("vet-clinic"), "service.instance.id": str(uuid4())}
        )
        self.meters = MeterProvider(
            [self.reader or PeriodicExportingMetricReader(OTLPMetricExporter())],
            resource=resource,
            shutdown_on_exit=False,
            views=[
                View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
            ],
        )
        # The SDK's own count of each span started would cost more than the database span's name.
        self.tracers = TracerProvider(
            resource=resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider()
        )
        self.tracers.sampler = RunSampler(self.tracers.sampler)
        self.tracers.add_span_processor(
            BatchSpanProcessor(
                self.exporter or OTLPSpanExporter(meter_provider=self.meters),
                meter_provider=self.meters,
            )
        )
        meter = self.meters.get_meter("clinic", version("vet-clinic"))
        tracer = self.tracers.get_tracer("clinic", version("vet-clinic"))
        runtime = SystemMetricsInstrumentor(config=RUNTIME)
        runtime.instrument(meter_provider=self.meters)
        observe_pool(meter, self.engine)
        handlers = logging.getLogger().handlers
        for handler in handlers:
            handler.addFilter(add_trace)
        loop_watch = asyncio.create_task(watch_event_loop(meter))
        untraced = app.asgi_handler
        app.asgi_handler = TracedApp(app, self.tracers, meter, load_runs=self.load_runs)
        app.after_exception.append(note_exception)
        with DatabaseSpans(self.engine, tracer):
            yield
        app.after_exception.remove(note_exception)
        app.asgi_handler = untraced
        loop_watch.cancel()
        with suppress(asyncio.CancelledError):
            await loop_watch
        for handler in handlers:
            handler.removeFilter(add_trace)
        await within(SHUTDOWN_SECONDS, self.tracers.shutdown, self.meters.shutdown)
        runtime.uninstrument()

    def flush(self) -> None:
        """Hand every finished span to the exporter now."""
        self.tracers.force_flush()


class RunSampler(Sampler):
    """Samples every request of a load run, so that a run is whole, and the others as is set."""

    def __init__(self, others: Sampler) -> None:
        self.others = others

    def should_sample(  # noqa: PLR0913, PLR0917 the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sampler = ALWAYS_ON if attributes and RUN_ID in attributes else self.others
        return sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"RunSampler({self.others.get_description()})"


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
        attributes: dict[str, str | int] = {"clinic.operation": call.operation, **run, **ids}
        if scope["server"]:
            # The middleware would write the port into it too.
            attributes["server.address"] = scope["server"][0]
        if route:
            attributes["http.route"] = route
        if run:
            attributes |= {"user_agent.synthetic.type": "test", "peer.service": "k6"}
        # The middleware sees, and so records, no query string, no caller and no user agent; and
        # a path only where a route took it, since an unknown one may hold anything.
        shown: dict[str, Any] = {
            "type": "http",
            "method": scope["method"],
            "scheme": scope["scheme"],
            "http_version": scope["http_version"],
            "server": scope["server"],
            "path": scope["path"] if route else "",
            "headers": [header for header in headers if header[0] in PROPAGATED],
            "span": (call.operation.replace("_OTHER", "HTTP"), attributes),
            "call": call,
        }
        await self.spans(shown, receive, send)  # type: ignore[arg-type]  # Litestar types messages more narrowly than ASGI does
        if call.error is not None:
            raise call.error

    async def serve(self, shown: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request inside its span."""
        call: Call = shown["call"]
        span = trace.get_current_span()
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
        return route, {f"clinic.{name.removesuffix('_id')}.id": key for name, key in ids.items()}


class DatabaseSpans:
    """A client span around each statement that a traced request runs."""

    def __init__(self, engine: AsyncEngine, tracer: Tracer) -> None:
        self.engine = engine.sync_engine
        self.tracer = tracer
        self.where: Labels = {
            "db.system.name": "postgresql",
            "db.namespace": engine.url.database or "",
            "server.address": engine.url.host or "",
            "server.port": engine.url.port or 5432,
        }
        self.hooks: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self.start,
            "after_cursor_execute": self.end,
            "handle_error": self.fail,
        }

    def __enter__(self) -> None:
        for name, hook in self.hooks.items():
            event.listen(self.engine, name, hook)

    def __exit__(self, *_: object) -> None:
        for name, hook in self.hooks.items():
            event.remove(self.engine, name, hook)

    def start(self, _c: Any, _cur: Any, sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 SQLAlchemy's signature
        call = CALL.get()
        if call is None:
            return
        labels = statement_labels(sql)
        context.clinic_span = self.tracer.start_span(
            str(labels["db.query.summary"]),
            kind=SpanKind.CLIENT,
            attributes={
                **self.where,
                **labels,
                **call.run,
                "clinic.operation": call.operation,
            },
        )

    def end(self, _c: Any, _cur: Any, _sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 SQLAlchemy's signature
        span: Span | None = getattr(context, "clinic_span", None)
        if span is not None:
            span.end()

    def fail(self, failure: ExceptionContext) -> None:
        span: Span | None = getattr(failure.execution_context, "clinic_span", None)
        if span is None or not span.is_recording():
            return
        error = failure.original_exception
        state = getattr(error, "sqlstate", None)
        if state:
            span.set_attribute("db.response.status_code", state)
        span.set_attribute("error.type", state or type(error).__qualname__)
        span.set_status(StatusCode.ERROR)
        span.end()


ENTRY = re.compile(rb"\s*(k6\.test_run_id|k6\.scenario)\s*=\s*([A-Za-z0-9._:-]{1,64})\s*(?:;.*)?")
LOCATION = re.compile(rb"/(owner|pet|appointment)s/(\d+)")
TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", re.IGNORECASE)


@lru_cache(256)
def run_of(baggage: bytes) -> Labels:
    """Read the load run that W3C baggage names; other entries and odd values are ignored."""
    entries = (ENTRY.fullmatch(entry) for entry in baggage.split(b","))
    run = {entry[1].decode(): entry[2].decode() for entry in entries if entry}
    return run if RUN_ID in run else {}


def id_of(location: bytes) -> Labels:
    """Name the record that an answer's Location leads to."""
    record = LOCATION.fullmatch(location)
    return {f"clinic.{record[1].decode()}.id": int(record[2])} if record else {}


@lru_cache(256)
def statement_labels(sql: str) -> Labels:
    """Describe a statement; its text has placeholders where values go."""
    operation = sql.split(None, 1)[0].upper()
    table = TABLE.search(sql)
    labels = {
        "db.operation.name": operation,
        "db.query.summary": f"{operation} {table[1]}" if table else operation,
        "db.query.text": sql,
    }
    return {**labels, "db.collection.name": table[1]} if table else labels


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


async def note_exception(error: Exception, _: Scope) -> None:
    """Keep what a request raised until its answer's status is known."""
    call = CALL.get()
    if call is not None:
        call.error = error


def add_trace(record: logging.LogRecord) -> bool:
    """Add to a log record the trace and the run that it belongs to."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = f"{context.trace_id:032x}"
        record.span_id = f"{context.span_id:016x}"
    call = CALL.get()
    if call is not None and call.run:
        record.__dict__.update({name.replace(".", "_"): value for name, value in call.run.items()})
    return True


def observe_pool(meter: Meter, engine: AsyncEngine) -> None:
    """Report how many connections to PostgreSQL are used, idle and allowed."""
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool):
        return
    name = {"db.client.connection.pool.name": "clinic"}

    def connections(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(pool.checkedout(), {**name, "db.client.connection.state": "used"})
        yield Observation(pool.checkedin(), {**name, "db.client.connection.state": "idle"})

    meter.create_observable_up_down_counter(
        "db.client.connection.count", [connections], "{connection}", "Connections by state."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.max",
        [lambda _: [Observation(pool.size(), name)]],
        "{connection}",
        "Connections allowed.",
    )


async def watch_event_loop(meter: Meter) -> None:
    """Measure how late the event loop wakes a sleeper: what a request waits for its turn."""
    lag = meter.create_histogram(
        "clinic.event_loop.lag", "s", "How late the event loop wakes a sleeper."
    )
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lag.record(max(0.0, loop.time() - due))


async def within(seconds: float, *calls: Callable[[], Any]) -> None:
    """Make blocking calls, one after the other; what takes longer than this is left behind.

    A daemon thread, since asyncio would wait for one of its own pool before it ends.
    """
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def run() -> None:
        for call in calls:
            call()
        with suppress(RuntimeError):  # the loop may have closed meanwhile
            loop.call_soon_threadsafe(done.set)

    Thread(target=run, name="telemetry-shutdown", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        logging.getLogger(__name__).warning(
            "Telemetry was not sent within %g s; its last spans are lost.", seconds
        )
