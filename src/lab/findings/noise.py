"""Tell a difference between two runs from the noise within each.

Both runs are cut into the same few parts of their plan. Parts drawn again and again, with
replacement and the same ones of both runs, show how else a percentile's difference could have come
out: parts of many seconds, not single requests, because requests that follow each other share what
slows them. What changes between runs and not within one cannot show there, so to that comes an
allowance for it.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev

from lab.runs.histograms import FEWEST_PARTS, MOST_PARTS, TO_A_DOUBLING
from lab.runs.record import Timeline

DRAWS = 200
SEED = 1
# Student's factor for 99 % and ten parts. Where there are fewer, one operation's spread is
# uncertain, and that of the others bears it up.
FACTOR = 3.25
# By how much two runs of one build may differ anyway, as a ratio's logarithm.
BETWEEN_RUNS = math.log(1.1)
BOUNDLESS = 10.0
ALL = "All"

Counts = Sequence[int]


@dataclass(frozen=True, slots=True)
class Pair:
    """The counts by bucket of an operation in each part of two runs."""

    before: Sequence[Counts]
    after: Sequence[Counts]


@dataclass(frozen=True, slots=True)
class Difference:
    """By what share a percentile is higher, or lower, and how much of it noise could make."""

    share: float
    noise: float

    @property
    def told(self) -> bool:
        """Say whether the difference is beyond the noise."""
        return abs(math.log1p(self.share)) > math.log1p(self.noise)


def differences(
    pairs: Mapping[str, Pair], quantile: float, changed: float = 0.0
) -> dict[str, Difference]:
    """Compare a percentile of each operation, and of all of them by their mean difference.

    `changed` is what is known to have changed between the runs, as a ratio's logarithm.
    """
    if not pairs:
        return {}
    between = changed + BETWEEN_RUNS
    parts = len(next(iter(pairs.values())).before)
    draw = random.Random(SEED)  # noqa: S311 - the same runs compare the same every time
    draws = [range(parts), *(draw.choices(range(parts), k=parts) for _ in range(DRAWS))]
    changes = {}
    for operation, pair in pairs.items():
        first, *others = (_change(pair, drawn, quantile) for drawn in draws)
        if first is not None:
            changes[operation] = [first, *(first if other is None else other for other in others)]
    if not changes:
        return {}

    def spread(drawn: Sequence[float]) -> float:
        return stdev(drawn[1:]) * math.sqrt(parts / (parts - 1))

    def told(drawn: Sequence[float], least: float = 0.0) -> Difference:
        within = FACTOR * max(spread(drawn), least)
        noise = min(math.hypot(within, between), BOUNDLESS)
        return Difference(math.expm1(drawn[0]), math.expm1(noise))

    usual = math.sqrt(fmean(spread(drawn) ** 2 for drawn in changes.values()))
    of_all = [fmean(each) for each in zip(*changes.values(), strict=True)]
    return {name: told(drawn, usual) for name, drawn in changes.items()} | {ALL: told(of_all)}


def _change(pair: Pair, drawn: Sequence[int], quantile: float) -> float | None:
    was = _position([pair.before[part] for part in drawn], quantile)
    now = _position([pair.after[part] for part in drawn], quantile)
    if was is None or now is None:
        return None
    return (now - was) * math.log(2) / TO_A_DOUBLING


def _position(parts: Sequence[Counts], quantile: float) -> float | None:
    """Give the place of a percentile in buckets, the last one counted by its share."""
    counts: list[int] = [sum(column) for column in zip(*parts, strict=True)]
    below = list(accumulate(counts))
    if not below or not below[-1]:
        return None
    rank = quantile * below[-1]
    bucket = next(i for i, total in enumerate(below) if total >= rank and counts[i])
    return bucket + (rank - below[bucket] + counts[bucket]) / counts[bucket]


def clustered(timeline: Timeline) -> float:
    """Say how many times as far as chance does failures are from being evenly spread over a run."""
    steps = [
        (made * timeline.step, (failed or 0.0) * timeline.step)
        for made, failed in zip(timeline.rate, timeline.failed_rate, strict=True)
        if made
    ]
    each = math.ceil(len(steps) / MOST_PARTS)
    parts = [steps[first : first + each] for first in range(0, len(steps), each or 1)]
    counts = [tuple(map(sum, zip(*part, strict=True))) for part in parts]
    made, failed = (sum(count[i] for count in counts) for i in (0, 1))
    if len(counts) < FEWEST_PARTS or not 0 < failed < made:
        return 1.0
    share = failed / made
    squares = ((of - share * all_of) ** 2 / all_of for all_of, of in counts)
    return max(1.0, sum(squares) / (share * (1 - share)) / (len(counts) - 1))
