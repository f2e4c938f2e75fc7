"""Compare two runs, operation by operation: what differs, and whether beyond the noise."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from lab.findings import noise
from lab.findings.noise import ALL, Difference, Pair
from lab.findings.preconditions import changed, other_cpu_share, problems, remarks
from lab.runs.record import DurationHistogram, OperationStats, Record, SideName

Direction = Literal["worse", "better", "equal", "unknown"]
TOLD: tuple[Direction, Direction] = ("worse", "better")

# Less than half a request in a hundred is nothing to stop a pipeline for, nor is a tail that is
# longer by less than a millisecond: a garbage collection, or the scheduler's turn.
LEAST_FAILED = 0.005
LEAST_OF_A_TAIL = 0.001
MEDIAN = 0.5
DEVIATIONS = 3.0
LEAST_FREE = 0.01
FAILED = "failed share"


@dataclass(frozen=True, slots=True)
class Column:
    """A percentile of one side: what the clients see is judged, the rest explains it."""

    field: str
    side: SideName
    quantile: float
    judged: bool = False

    @property
    def name(self) -> str:
        return f"{self.side} p{self.quantile * 100:.0f}"

    def of(self, row: OperationStats | None) -> float | None:
        value: float | None = getattr(row, self.field, None)
        return value


COLUMNS = (
    Column("client_p50", "client", 0.5, judged=True),
    Column("client_p95", "client", 0.95, judged=True),
    Column("client_p99", "client", 0.99),
    Column("server_p95", "server", 0.95),
    Column("database_p95", "database", 0.95),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A number in both runs. The difference is a share of the first; of failures, in points."""

    before: float | None
    after: float | None
    difference: float | None = None
    noise: float | None = None
    direction: Direction = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One operation, or all of them, in both runs."""

    operation: str
    requests: tuple[int, int]
    seconds: dict[str, Change]
    failed: Change

    @property
    def direction(self) -> Direction:
        """Say how the clients fared: worse as soon as one judged number is, equal if all are."""
        directions = {change.direction for change in self.judged.values()}
        order: tuple[Direction, ...] = (*TOLD, "unknown")
        return next((direction for direction in order if direction in directions), "equal")

    @property
    def judged(self) -> dict[str, Change]:
        """Choose the numbers that count, by name."""
        return {**self.judged_seconds, FAILED: self.failed}

    @property
    def judged_seconds(self) -> dict[str, Change]:
        return {column.name: self.seconds[column.name] for column in COLUMNS if column.judged}


@dataclass(frozen=True, slots=True)
class Regression:
    """A judged number that got worse by more than was allowed."""

    operation: str
    name: str
    change: Change


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs beside each other.

    What keeps them from being compared is in sentences; `changed` are programs and settings.
    """

    before: Record
    after: Record
    lines: list[Line]
    total: Line
    problems: list[str]
    remarks: list[str]
    changed: list[tuple[str, str, str]]

    @property
    def sentence(self) -> str:
        """Say in short what came of it."""
        count = Counter(line.direction for line in self.lines)
        of = f"of {len(self.lines)} operations"
        told = [f"{word} in {count[word]} {of}" for word in TOLD if count[word]]
        if not told and self.total.direction in TOLD:
            told = [f"{self.total.direction} over all operations together"]
        if told:
            return f"Beyond the noise B is {' and '.join(told)}."
        if self.total.direction == "unknown":
            return "The noise is not known, so nothing is told from it."
        return "B does not differ from A beyond the noise."

    def worse(self, allowed: float) -> list[Regression]:
        """List what got worse beyond the noise and by more than the allowed share.

        Failures count as soon as they are beyond their noise.
        """
        return [
            Regression(line.operation, name, change)
            for line in (self.total, *self.lines)
            for name, change in line.judged.items()
            if change.direction == "worse"
            and (name == FAILED or (change.difference or 0.0) > allowed)
        ]


def compare(before: Record, after: Record) -> Comparison:
    """Compare two runs as far as that can be."""
    allowance = _allowance(before, after)
    told = {
        column.name: noise.differences(
            _pairs(before, after, column.side), column.quantile, allowance
        )
        for column in COLUMNS
    }
    clustered = math.sqrt(noise.clustered(before.timeline) * noise.clustered(after.timeline))
    was = {row.operation: row for row in before.operations}
    now = {row.operation: row for row in after.operations}

    def line(operation: str, was: OperationStats | None, now: OperationStats | None) -> Line:
        seconds = {
            column.name: _change(column, was, now, told[column.name].get(operation))
            for column in COLUMNS
        }
        made = (was.requests if was else 0, now.requests if now else 0)
        return Line(operation, made, seconds, _failures(was, now, clustered))

    return Comparison(
        before,
        after,
        lines=[line(name, was.get(name), now.get(name)) for name in {**was, **now}],
        total=line(ALL, before.total, after.total),
        problems=problems(before, after),
        remarks=remarks(before, after),
        changed=changed(before, after),
    )


def _allowance(before: Record, after: Record) -> float:
    """Allow for other programs: a machine of which half is free is taken to be half as fast."""
    was, now = other_cpu_share(before), other_cpu_share(after)
    if was is None or now is None:
        return 0.0
    return abs(math.log(max(1 - was, LEAST_FREE) / max(1 - now, LEAST_FREE)))


def _pairs(before: Record, after: Record, side: SideName) -> dict[str, Pair]:
    was, now = _spreads(before, side), _spreads(after, side)
    return {
        operation: _pair(was[operation], now[operation])
        for operation in was
        if operation in now and len(was[operation].parts) == len(now[operation].parts)
    }


def _spreads(record: Record, side: SideName) -> dict[str, DurationHistogram]:
    return {spread.operation: spread for spread in record.histograms if spread.side == side}


def _pair(before: DurationHistogram, after: DurationHistogram) -> Pair:
    """Line up the buckets of both."""
    first = min(before.first, after.first)
    last = max(of.first + len(part) for of in (before, after) for part in of.parts)

    def lined_up(spread: DurationHistogram) -> list[list[int]]:
        low = spread.first - first
        return [[0] * low + part + [0] * (last - first - low - len(part)) for part in spread.parts]

    return Pair(lined_up(before), lined_up(after))


def _change(
    column: Column, was: OperationStats | None, now: OperationStats | None, told: Difference | None
) -> Change:
    """Take the difference of all from those of the operations: their mean."""
    before, after = column.of(was), column.of(now)
    if not before or after is None:
        return Change(before, after)
    if not told:
        return Change(before, after, after / before - 1)
    least = LEAST_OF_A_TAIL if column.quantile > MEDIAN else 0.0
    direction = _direction(told) if abs(after - before) >= least else "equal"
    return Change(before, after, told.share, told.noise, direction)


def _direction(difference: Difference) -> Direction:
    if not difference.told:
        return "equal"
    return "worse" if difference.share > 0 else "better"


def _failures(
    before: OperationStats | None, after: OperationStats | None, clustered: float
) -> Change:
    """Compare failed shares; failures that come in clusters say less than their number."""
    if not before or not after or not before.requests or not after.requests:
        was, now = (row.failed_share if row else None for row in (before, after))
        return Change(was, now)
    made = (before.requests, after.requests)
    failed = before.failed_share * made[0] + after.failed_share * made[1]
    share = (failed + 1) / (sum(made) + 2)
    deviation = math.sqrt(clustered * share * (1 - share) * (1 / made[0] + 1 / made[1]))
    noise_of_it = max(DEVIATIONS * deviation, LEAST_FAILED)
    difference = after.failed_share - before.failed_share
    direction: Direction = "equal"
    if abs(difference) > noise_of_it:
        direction = "worse" if difference > 0 else "better"
    return Change(before.failed_share, after.failed_share, difference, noise_of_it, direction)
