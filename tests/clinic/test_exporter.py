"""Spans that a receiver refuses are counted as failed."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SpanExportResult

from clinic.telemetry.exporter import CountingSpanExporter
from lab.stack.config import HOST
from performance.torture.fault_proxy import Fault, FaultProxy


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.FULL, Fault.AWAY, Fault.BROKEN])
def test_a_batch_that_is_not_accepted_is_counted_as_failed(
    monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with FaultProxy(1) as proxy:
        proxy.set(fault)
        exporter = CountingSpanExporter(
            endpoint=f"http://{HOST}:{proxy.port}/v1/traces", timeout=1, meter_provider=provider
        )
        result = exporter.export([])
    data = reader.get_metrics_data()
    provider.shutdown()

    assert result is SpanExportResult.FAILURE
    assert data is not None
    [errors] = [
        [(point.attributes or {}).get("error.type") for point in metric.data.data_points]
        for scopes in data.resource_metrics
        for scope in scopes.scope_metrics
        for metric in scope.metrics
        if metric.name == "otel.sdk.exporter.span.exported"
    ]
    assert errors
    assert all(errors)
