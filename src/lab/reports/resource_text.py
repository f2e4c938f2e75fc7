"""Say what a run used of CPU and memory."""

from collections.abc import Callable

from lab.findings.names import RESOURCES
from lab.runs.record import Record, Resource, ResourceName

# Why nothing may be known of a resource.
UNKNOWN: dict[ResourceName, str] = {
    "api": "The run was served by an API that does not report to this stack.",
    "postgresql": (
        "Its processes can be read only on Linux, without Docker, of the stack that served the run."
    ),
    "k6": "It was not started by `just` on this machine.",
    "machine": "k6 was not started by `just` on this machine.",
}
MEBI = 2**20
GIBI = 2**30


def texts(record: Record) -> list[str]:
    """Say what each program used; nothing of what is not known."""
    return [
        *_line("CPU, cores", record, _cores),
        *_line("Memory", record, lambda it: None if it.memory is None else memory(it.memory)),
    ]


def missing_texts(record: Record) -> list[str]:
    """Say what is not known of a run of which some resources are, and why."""
    known = {resource.name for resource in record.resources}
    return [
        f"{RESOURCES[name]}: not known. {reason}"
        for name, reason in UNKNOWN.items()
        if known and name not in known
    ]


def _line(head: str, record: Record, value: Callable[[Resource], str | None]) -> list[str]:
    parts = [
        f"{_name(resource)} {text}" for resource in record.resources if (text := value(resource))
    ]
    return [f"{head}: {', '.join(parts)}."] if parts else []


def _name(resource: Resource) -> str:
    return "machine" if resource.name == "machine" else RESOURCES[resource.name]


def _cores(resource: Resource) -> str | None:
    if resource.cpu_mean is None:
        return None
    used = f"{resource.cpu_mean:.2f}"
    whole = resource.name in {"api", "machine"} and resource.cores
    return f"{used} of {resource.cores:g}" if whole else used


def memory(number: float) -> str:
    """Write bytes of memory: `112 MiB`."""
    return f"{number / GIBI:.1f} GiB" if number >= GIBI else f"{number / MEBI:.0f} MiB"
