"""Metrics are exported at fixed times of the clock, and once more at shutdown."""

import time
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, MetricsTimeoutError
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from clinic.telemetry import export_interval
from clinic.telemetry.aligned_reader import AlignedMetricReader, seconds_to_middle


class CountExporter(MetricExporter):
    """Stores the value of the only counter at each export."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        metric = metrics_data.resource_metrics[0].scope_metrics[0].metrics[0]
        point: Any = next(iter(metric.data.data_points))
        self.counts.append(point.value)
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: Any) -> bool:
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("now", "wait"), [(100.0, 2.5), (102.4, 0.1), (102.5, 5.0), (102.6, 4.9), (104.9, 2.6)]
)
def test_the_next_export_is_due_in_the_middle_of_an_interval(now: float, wait: float) -> None:
    assert seconds_to_middle(now, 5) == pytest.approx(wait)


def test_counts_are_exported_periodically_and_at_shutdown() -> None:
    exporter = CountExporter()
    meters = MeterProvider([AlignedMetricReader(exporter, 0.05)], shutdown_on_exit=False)
    counter = meters.get_meter("test").create_counter("iterations")

    counter.add(1)
    deadline = time.monotonic() + 30
    while len(exporter.counts) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    counter.add(1)
    meters.shutdown()

    assert exporter.counts[:2] == [1, 1]
    assert exporter.counts[-1] == 2


def test_metrics_that_cannot_be_collected_are_exported_the_next_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collect = AlignedMetricReader.collect
    failures = iter([MetricsTimeoutError])

    def collect_late(reader: AlignedMetricReader) -> None:
        for failure in failures:
            raise failure
        collect(reader)

    monkeypatch.setattr(AlignedMetricReader, "collect", collect_late)
    exporter = CountExporter()
    meters = MeterProvider([AlignedMetricReader(exporter, 0.05)], shutdown_on_exit=False)
    meters.get_meter("test").create_counter("iterations").add(1)

    deadline = time.monotonic() + 30
    while not exporter.counts and time.monotonic() < deadline:
        time.sleep(0.01)
    meters.shutdown()

    assert "timed out" in caplog.text
    assert exporter.counts[0] == 1


@pytest.mark.parametrize(("value", "seconds"), [("1000", 1), ("often", 5), ("0", 5), ("inf", 5)])
def test_the_interval_is_read_from_the_standard_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, seconds: float
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", value)

    assert export_interval() == seconds
