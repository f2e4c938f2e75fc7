"""What a run used: CPU and memory of the API, PostgreSQL, k6 and the generator's machine.

The API's and PostgreSQL's belong to their processes, so they have a value only for a run whose
requests that API has served. k6's and the machine's are what `just` measured where it ran k6.
Without one of these sources there is no value.
"""

from dataclasses import replace
from enum import StrEnum

from lab.promql import load_run
from lab.promql.api import CLINIC
from lab.promql.postgresql import SAMPLER
from lab.promql.request_time import Window
from lab.promql.selectors import RunSelector, Side

K6_CPU = "k6_process_cpu_time_seconds_total"
MACHINE_CPUS = "machine_cpus"
NODE_CPUS = 'node_cpu_seconds_total{job="node",mode="idle"}'


class Resource(StrEnum):
    """A program, or the whole machine, of which a run used CPU and memory."""

    API = "api"
    POSTGRESQL = "postgresql"
    K6 = "k6"
    MACHINE = "machine"


# Of services: what they count, whoever calls them.
SERVICE_CPU = {
    Resource.API: f"process_cpu_time_seconds_total{{{CLINIC}}}",
    Resource.POSTGRESQL: f"postgresql_cpu_time_seconds_total{{{SAMPLER}}}",
}
SERVICE_MEMORY = {
    Resource.API: f"process_memory_usage_bytes{{{CLINIC}}}",
    Resource.POSTGRESQL: f"postgresql_memory_bytes{{{SAMPLER}}}",
}
# Of the generator: series of the run.
GENERATOR_CPU = {Resource.K6: K6_CPU, Resource.MACHINE: "machine_cpu_time_seconds_total"}
GENERATOR_MEMORY = {
    Resource.K6: "k6_process_memory_usage_bytes",
    Resource.MACHINE: "machine_memory_usage_bytes",
}


def cpu(resource: Resource, run: RunSelector, window: Window) -> str:
    """Cores in use: the mean of the load, or of an interval of the timeline."""
    service = resource in SERVICE_CPU
    series = SERVICE_CPU[resource] if service else run.marks(GENERATOR_CPU[resource])
    if window.interval:
        used = f"sum({window.rate(series)})"
    else:
        seconds = window.total(series) if service else load_run.sum_counters(run, series)
        used = f"{seconds} / {load_run.load_seconds(run)}"
    return served(used, run) if service else used


def memory(resource: Resource, run: RunSelector, window: Window) -> str:
    """The most resident memory in bytes during the load, or the interval."""
    if resource in SERVICE_MEMORY:
        return served(f"sum({window.most(SERVICE_MEMORY[resource])})", run)
    series = run.marks(GENERATOR_MEMORY[resource])
    if run.interval:
        return f"sum({window.most(series)})"
    return f"sum(max_over_time({series}[{run.window}]))"


def cores(resource: Resource, run: RunSelector, window: Window) -> str:
    """CPUs that there are for it."""
    if resource in GENERATOR_CPU:
        return machine_cpus(run)
    return served(f"(count({window.last(NODE_CPUS)}) or {machine_cpus(run)})", run)


def machine_cpus(run: RunSelector) -> str:
    """CPUs of the generator's machine."""
    return f"max(last_over_time({run.marks(MACHINE_CPUS)}[{run.window}]))"


def served(expression: str, run: RunSelector) -> str:
    """The value of an expression, if the stack's API has served requests of the run."""
    spans = load_run.spans(Side.SERVER, replace(run, interval=None))
    return f"({expression} and on () {spans} > 0)"
