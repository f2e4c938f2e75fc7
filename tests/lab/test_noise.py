"""Differences told from noise, on segments of randomly drawn runs."""

import math
import random
from dataclasses import dataclass
from statistics import fmean

import pytest

from lab.findings.noise import ALL, Difference, differences, dispersion
from lab.runs.record import DurationHistogram, Timeline

OPERATIONS = ("POST /owners", "POST /pets", "GET /owners", "GET /pets")
RUNS = 20
BUCKETS = range(-80, 40)

# For each operation, the counts by bucket of each segment.
Segments = list[list[list[int]]]


@dataclass(frozen=True)
class Size:
    """How many segments a run has, and how many requests of an operation each of them."""

    segments: int
    requests: int


SMOKE = Size(4, 15)
LOAD = Size(10, 100)
SIZES = pytest.mark.parametrize("size", [SMOKE, LOAD], ids=["smoke", "load"])


def count(durations: list[float]) -> list[int]:
    counts = [0] * len(BUCKETS)
    for duration in durations:
        counts[math.ceil(math.log2(duration) * 8) - BUCKETS.start] += 1
    return counts


def draw_run(seed: int, size: Size, slower: float = 1.0, tail: float = 1.0) -> Segments:
    """Draw a run whose segments differ by some percent, and its requests by more."""
    draw = random.Random(seed)  # noqa: S311 - the same runs every time
    run: Segments = [[] for _ in OPERATIONS]
    for _ in range(size.segments):
        typical = 0.04 * slower * draw.lognormvariate(0, 0.03)
        for operation in run:
            durations = [typical * draw.lognormvariate(0, 0.15) for _ in range(size.requests)]
            operation.append(
                count([value * tail if draw.random() < 0.08 else value for value in durations])
            )
    return run


def compare(
    before: Segments, after: Segments, quantile: float = 0.5, allowance: float = 0.0
) -> dict[str, Difference]:
    pairs = {
        name: (
            DurationHistogram(name, "client", BUCKETS.start, first),
            DurationHistogram(name, "client", BUCKETS.start, second),
        )
        for name, first, second in zip(OPERATIONS, before, after, strict=True)
    }
    return differences(pairs, quantile, allowance)


def differs(found: dict[str, Difference]) -> bool:
    return any(one.significant and abs(one.share) > 0.1 for one in found.values())


def test_noise_within_runs_falls_with_the_square_root_of_their_length() -> None:
    half = Difference(0.0, math.expm1(0.2))
    assert half.length_to_show(math.expm1(0.1)) == pytest.approx(4)


def test_noise_between_runs_stays_whatever_their_length() -> None:
    # 0.3² + 0.4² = 0.5², of which four times the length leaves 0.15² + 0.4².
    noise = Difference(0.0, math.expm1(0.5), lasting=math.expm1(0.4))

    assert noise.length_to_show(math.expm1(math.hypot(0.15, 0.4))) == pytest.approx(4)
    assert noise.length_to_show(math.expm1(0.4)) == math.inf


@SIZES
def test_runs_of_one_build_differ_in_less_than_one_of_ten_comparisons(size: Size) -> None:
    results = [
        differs(compare(draw_run(seed, size), draw_run(seed + 1000, size), quantile))
        for seed in range(RUNS)
        for quantile in (0.5, 0.95)
    ]

    assert sum(results) < len(results) / 10


@SIZES
def test_a_slowdown_of_a_fifth_is_significant_even_after_twenty_seconds(size: Size) -> None:
    found = [
        compare(draw_run(seed, size), draw_run(seed + 1000, size, slower=1.2))[ALL]
        for seed in range(RUNS)
    ]

    assert sum(one.significant and one.share > 0.1 for one in found) >= RUNS * 0.9
    assert 0.17 < fmean(one.share for one in found) < 0.23


def test_a_slower_tail_shows_in_the_95th_percentile_only() -> None:
    before, after = draw_run(1, LOAD), draw_run(2, LOAD, tail=3.0)

    assert not differs(compare(before, after, 0.5))
    slower = compare(before, after, 0.95)
    assert all(slower[name].significant and slower[name].share > 0.5 for name in OPERATIONS)


def test_a_single_stalled_segment_is_not_significant() -> None:
    before, after = draw_run(1, LOAD), draw_run(2, LOAD)
    stalled = draw_run(3, LOAD, slower=20.0)
    for operation, replacement in zip(after, stalled, strict=True):
        operation[4] = replacement[4]

    p95 = compare(before, after, 0.95)

    assert p95[ALL].share > 0.3
    assert not any(one.significant for one in p95.values())


def test_a_change_within_the_allowance_is_not_significant() -> None:
    before, after = draw_run(1, LOAD), draw_run(2, LOAD, slower=1.2)

    assert compare(before, after)[ALL].significant
    assert not compare(before, after, allowance=math.log(1.3))[ALL].significant


def test_a_comparison_is_reproducible() -> None:
    before, after = draw_run(1, SMOKE), draw_run(2, SMOKE)

    assert compare(before, after) == compare(before, after)
    assert compare(before, before)[ALL].share == 0


def test_an_operation_without_requests_in_one_run_is_left_out() -> None:
    before, after = draw_run(1, SMOKE), draw_run(2, SMOKE)
    after[0] = [[0] * len(segment) for segment in after[0]]

    assert set(compare(before, after)) == {*OPERATIONS[1:], ALL}
    assert differences({}, 0.5) == {}


def timeline(failed: list[float | None]) -> Timeline:
    return Timeline(step=5.0, rate=[20.0] * len(failed), failed_rate=failed)


@pytest.mark.parametrize(
    ("failed", "least", "most"),
    [
        ([0.4, 0.6, 0.4, 0.6, 0.5, 0.5] * 4, 1, 1),
        ([0.0, 0.0, 0.0, 12.0, 0.0, 0.0] * 2, 30, math.inf),
        ([0.0] * 12, 1, 1),
        ([20.0] * 12, 1, 1),
        ([], 1, 1),
        ([None, 3.0], 1, 1),
    ],
    ids=["even", "clustered", "none", "all", "no data", "too short"],
)
def test_only_clustered_failures_are_dispersed(
    failed: list[float | None], least: float, most: float
) -> None:
    assert least <= dispersion(timeline(failed)) <= most
