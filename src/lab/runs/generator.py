"""What a run uses of the generator's machine: k6 itself, all programs, those that do not belong."""

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import psutil
import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from lab.runs.environment import OtherCpu
from lab.stack.inherited import without_variables

SERVICE = "k6-process"
# A thread's last values are lost when k6 ends, so they are read more often than pushed.
READ_SECONDS = 0.5
READS_PER_PUSH = 10
PUSH_TIMEOUT = 2.0
PROCESSES = Path("/proc")
# Without the time that a hypervisor gave to other machines.
USED_CPU_TIMES = ("user", "nice", "system", "irq", "softirq")

FindPids = Callable[[], list[int]]
Observe = Callable[[CallbackOptions], list[Observation]]


class Usage:
    """What processes use: CPU time of their threads, their wait for a CPU, resident memory."""

    def __init__(self) -> None:
        self.used: float | None = None
        self.waited: float | None = None
        self.memory: int | None = None
        self._threads: dict[str, tuple[int, int]] = {}
        self._processes: dict[int, float] = {}
        self._memory: dict[int, int] = {}

    def read(self, *pids: int) -> None:
        """Read the current values; those of a thread, or of a process, that has ended stay."""
        for pid in pids:
            with suppress(psutil.Error):
                self._memory[pid] = psutil.Process(pid).memory_info().rss
            with suppress(OSError):
                for thread in (PROCESSES / str(pid) / "task").iterdir():
                    with suppress(OSError):
                        used, waited, _ = (thread / "schedstat").read_text().split()
                        self._threads[thread.name] = int(used), int(waited)
            with suppress(psutil.Error):
                self._processes[pid] = sum(psutil.Process(pid).cpu_times()[:2])
        if self._memory:
            self.memory = sum(self._memory.values())
        if self._threads:
            self.used, self.waited = (
                sum(values) / 1e9 for values in zip(*self._threads.values(), strict=True)
            )
        elif self._processes:
            self.used = sum(self._processes.values())


@contextmanager
def observe(url: str, run_id: str, find_pids: FindPids, other_cpu: OtherCpu) -> Iterator[None]:
    """Push what a run uses of this machine, as OTLP metrics; a failure to push is ignored."""
    # The SDK logs each failed push, which would be in the middle of k6's output.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    usage, over = Usage(), Event()
    with without_variables("OTEL_"):  # they are the API's
        provider = _provider(url, run_id, usage, other_cpu)

    def push() -> None:
        with suppress(Exception):
            provider.force_flush()

    def push_until_over() -> None:
        pids: list[int] = []
        reads = 0
        while not over.wait(READ_SECONDS):
            pids = pids or find_pids()
            usage.read(*pids)
            # The first values begin the first rate.
            if reads % READS_PER_PUSH == 0:
                push()
            reads += 1
        push()
        provider.shutdown()

    thread = Thread(target=push_until_over, name="k6-process", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2 * PUSH_TIMEOUT)


def _machine_cpu_seconds() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in USED_CPU_TIMES)


def _machine_memory() -> int:
    memory = psutil.virtual_memory()
    return memory.total - memory.available


def _provider(url: str, run_id: str, usage: Usage, other_cpu: OtherCpu) -> MeterProvider:
    session = requests.Session()
    session.trust_env = False  # a proxy does not reach the stack
    exporter = OTLPMetricExporter(url, timeout=PUSH_TIMEOUT, session=session)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, math.inf)],
        resource=Resource({"service.name": SERVICE}),
        shutdown_on_exit=False,
    )
    meter = provider.get_meter(__name__)
    before = _machine_cpu_seconds()

    def observed(value: Callable[[], float | None]) -> list[Observe]:
        def callback(_: CallbackOptions) -> list[Observation]:
            number = value()
            return [] if number is None else [Observation(number, {"testid": run_id})]

        return [callback]

    meter.create_observable_counter(
        "k6.process.cpu.time", observed(lambda: usage.used), "s", "CPU time of k6's threads."
    )
    meter.create_observable_counter(
        "k6.process.run_queue.time",
        observed(lambda: usage.waited),
        "s",
        "Time that k6's threads were ready to run and had no CPU.",
    )
    meter.create_observable_counter(
        "machine.other.cpu.time",
        observed(other_cpu.seconds),
        "s",
        "CPU time of programs other than the stack, k6 and this one.",
    )
    meter.create_observable_counter(
        "machine.cpu.time",
        observed(lambda: _machine_cpu_seconds() - before),
        "s",
        "CPU time of all programs of the machine.",
    )
    meter.create_observable_gauge(
        "k6.process.memory.usage",
        observed(lambda: usage.memory),
        "By",
        "Resident memory of k6, of all its processes.",
    )
    meter.create_observable_gauge(
        "machine.memory.usage",
        observed(_machine_memory),
        "By",
        "Memory of the machine that is not available.",
    )
    meter.create_observable_gauge(
        "machine.cpus", observed(os.cpu_count), "{cpu}", "CPUs of the machine."
    )
    return provider
