"""Traces and metrics by OpenTelemetry; no other package configures it.

A request has a server span, and a database span (kind CLIENT) for each SQL statement. All carry the
operation (`POST /owners`) and, for requests of k6, the load run. Spans, metrics and log lines never
contain client addresses, bodies or query strings.
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
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState

from clinic.admission import Admission
from clinic.database import Database
from clinic.otel import exports
from clinic.telemetry.aligned_reader import AlignedMetricReader
from clinic.telemetry.arrival import measure_waits
from clinic.telemetry.context import RUN_ID, add_trace_fields, store_exception
from clinic.telemetry.database import DatabaseSpans
from clinic.telemetry.encoding import use_encoding
from clinic.telemetry.event_loop import EventLoopMonitor
from clinic.telemetry.exporter import metric_exporter, span_exporter
from clinic.telemetry.pool import PoolMonitor
from clinic.telemetry.requests import TracedApp
from clinic.telemetry.runtime import (
    process_metrics,
    report_availability,
    report_expected_processes,
)
from clinic.telemetry.series import BatchedHistogram
from clinic.telemetry.spans import LeanTracerProvider

SHUTDOWN_SECONDS = 6.0
"""Time limit for exporting the last spans and metrics at shutdown."""

OTEL_DEFAULTS = {
    "OTEL_SERVICE_NAME": "clinic",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
}
"""Standard OpenTelemetry variables whose defaults differ from the SDK's."""


class Telemetry:
    """Traces and measures the app during its lifespan; exports the rest at shutdown."""

    def __init__(  # noqa: PLR0913 the last two are for tests
        self,
        database: Database,
        admission: Admission,
        available: Callable[[], bool],
        *,
        processes: int = 1,
        exporter: SpanExporter | None = None,
        reader: MetricReader | None = None,
    ) -> None:
        """Prepare to trace this database's statements; tests replace OTLP.

        `available` says whether the database is, `processes` how many processes should serve
        together, this one included.
        """
        self.database = database
        self.admission = admission
        self.available = available
        self.processes = processes
        self.exporter = exporter
        self.reader = reader

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Trace the app while it runs; `OTEL_SDK_DISABLED=true` leaves it unchanged."""
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            yield
            return
        self.start()
        app.after_exception.append(store_exception)
        # Not `middleware=[…]`: Litestar runs middleware after routing, so that a request without a
        # route (404, 405) would have no span, and builds it with the app, before the providers of
        # this lifespan exist.
        untraced = app.asgi_handler
        app.asgi_handler = TracedApp(
            app, self.admission, self.tracer_provider, self.meter, self.event_loop.late_seconds
        )
        try:
            with (
                log_traces(),
                DatabaseSpans(self.database.engine, self.tracer),
                PoolMonitor(self.meter, self.tracer, self.database),
                self.event_loop.run(),
                measure_waits(self.meter),
            ):
                report_availability(self.meter, self.available)
                yield
        finally:
            app.asgi_handler = untraced
            app.after_exception.remove(store_exception)
            await run_within(
                SHUTDOWN_SECONDS, self.tracer_provider.shutdown, self.meter_provider.shutdown
            )
            self.system_metrics.uninstrument()

    def start(self) -> None:
        """Start the providers, configured by the standard `OTEL_*` variables."""
        for name, value in OTEL_DEFAULTS.items():
            os.environ[name] = os.environ.get(name) or value
        resource = Resource.create(
            {"service.version": version("vet-clinic"), "service.instance.id": str(uuid4())}
        )
        self.meter_provider = MeterProvider(
            self.metric_readers(),
            resource=resource,
            shutdown_on_exit=False,
            views=[View(instrument_type=Histogram, aggregation=BatchedHistogram())],
        )
        # No meter: the SDK would count each span as it starts, within the request. The processor
        # below counts the same spans in batches.
        self.tracer_provider = LeanTracerProvider(
            resource=resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider()
        )
        use_encoding()
        self.tracer_provider.sampler = RunSampler(self.tracer_provider.sampler)
        if self.exporter or exports("TRACES"):
            self.tracer_provider.add_span_processor(
                BatchSpanProcessor(
                    self.exporter or span_exporter(self.meter_provider),
                    meter_provider=self.meter_provider,
                )
            )
        self.meter = self.meter_provider.get_meter("clinic", version("vet-clinic"))
        self.tracer = self.tracer_provider.get_tracer("clinic", version("vet-clinic"))
        self.system_metrics = SystemMetricsInstrumentor(config=process_metrics(self.meter))
        self.system_metrics.instrument(meter_provider=self.meter_provider)
        self.event_loop = EventLoopMonitor(self.meter)
        report_expected_processes(self.meter, self.processes)

    def metric_readers(self) -> list[MetricReader]:
        if self.reader:
            return [self.reader]
        if not exports("METRICS"):
            return []
        return [AlignedMetricReader(metric_exporter(), export_interval())]

    def flush(self) -> None:
        """Export all finished spans now."""
        self.tracer_provider.force_flush()


@contextmanager
def log_traces() -> Iterator[None]:
    """Add trace and load run to every log record."""
    handlers = logging.getLogger().handlers.copy()
    for handler in handlers:
        handler.addFilter(add_trace_fields)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(add_trace_fields)


def export_interval() -> float:
    """Return the seconds between exports of metrics; like the SDK, ignore an invalid value."""
    name = "OTEL_METRIC_EXPORT_INTERVAL"
    with suppress(ValueError):
        if 0 < (milliseconds := float(os.environ[name])) < math.inf:
            return milliseconds / 1000
    logging.getLogger(__name__).warning(
        "%s is %r, expected milliseconds; using %s.",
        name,
        os.environ[name],
        OTEL_DEFAULTS[name],
    )
    return float(OTEL_DEFAULTS[name]) / 1000


class RunSampler(Sampler):
    """Samples all requests of load runs, and others as `OTEL_TRACES_SAMPLER` configures."""

    def __init__(self, fallback: Sampler) -> None:
        self.fallback = fallback

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
        sampler = ALWAYS_ON if attributes and RUN_ID in attributes else self.fallback
        return sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"RunSampler({self.fallback.get_description()})"


async def run_within(seconds: float, *calls: Callable[[], Any]) -> None:
    """Run blocking calls one after the other; abandon them when the time is up.

    In a daemon thread: asyncio would wait for a thread of its own pool before it exits.
    """
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def run() -> None:
        for call in calls:
            call()
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(done.set)

    Thread(target=run, name="telemetry-shutdown", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        logging.getLogger(__name__).warning(
            "Telemetry was not exported within %g s; the last spans and metrics are lost.", seconds
        )
