"""Read what a run used of CPU and memory, as totals and over time."""

from collections.abc import Callable

from msgspec.structs import replace

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import resources
from lab.promql.request_time import Window
from lab.promql.selectors import RunSelector
from lab.runs import record
from lab.runs.bottleneck import load_window
from lab.runs.record import ResourceName, Timeline
from lab.runs.timeline import Intervals

Values = list[float | None]
Expression = Callable[[resources.Resource, RunSelector, Window], str]
NAMES: dict[ResourceName, resources.Resource] = {
    resource.value: resource for resource in resources.Resource
}


def read_resources(
    prometheus: Prometheus, run: RunSelector, period: Period, timeline: Timeline
) -> list[record.Resource]:
    """Read what each program used, and the machine; those of which nothing is known are left out.

    `timeline` has their curves, of which the highest CPU is taken.
    """
    window = load_window(period)

    def value(expression: Expression, resource: resources.Resource) -> float | None:
        return prometheus.number(expression(resource, run, window), period.read_at)

    def read(name: ResourceName, resource: resources.Resource) -> record.Resource:
        mean = value(resources.cpu, resource)
        # The mean is of the whole load, ends included that no interval's rate covers.
        curve = [mean, *timeline.cpu.get(name, [])]
        return record.Resource(
            name=name,
            cpu_mean=mean,
            cpu_max=max((cpu for cpu in curve if cpu is not None), default=None),
            memory=value(resources.memory, resource),
            cores=value(resources.cores, resource),
        )

    found = [read(name, resource) for name, resource in NAMES.items()]
    return [one for one in found if one.cpu_mean is not None or one.memory is not None]


def add_resources_over_time(
    prometheus: Prometheus, run_id: str, period: Period, timeline: Timeline
) -> Timeline:
    """Add the curves of CPU and memory."""
    intervals = Intervals.divide(period)
    run, window = intervals.select(run_id, period), intervals.window(period)

    def curves(expression: Expression) -> dict[ResourceName, Values]:
        found: dict[ResourceName, Values] = {
            name: prometheus.over_time(expression(resource, run, window), "", intervals.ends).get(
                "", []
            )
            for name, resource in NAMES.items()
        }
        return {name: values for name, values in found.items() if values}

    return replace(timeline, cpu=curves(resources.cpu), memory=curves(resources.memory))
