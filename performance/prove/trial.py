"""Plant a cause, run the load, and compare the bottleneck that the run names."""

from dataclasses import dataclass

from lab.clients.prometheus import Prometheus
from lab.promql import bottleneck, run_list
from lab.promql.request_time import Window
from lab.promql.run_range import SECONDS_AFTER
from lab.promql.selectors import RETENTION, RunSelector
from lab.runs import record as records
from lab.runs.record import Record
from performance.prove.causes import NONE, PlantedCause
from performance.stack import Stack


@dataclass(frozen=True)
class Trial:
    """A cause to plant, and the load that meets it."""

    cause: PlantedCause
    users: int
    repetition: int
    duration: str
    strength: float = 1.0


@dataclass(frozen=True)
class Result:
    """What a run named: the bottleneck, and the others in the order of their shares."""

    trial: Trial
    run_id: str
    named: str
    share: float
    others: tuple[str, ...]
    in_grafana: str
    """What the dashboard's expression names."""
    client_p95: float | None
    other_cpu_share: float | None

    @property
    def right(self) -> bool:
        second = self.trial.cause.second
        return (
            self.named == self.trial.cause.expected
            and (not second or self.others[:1] == (second,))
            and self.in_grafana == self.named
        )


def run(stack: Stack, trial: Trial) -> Result:
    """Run a load with the cause planted; raise CannotPlantError where that is impossible."""
    with trial.cause.planter(trial.strength)(stack) as planted:
        load = trial.cause.load
        settings = {"DURATION": trial.duration, **load.settings_for(trial.users), **planted}
        run_id = stack.run_load(load.profile, settings)
    record = records.load(stack.results / f"{run_id}.json")
    return read_result(trial, record, named_in_grafana(stack, record))


def named_in_grafana(stack: Stack, record: Record) -> str:
    """Return what the dashboard's panel names in the time range that a run's link sets."""
    run = RunSelector(record.run_id, RETENTION)
    at = record.period.ended + SECONDS_AFTER
    with Prometheus(stack.config.prometheus_url) as prometheus:

        def variable(expression: str) -> str:
            return f"{prometheus.number(expression, at):.3f}".removesuffix(".000")

        load = Window(
            f"{variable(run_list.load_length(run))}s",
            variable(run_list.load_start(run)),
            variable(run_list.load_end(run)),
        )
        shares = prometheus.by_label(bottleneck.causes(run, load), bottleneck.CAUSE, at)
    return next(iter(bottleneck.rank(shares)), NONE)


def read_result(trial: Trial, record: Record, in_grafana: str) -> Result:
    return Result(
        trial,
        record.run_id,
        record.bottleneck.cause,
        record.bottleneck.share,
        tuple(other.cause for other in record.other_bottlenecks),
        in_grafana,
        record.total.client_p95,
        record.environment.other_cpu_share if record.environment else None,
    )
