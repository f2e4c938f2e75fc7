"""Tell a difference between two runs from the noise within each.

Both runs are cut into the same few blocks of their plan. Blocks drawn again and again, with
replacement and the same ones of both runs, show how else a percentile's difference could have come
out: blocks of many seconds, not single requests, because requests that follow each other share
what slows them. What changes between runs and not within one cannot show there, so to that comes
an allowance for it.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev

from observability.runs.spread import TO_A_DOUBLING

DRAWS = 200
SEED = 1
# Student's factor for 99 % and ten blocks. Where there are fewer, one operation's spread is
# uncertain, and that of the others bears it up.
FACTOR = 3.25
BETWEEN_RUNS = math.log(1.05)
ALL = "All"

Counts = Sequence[int]


@dataclass(frozen=True, slots=True)
class Pair:
    """The counts by bucket of an operation in each block of two runs."""

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


def differences(pairs: Mapping[str, Pair], quantile: float) -> dict[str, Difference]:
    """Compare a percentile of each operation, and of all of them by their mean difference."""
    if not pairs:
        return {}
    blocks = len(next(iter(pairs.values())).before)
    draw = random.Random(SEED)  # noqa: S311 - the same runs compare the same every time
    draws = [range(blocks), *(draw.choices(range(blocks), k=blocks) for _ in range(DRAWS))]
    changes: dict[str, list[float]] = {}
    for operation, pair in pairs.items():
        drawn = [_change(pair, drawn, quantile) for drawn in draws]
        if drawn[0] is not None:
            changes[operation] = [drawn[0] if change is None else change for change in drawn]
    if not changes:
        return {}
    spreads = {
        name: stdev(of[1:]) * math.sqrt(blocks / (blocks - 1)) for name, of in changes.items()
    }
    usual = math.sqrt(fmean(spread**2 for spread in spreads.values()))
    of_all = [fmean(each) for each in zip(*changes.values(), strict=True)]
    told = {name: _difference(of[0], max(spreads[name], usual)) for name, of in changes.items()}
    spread_of_all = stdev(of_all[1:]) * math.sqrt(blocks / (blocks - 1))
    return told | {ALL: _difference(of_all[0], spread_of_all)}


def _difference(change: float, spread: float) -> Difference:
    noise = math.hypot(FACTOR * spread, BETWEEN_RUNS)
    return Difference(math.expm1(change), math.expm1(min(noise, 10)))


def _change(pair: Pair, drawn: Iterable[int], quantile: float) -> float | None:
    drawn = list(drawn)
    was = _position([pair.before[i] for i in drawn], quantile)
    now = _position([pair.after[i] for i in drawn], quantile)
    if was is None or now is None:
        return None
    return (now - was) * math.log(2) / TO_A_DOUBLING


def _position(blocks: Sequence[Counts], quantile: float) -> float | None:
    """Give the place of a percentile in buckets, the last one counted by its share."""
    counts: list[int] = [sum(column) for column in zip(*blocks, strict=True)]
    below = list(accumulate(counts))
    if not below or not below[-1]:
        return None
    rank = quantile * below[-1]
    bucket = next(i for i, total in enumerate(below) if total >= rank and counts[i])
    return bucket + (rank - below[bucket] + counts[bucket]) / counts[bucket]
