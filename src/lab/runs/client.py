"""Read what k6 measured of a run beyond counts and percentiles."""

import math
from collections.abc import Iterable

from msgspec.structs import replace

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import client, load_run
from lab.promql.selectors import RunSelector
from lab.runs.histograms import count_between
from lab.runs.record import Check, Heatmap, Iterations, OperationStats, Phase, PhaseName
from lab.runs.timeline import QUANTILE, Intervals

BUCKETS_PER_DOUBLING = 2
# To the nanosecond: a histogram's quantile of zeros is not quite zero.
DIGITS = 9


def add_distribution(
    prometheus: Prometheus,
    run: RunSelector,
    period: Period,
    stats: Iterable[OperationStats],
    by: str = "",
) -> list[OperationStats]:
    """Add extremes, p90 and the share over the limit to the stats of operations, or of all."""

    def values(query: str) -> dict[str, float]:
        return prometheus.by_label(query, by, period.read_at)

    shortest, longest = values(client.client_min(run, by)), values(client.client_max(run, by))
    p90 = values(load_run.client_quantile(0.9, run, by))
    over = values(client.over_limit_share(run, by))

    def with_distribution(row: OperationStats) -> OperationStats:
        name = row.operation if by else ""
        return replace(
            row,
            client_min=shortest.get(name),
            client_p90=p90.get(name),
            client_max=longest.get(name),
            over_limit_share=over.get(name),
        )

    return [with_distribution(row) for row in stats]


def read_phases(prometheus: Prometheus, run: RunSelector, period: Period) -> dict[PhaseName, Phase]:
    """Read the phases of requests, all operations together; none that k6 did not send."""
    names: dict[PhaseName, client.Phase] = {phase.value: phase for phase in client.Phase}
    phases = {}
    for name, phase in names.items():
        mean = prometheus.number(client.phase_mean(phase, run), period.read_at)
        if mean is not None and not math.isnan(mean):
            p95 = prometheus.number(client.phase_quantile(QUANTILE, phase, run), period.read_at)
            phases[name] = Phase(mean=mean, p95=p95 and round(p95, DIGITS))
    return phases


def read_iterations(prometheus: Prometheus, run: RunSelector, period: Period) -> Iterations | None:
    """Read the number and the duration of iterations; None if none has ended."""
    count = prometheus.number(client.iterations(run), period.read_at)
    if not count:
        return None
    return Iterations(
        count=round(count),
        mean=prometheus.number(client.iteration_mean(run), period.read_at),
        p95=prometheus.number(client.iteration_quantile(QUANTILE, run), period.read_at),
    )


def read_checks(prometheus: Prometheus, run: RunSelector, period: Period) -> list[Check]:
    """Read the results of checks, those that failed most often first; of a part there are none."""
    if run.interval:
        return []
    counts: dict[str, dict[str, int]] = {}
    for labels, value in prometheus.series(client.checks(run), period.read_at):
        results = counts.setdefault(labels.get("check", ""), {})
        results[labels.get("result", "")] = round(value)
    checks = [
        Check(name, results.get("passed", 0), results.get("failed", 0))
        for name, results in counts.items()
    ]
    return sorted(checks, key=lambda check: (-check.failed, check.name))


def read_heatmap(prometheus: Prometheus, run_id: str, period: Period) -> Heatmap | None:
    """Count all requests of a run by interval and duration; the last interval has the rest."""
    run = RunSelector(run_id, period.window)
    bounds = [period.started, *Intervals.divide(period).ends]
    query = load_run.client_durations(run)
    totals = prometheus.histograms(query, "", bounds).get("", [{} for _ in bounds])
    last = prometheus.histograms(query, "", [period.read_at]).get("", [{}])
    first, counts = count_between((*totals[:-1], *last), BUCKETS_PER_DOUBLING)
    return Heatmap(first=first, counts=counts) if any(counts) else None
