"""Metrics of the process, and whether the database is available."""

import os
from collections.abc import Callable
from pathlib import Path

from opentelemetry.metrics import Meter, Observation

MEMORY = "process.memory.usage"
PROCESS_METRICS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    MEMORY: None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "cpython.gc.collections": None,
}

workers = 1
"""Processes that share memory with this one and with the parent that has forked them."""


def process_metrics(meter: Meter) -> dict[str, list[str] | None]:
    """Return what to measure of the process; measure the memory of a worker here.

    The resident memory of workers counts what they share once for each, and leaves out their
    parent.
    """
    if workers == 1 or not proportional_set("self").exists():
        return PROCESS_METRICS
    meter.create_observable_up_down_counter(
        MEMORY,
        [lambda _: [Observation(memory("self") + memory(str(os.getppid())) // workers)]],
        "By",
        "Memory of the process, with its part of what it shares with others.",
    )
    return {name: kinds for name, kinds in PROCESS_METRICS.items() if name != MEMORY}


def report_expected_processes(meter: Meter, number: int) -> None:
    """Report how many processes should serve together: a missing one reports nothing itself."""
    meter.create_observable_gauge(
        "clinic.processes.expected",
        [lambda _: [Observation(number)]],
        description="Processes of the API that should serve together, this one included.",
    )


def memory(process: str) -> int:
    """Return the bytes of private memory, and the process's part of what it shares."""
    lines = proportional_set(process).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def proportional_set(process: str) -> Path:
    return Path(f"/proc/{process}/smaps_rollup")


def report_availability(meter: Meter, available: Callable[[], bool]) -> None:
    """Report whether the database is available, even without requests."""
    meter.create_observable_gauge(
        "clinic.database.up",
        [lambda _: [Observation(int(available()))]],
        description="1 while the database is available to the API, else 0.",
    )
