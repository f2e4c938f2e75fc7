"""OpenTelemetry's exporters; every batch of spans that was not accepted is counted as failed."""

from dataclasses import replace
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from clinic.otel import by_grpc


class RefusedByReceiverError(Exception):
    """The receiver answered with a status that is not 2xx."""


class CountingSpanExporter(OTLPSpanExporter):
    """Counts batches that get an HTTP error as failed: the SDK counts them as exported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        send = self._client.export

        def export(data: bytes) -> Any:
            result = send(data)
            if result.success or result.error:
                return result
            return replace(result, error=RefusedByReceiverError(f"status {result.status_code}"))

        self._client.export = export  # type: ignore[method-assign]


def span_exporter(meter_provider: MeterProvider) -> SpanExporter:
    """Make the exporter of spans that `OTEL_EXPORTER_OTLP_*` describe."""
    if by_grpc("TRACES"):
        from opentelemetry.exporter.otlp.proto.grpc import (  # noqa: PLC0415 - an extra
            trace_exporter,
        )

        return trace_exporter.OTLPSpanExporter(meter_provider=meter_provider)
    return CountingSpanExporter(meter_provider=meter_provider)


def metric_exporter() -> MetricExporter:
    """Make the exporter of metrics that `OTEL_EXPORTER_OTLP_*` describe."""
    if by_grpc("METRICS"):
        from opentelemetry.exporter.otlp.proto.grpc import (  # noqa: PLC0415 - an extra
            metric_exporter,
        )

        return metric_exporter.OTLPMetricExporter()
    return OTLPMetricExporter()
