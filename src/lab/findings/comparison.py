"""Compare two runs, operation by operation: what differs, and whether it is significant."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lab.findings import noise, preconditions
from lab.findings.noise import ALL, Difference, Pair
from lab.runs.record import OperationStats, Record, SideName

Outcome = Literal["regression", "inconclusive", "no regression"]
Direction = Literal["worse", "better", "equal", "inconclusive", "unknown"]
# The direction of an operation is the first of these that one of its numbers has.
PRECEDENCE: tuple[Direction, ...] = ("worse", "better", "unknown", "inconclusive", "equal")

# Without --fail-over, a comparison is inconclusive if the noise is larger than this. It is about
# the smallest change of the median that a run of 20 s can show.
DEFAULT_ALLOWED = 0.2
# Smaller changes do not fail a pipeline, even if they are significant: 0.5 % of the requests, and
# at p95 the millisecond that one garbage collection takes.
MIN_FAILED_SHARE_CHANGE = 0.005
MIN_TAIL_CHANGE = 0.001
# 99.7 % of a normal distribution.
STANDARD_DEVIATIONS = 3.0
# Keeps the ratio of the CPU left to the run finite where other programs used all of it.
MIN_FREE_CPU = 0.01


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of each operation. The comparison judges some; the others help to explain it."""

    name: str
    field: str
    side: SideName = "client"
    quantile: float = 0.0
    judged: bool = False

    def value(self, stats: OperationStats | None) -> float | None:
        found: float | None = getattr(stats, self.field, None)
        return found


PERCENTILES = (
    Metric("client p50", "client_p50", "client", 0.5, judged=True),
    Metric("client p95", "client_p95", "client", 0.95, judged=True),
    Metric("client p99", "client_p99", "client", 0.99),
    Metric("server p95", "server_p95", "server", 0.95),
    Metric("database p95", "database_p95", "database", 0.95),
)
FAILED = Metric("failed share", "failed_share", judged=True)


@dataclass(frozen=True, slots=True)
class Change:
    """A number in both runs.

    `difference` and `noise` are relative to A; of the failed share they are absolute. Runs that are
    `length` times as long would show the smallest change that counts, if they are inconclusive.
    """

    before: float | None
    after: float | None
    difference: float | None = None
    noise: float | None = None
    direction: Direction = "unknown"
    length: float | None = None


@dataclass(frozen=True, slots=True)
class OperationComparison:
    """One operation, or all of them, in both runs; `percentiles` by the metric's name."""

    operation: str
    requests: tuple[int, int]
    percentiles: dict[str, Change]
    failed: Change

    @property
    def direction(self) -> Direction:
        directions = {change.direction for _, change in self.judged()}
        return next(direction for direction in PRECEDENCE if direction in directions)

    def judged(self) -> Iterator[tuple[Metric, Change]]:
        for metric in PERCENTILES:
            if metric.judged:
                yield metric, self.percentiles[metric.name]
        yield FAILED, self.failed


@dataclass(frozen=True, slots=True)
class JudgedChange:
    """A judged number of one operation."""

    operation: str
    metric: Metric
    change: Change


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    `problems` and `remarks` are sentences; `changes` are programs and settings that differ.
    `allowed` is the largest relative change of a percentile that is not a regression.
    """

    before: Record
    after: Record
    operations: list[OperationComparison]
    total: OperationComparison
    allowed: float
    problems: list[str]
    remarks: list[str]
    changes: list[tuple[str, str, str]]

    def judged(self, direction: Direction) -> list[JudgedChange]:
        """List the judged numbers that changed in this direction, of each operation and of all."""
        return [
            JudgedChange(row.operation, metric, change)
            for row in (self.total, *self.operations)
            for metric, change in row.judged()
            if change.direction == direction
        ]

    def regressions(self) -> list[JudgedChange]:
        """List what is significantly worse, percentiles only beyond what is allowed."""
        return [
            judged
            for judged in self.judged("worse")
            if judged.metric is FAILED or (judged.change.difference or 0.0) > self.allowed
        ]

    @property
    def outcome(self) -> Outcome:
        """What `--fail-over` concludes: whether B is worse by more than what is allowed."""
        if self.regressions():
            return "regression"
        if self.judged("inconclusive") or self.total.direction == "unknown":
            return "inconclusive"
        return "no regression"

    @property
    def seconds_to_show(self) -> float:
        """The length of runs that would conclude what is inconclusive; infinite if none would."""
        lengths = (judged.change.length or 0.0 for judged in self.judged("inconclusive"))
        seconds = max(self.before.period.seconds, self.after.period.seconds)
        return seconds * max(lengths, default=0.0)


def compare(before: Record, after: Record, allowed: float = DEFAULT_ALLOWED) -> Comparison:
    """Compare two runs as far as possible, whatever the problems."""
    allowance = _cpu_allowance(before, after)
    differences = {
        metric: noise.differences(_pairs(before, after, metric.side), metric.quantile, allowance)
        for metric in PERCENTILES
    }
    dispersion = math.sqrt(noise.dispersion(before.timeline) * noise.dispersion(after.timeline))
    first = {stats.operation: stats for stats in before.operations}
    second = {stats.operation: stats for stats in after.operations}

    def row(
        name: str, before: OperationStats | None, after: OperationStats | None
    ) -> OperationComparison:
        changes = {
            metric.name: _percentile_change(metric, before, after, estimates.get(name), allowed)
            for metric, estimates in differences.items()
        }
        requests = (before.requests if before else 0, after.requests if after else 0)
        return OperationComparison(
            name, requests, changes, _failure_change(before, after, dispersion)
        )

    return Comparison(
        before,
        after,
        operations=[row(name, first.get(name), second.get(name)) for name in {**first, **second}],
        total=row(ALL, before.total, after.total),
        allowed=allowed,
        problems=preconditions.problems(before, after),
        remarks=preconditions.remarks(before, after),
        changes=preconditions.changes(before, after),
    )


def _cpu_allowance(before: Record, after: Record) -> float:
    """Allow for other programs: with half of the CPU free, a run is taken to be half as fast."""
    first, second = map(preconditions.other_cpu_share, (before, after))
    if first is None or second is None:
        return 0.0
    return abs(math.log(max(1 - first, MIN_FREE_CPU) / max(1 - second, MIN_FREE_CPU)))


def _pairs(before: Record, after: Record, side: SideName) -> dict[str, Pair]:
    first, second = (
        {histogram.operation: histogram for histogram in run.histograms if histogram.side == side}
        for run in (before, after)
    )
    return {
        name: (first[name], second[name])
        for name in first
        if name in second and len(first[name].segments) == len(second[name].segments)
    }


def _percentile_change(
    metric: Metric,
    stats_before: OperationStats | None,
    stats_after: OperationStats | None,
    estimate: Difference | None,
    allowed: float,
) -> Change:
    before, after = metric.value(stats_before), metric.value(stats_after)
    if not before or after is None:
        return Change(before, after)
    if not estimate:
        return Change(before, after, after / before - 1)
    direction: Direction = "equal"
    if metric.quantile > 0.5 and abs(after - before) < MIN_TAIL_CHANGE:  # noqa: PLR2004 - a tail
        direction = "equal"
    elif estimate.significant:
        direction = "worse" if estimate.share > 0 else "better"
    elif estimate.noise > allowed:
        length = estimate.length_to_show(allowed)
        return Change(before, after, estimate.share, estimate.noise, "inconclusive", length)
    return Change(before, after, estimate.share, estimate.noise, direction)


def _failure_change(
    before: OperationStats | None, after: OperationStats | None, dispersion: float
) -> Change:
    """Compare failed shares by a two-proportion test that takes clustered failures into account."""
    first, second = (stats.failed_share if stats else None for stats in (before, after))
    if not before or not after or not before.requests or not after.requests:
        return Change(first, second)
    failed = before.failed_share * before.requests + after.failed_share * after.requests
    # One failure and one success more, as 0 of few requests does not mean that none can fail.
    share = (failed + 1) / (before.requests + after.requests + 2)
    variance = share * (1 - share) * (1 / before.requests + 1 / after.requests)
    limit = max(STANDARD_DEVIATIONS * math.sqrt(dispersion * variance), MIN_FAILED_SHARE_CHANGE)
    difference = after.failed_share - before.failed_share
    direction: Direction = "equal"
    if abs(difference) > limit:
        direction = "worse" if difference > 0 else "better"
    return Change(first, second, difference, limit, direction)
