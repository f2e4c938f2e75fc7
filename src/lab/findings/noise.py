"""Estimate how much two runs of the same build would differ by chance.

Both runs are cut into the same few segments of their plan. A bootstrap resamples the segments, the
same ones of both runs, and shows how else the difference of a percentile could have come out.
Segments of several seconds are resampled, not requests, because consecutive requests share what
slows them. What varies from run to run but not within a run cannot show in a bootstrap, so an
allowance for it is added.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev

from lab.runs.histograms import BUCKETS_PER_DOUBLING, MAX_SEGMENTS, MIN_SEGMENTS
from lab.runs.record import DurationHistogram, Timeline

RESAMPLES = 200
SEED = 1
# Student's t for 99 % and the nine degrees of freedom of ten segments. With fewer segments the
# variance estimate of one operation is unreliable, so that of all operations is its lower bound.
STUDENT_T = 3.25
# Measured: two runs of one build differ by up to 10 %. As the logarithm of the ratio.
RUN_TO_RUN = math.log(1.1)
# A factor of e¹⁰, beyond which the noise is as good as unlimited.
MAX_LOG_NOISE = 10.0
ALL = "All"

# One operation in both runs, with as many segments.
Pair = tuple[DurationHistogram, DurationHistogram]


@dataclass(frozen=True, slots=True)
class Difference:
    """The change of a percentile, and the change that noise alone can cause, as shares.

    Of the noise, `lasting` is what runs of any length have.
    """

    share: float
    noise: float
    lasting: float = 0.0

    @property
    def significant(self) -> bool:
        return abs(math.log1p(self.share)) > math.log1p(self.noise)

    def length_to_show(self, change: float) -> float:
        """Return how many times as long runs must be for the noise to fall to a change.

        What varies within a run falls with the square root of the length. Infinite if the rest
        is as large as the change.
        """
        lasting = math.log1p(self.lasting)
        varying = math.log1p(self.noise) ** 2 - lasting**2
        left = math.log1p(change) ** 2 - lasting**2
        return varying / left if left > 0 and change > 0 else math.inf


def differences(
    pairs: Mapping[str, Pair], quantile: float, allowance: float = 0.0
) -> dict[str, Difference]:
    """Compare a percentile of each operation, and of all by the mean of their differences.

    `allowance` is the logarithm of a ratio by which conditions are known to differ.
    """
    if not pairs:
        return {}
    segments = len(next(iter(pairs.values()))[0].segments)
    draw = random.Random(SEED)  # noqa: S311 - the same runs compare the same every time
    resamples = [draw.choices(range(segments), k=segments) for _ in range(RESAMPLES)]
    measured: dict[str, float] = {}
    resampled: dict[str, list[float]] = {}
    for operation, pair in pairs.items():
        log_ratio = _log_ratio(pair, range(segments), quantile)
        if log_ratio is not None:
            others = (_log_ratio(pair, resample, quantile) for resample in resamples)
            measured[operation] = log_ratio
            resampled[operation] = [log_ratio if other is None else other for other in others]
    if not measured:
        return {}

    # Resampled segments vary less than new ones would, by (n - 1) / n.
    correction = math.sqrt(segments / (segments - 1))
    deviation = {name: stdev(values) * correction for name, values in resampled.items()}
    pooled = math.sqrt(fmean(value**2 for value in deviation.values()))
    deviation = {name: max(value, pooled) for name, value in deviation.items()}
    measured[ALL] = fmean(measured.values())
    deviation[ALL] = stdev(map(fmean, zip(*resampled.values(), strict=True))) * correction

    def difference(name: str) -> Difference:
        lasting = RUN_TO_RUN + allowance
        noise = math.hypot(STUDENT_T * deviation[name], lasting)
        shares = (measured[name], min(noise, MAX_LOG_NOISE), min(lasting, MAX_LOG_NOISE))
        return Difference(*map(math.expm1, shares))

    return {name: difference(name) for name in measured}


def _log_ratio(pair: Pair, segments: Sequence[int], quantile: float) -> float | None:
    before, after = (_position(histogram, segments, quantile) for histogram in pair)
    if before is None or after is None:
        return None
    return (after - before) * math.log(2) / BUCKETS_PER_DOUBLING


def _position(
    histogram: DurationHistogram, segments: Sequence[int], quantile: float
) -> float | None:
    """Locate a percentile in buckets, with a fraction for its place in its bucket."""
    counts: list[int] = [
        sum(bucket) for bucket in zip(*(histogram.segments[i] for i in segments), strict=True)
    ]
    cumulative = list(accumulate(counts))
    if not cumulative or not cumulative[-1]:
        return None
    rank = quantile * cumulative[-1]
    bucket = next(i for i, total in enumerate(cumulative) if total >= rank and counts[i])
    return histogram.first + bucket + (rank - cumulative[bucket]) / counts[bucket] + 1


def dispersion(timeline: Timeline) -> float:
    """Estimate how much more failures cluster than by chance: their variance over the expected.

    1 for independent failures, or where the run is too short or none failed.
    """
    intervals = [
        (rate * timeline.step, (failed or 0.0) * timeline.step)
        for rate, failed in zip(timeline.rate, timeline.failed_rate, strict=True)
        if rate
    ]
    size = max(1, math.ceil(len(intervals) / MAX_SEGMENTS))
    segments = [intervals[first : first + size] for first in range(0, len(intervals), size)]
    counts = [tuple(map(sum, zip(*segment, strict=True))) for segment in segments]
    requests, failures = (sum(count[i] for count in counts) for i in (0, 1))
    if len(counts) < MIN_SEGMENTS or not 0 < failures < requests:
        return 1.0
    share = failures / requests
    squares = ((failed - share * made) ** 2 / made for made, failed in counts)
    return max(1.0, sum(squares) / (share * (1 - share)) / (len(counts) - 1))
