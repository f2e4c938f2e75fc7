"""Metrics leave at even times of the clock, and the last when the clinic stops."""

import time
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, MetricsTimeoutError
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from clinic.telemetry import export_interval
from clinic.telemetry.aligned_reader import AlignedMetricReader, seconds_to_middle


class Slow(MetricExporter):
    """Takes its time, and remembers when it was asked, and what was counted by then."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.sent: list[tuple[float, Any]] = []

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        metric = metrics_data.resource_metrics[0].scope_metrics[0].metrics[0]
        point: Any = next(iter(metric.data.data_points))
        self.sent.append((point.time_unix_nano / 1e9, point))
        time.sleep(self.seconds)
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: Any) -> bool:
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("now", "wait"), [(100.0, 2.5), (102.4, 0.1), (102.5, 5.0), (102.6, 4.9), (104.9, 2.6)]
)
def test_the_next_middle_of_an_interval_is_waited_for(now: float, wait: float) -> None:
    assert seconds_to_middle(now, 5) == pytest.approx(wait)


def test_slow_exports_do_not_put_off_the_next_and_the_last_count_is_sent() -> None:
    exporter = Slow(0.2)
    meters = MeterProvider([AlignedMetricReader(exporter, 0.5)], shutdown_on_exit=False)
    counter = meters.get_meter("test").create_counter("iterations")
    counter.add(1)
    time.sleep(2.2)
    counter.add(1)
    meters.shutdown()

    *times, _ = (at for at, _ in exporter.sent)
    intervals = {round(at // 0.5) for at in times}
    assert len(intervals) == len(times) >= 3
    assert all(0.2 < at % 0.5 < 0.5 for at in times)
    assert all(later - earlier < 0.8 for earlier, later in pairwise(times))
    assert exporter.sent[-1][1].value == 2


def test_metrics_that_cannot_be_read_once_are_sent_the_next_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Slow(0)
    reader = AlignedMetricReader(exporter, 60)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    meters.get_meter("test").create_counter("iterations").add(1)

    def too_late(*_: Any, **__: Any) -> None:
        raise MetricsTimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(reader, "collect", too_late)
        reader._send_once()  # noqa: SLF001 - what its thread does
    meters.shutdown()

    assert "timed out" in caplog.text
    assert len(exporter.sent) == 1


@pytest.mark.parametrize(("said", "seconds"), [("1000", 1), ("often", 5), ("0", 5), ("inf", 5)])
def test_the_interval_is_the_standard_variables(
    monkeypatch: pytest.MonkeyPatch, said: str, seconds: float
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", said)

    assert export_interval() == seconds
