"""Traces and metrics of each request, by OpenTelemetry; the clinic works without this package.

A request has one server span and one database span. Both carry the operation (`POST /owners`) and,
where k6 sent it, the run that the request belongs to. No span, metric or log line says who called,
what a body held, or what a query string asked for.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from threading import Thread
from typing import Any
from uuid import uuid4

from litestar import Litestar
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState
from sqlalchemy.ext.asyncio import AsyncEngine

from clinic.telemetry.aligned_reader import AlignedMetricReader
from clinic.telemetry.calls import RUN_ID, add_trace, note_exception
from clinic.telemetry.requests import TracedApp
from clinic.telemetry.runtime import PROCESS, observe_pool, watched_database, watched_event_loop
from clinic.telemetry.statements import DatabaseSpans

SHUTDOWN_SECONDS = 6.0
"""How long the last spans and metrics may take when the clinic stops."""

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
        self.start()
        app.after_exception.append(note_exception)
        plain = app.asgi_handler
        app.asgi_handler = TracedApp(app, self.tracers, self.meter, load_runs=self.load_runs)
        try:
            with self.watched_logs(), DatabaseSpans(self.engine, self.tracer):
                async with (
                    watched_event_loop(self.meter),
                    watched_database(self.meter, self.engine),
                ):
                    yield
        finally:
            app.asgi_handler = plain
            app.after_exception.remove(note_exception)
            await within(SHUTDOWN_SECONDS, self.tracers.shutdown, self.meters.shutdown)
            self.process.uninstrument()

    def start(self) -> None:
        """Start the providers, with what the standard variables say."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        resource = Resource.create(
            {"service.version": version("vet-clinic"), "service.instance.id": str(uuid4())}
        )
        self.meters = MeterProvider(
            [self.reader or AlignedMetricReader(OTLPMetricExporter(), export_seconds())],
            resource=resource,
            shutdown_on_exit=False,
            views=[
                View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
            ],
        )
        # The SDK would count each span as it starts, which a request would feel; the processor
        # counts them all in batches.
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
        self.meter = self.meters.get_meter("clinic", version("vet-clinic"))
        self.tracer = self.tracers.get_tracer("clinic", version("vet-clinic"))
        self.process = SystemMetricsInstrumentor(config=PROCESS)
        self.process.instrument(meter_provider=self.meters)
        observe_pool(self.meter, self.engine)

    @staticmethod
    @contextmanager
    def watched_logs() -> Iterator[None]:
        """Add trace and run to every log record meanwhile."""
        handlers = logging.getLogger().handlers.copy()
        for handler in handlers:
            handler.addFilter(add_trace)
        yield
        for handler in handlers:
            handler.removeFilter(add_trace)

    def flush(self) -> None:
        """Hand every finished span to the exporter now."""
        self.tracers.force_flush()


def export_seconds() -> float:
    """Say how often metrics are sent; what is no time gives way to the default, as in the SDK."""
    name = "OTEL_METRIC_EXPORT_INTERVAL"
    with suppress(ValueError):
        if 0 < (milliseconds := float(os.environ[name])) < math.inf:
            return milliseconds / 1000
    logging.getLogger(__name__).warning(
        "%s is %r; expected milliseconds. It is taken as %s.",
        name,
        os.environ[name],
        DEFAULTS[name],
    )
    return float(DEFAULTS[name]) / 1000


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
