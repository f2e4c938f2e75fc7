"""Metrics that are sent at even times of the clock."""

import logging
import math
import time
from threading import Event, Thread
from typing import Any

from opentelemetry.sdk.metrics import MetricsTimeoutError
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

logger = logging.getLogger(__name__)


class AlignedMetricReader(PeriodicExportingMetricReader):
    """Sends the metrics once in each interval of so many seconds of the clock, at its middle.

    The SDK's own reader waits an interval after each export, so that under load its exports come
    later and later. Between two points of a graph, which lie at the ends of such intervals, there
    would once be none, and a quarter of the requests would seem to be missing there.
    """

    def __init__(self, exporter: MetricExporter, seconds: float) -> None:
        super().__init__(exporter, math.inf)  # so that it sends nothing by itself
        self._seconds = seconds
        self._ending = Event()
        self._sender = Thread(target=self._send, name="metrics", daemon=True)
        self._sender.start()

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Send what there is, and stop."""
        self._ending.set()
        self._sender.join(timeout_millis / 1000)
        super().shutdown(timeout_millis, **kwargs)

    def _send(self) -> None:
        while not self._ending.wait(seconds_to_middle(time.time(), self._seconds)):
            self._send_once()
        self._send_once()

    def _send_once(self) -> None:
        try:
            self.collect()
        except MetricsTimeoutError:
            logger.warning("The metrics were not read in time; the next are due.", exc_info=True)


def seconds_to_middle(now: float, interval: float) -> float:
    """Say how long it is to the next middle of an interval; one that is now is over."""
    return interval - (now - interval / 2) % interval
