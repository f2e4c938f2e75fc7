"""Measure what other programs took of the machine while a load ran on it."""

import os
import resource
import time
from contextlib import suppress

import psutil

from lab.stack.config import StackConfig
from lab.stack.supervisor import PID_FILE

BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


class OtherCpu:
    """Watches, from when it is made, what neither the stack nor k6 takes of the processors."""

    def __init__(self, config: StackConfig) -> None:
        self._bundle = config
        self._began, self._before = time.monotonic(), self._seconds()

    def share(self) -> float | None:
        """Give the share of all processors since then; in containers it is not known."""
        after = self._seconds()
        if self._before is None or after is None:
            return None
        possible = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return min(max((after - self._before) / possible, 0.0), 1.0)

    def _seconds(self) -> float | None:
        """Sum up the seconds of the processors that others had."""
        try:
            supervisor = psutil.Process(int((self._bundle.state / PID_FILE).read_text()))
            bundles = [supervisor, *supervisor.children(recursive=True)]
        except (OSError, ValueError, psutil.Error):
            return None
        times = psutil.cpu_times()
        busy = sum(getattr(times, kind, 0.0) for kind in BUSY)
        for process in bundles:
            with suppress(psutil.Error):
                busy -= sum(process.cpu_times()[:4])
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            busy -= used.ru_utime + used.ru_stime
        return busy
