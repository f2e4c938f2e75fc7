"""Write what `lab` says of runs to Prometheus, as OTLP metrics."""

import time
from collections.abc import Iterable, Mapping

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SERVICE = "load-run"
TIMEOUT = 2.0


def publish(url: str, series: Mapping[str, Iterable[Mapping[str, str]]]) -> bool:
    """Publish series by metric, each with its labels; return whether Prometheus took them.

    The names are those of lab.promql.published. All get the present time as their value. Nothing
    that a report needs depends on them, so a failure is not an error.
    """
    now = time.time()
    attributes = [KeyValue(key="service.name", value=AnyValue(string_value=SERVICE))]
    request = ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=Resource(attributes=attributes),
                scope_metrics=[
                    ScopeMetrics(
                        metrics=[
                            Metric(name=name, gauge=_gauge(labels, now))
                            for name, labels in ((name, list(it)) for name, it in series.items())
                            if labels  # Prometheus logs an error for a metric without series
                        ]
                    )
                ],
            )
        ]
    )
    headers = {"Content-Type": "application/x-protobuf"}
    try:
        response = httpx.post(
            url,
            content=request.SerializeToString(),
            headers=headers,
            timeout=TIMEOUT,
            trust_env=False,  # a proxy does not reach the stack
        )
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return not response.is_error


def _gauge(series: Iterable[Mapping[str, str]], now: float) -> Gauge:
    return Gauge(
        data_points=[
            NumberDataPoint(
                attributes=[
                    KeyValue(key=name, value=AnyValue(string_value=value))
                    for name, value in labels.items()
                ],
                time_unix_nano=int(now * 1e9),
                as_double=now,
            )
            for labels in series
        ]
    )
