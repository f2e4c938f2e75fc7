"""A difference is told from noise, on parts of runs that were drawn."""

import math
import random
from dataclasses import dataclass
from statistics import fmean

import pytest

from lab.findings.noise import ALL, Difference, SegmentPair, differences, dispersion
from lab.runs.record import Timeline

OPERATIONS = ("POST /owners", "POST /pets", "GET /owners", "GET /pets")
TRIES = 20
BUCKETS = range(-80, 40)

# For each operation the counts of each part.
Parts = list[list[list[int]]]


@dataclass(frozen=True)
class Size:
    """How many parts a run has, and how many requests of an operation each part."""

    parts: int
    each: int


SMOKE = Size(4, 15)
LOAD = Size(10, 100)
SIZES = pytest.mark.parametrize("size", [SMOKE, LOAD], ids=["smoke", "load"])


def buckets(seconds: list[float]) -> list[int]:
    counts = [0] * len(BUCKETS)
    for took in seconds:
        counts[math.ceil(math.log2(took) * 8) - BUCKETS.start] += 1
    return counts


def run(seed: int, size: Size, slower: float = 1.0, tail: float = 1.0) -> Parts:
    """Draw a run: each part as a whole is some percent quicker or slower, each request more so."""
    draw = random.Random(seed)  # noqa: S311 - drawn alike every time
    made: Parts = [[] for _ in OPERATIONS]
    for _ in range(size.parts):
        weather = 0.04 * slower * draw.lognormvariate(0, 0.03)
        for operation in made:
            usual = [weather * draw.lognormvariate(0, 0.15) for _ in range(size.each)]
            operation.append(
                buckets([took * tail if draw.random() < 0.08 else took for took in usual])
            )
    return made


def compared(
    before: Parts, after: Parts, quantile: float = 0.5, allowance: float = 0.0
) -> dict[str, Difference]:
    pairs = {
        name: SegmentPair(was, now)
        for name, was, now in zip(OPERATIONS, before, after, strict=True)
    }
    return differences(pairs, quantile, allowance)


def differs(of: dict[str, Difference], over: float = 0.1) -> bool:
    return any(each.significant and abs(each.share) > over for each in of.values())


@SIZES
def test_two_runs_of_the_same_differ_in_less_than_one_of_ten_tries(size: Size) -> None:
    tries = [
        differs(compared(run(seed, size), run(seed + 1000, size), quantile))
        for seed in range(TRIES)
        for quantile in (0.5, 0.95)
    ]

    assert sum(tries) < len(tries) / 10


@SIZES
def test_a_fifth_slower_is_told_even_from_twenty_seconds(size: Size) -> None:
    worse = [
        compared(run(seed, size), run(seed + 1000, size, slower=1.2))[ALL] for seed in range(TRIES)
    ]

    assert sum(each.significant and each.share > 0.1 for each in worse) >= TRIES * 0.9
    assert 0.17 < fmean(each.share for each in worse) < 0.23


def test_a_slower_tail_is_told_by_the_95th_percentile_alone() -> None:
    before, after = run(1, LOAD), run(2, LOAD, tail=3.0)

    assert not differs(compared(before, after, 0.5))
    slower = compared(before, after, 0.95)
    assert all(slower[name].significant and slower[name].share > 0.5 for name in OPERATIONS)


def test_one_part_that_stood_still_tells_nothing() -> None:
    before, after = run(1, LOAD), run(2, LOAD)
    stood_still = run(3, LOAD, slower=20.0)
    for operation, instead in zip(after, stood_still, strict=True):
        operation[4] = instead[4]

    p95 = compared(before, after, 0.95)

    assert p95[ALL].share > 0.3
    assert not any(each.significant for each in p95.values())


def test_what_is_known_to_have_changed_is_no_difference() -> None:
    before, after = run(1, LOAD), run(2, LOAD, slower=1.2)

    assert compared(before, after)[ALL].significant
    assert not compared(before, after, allowance=math.log(1.3))[ALL].significant


def test_the_same_runs_compare_the_same_every_time() -> None:
    before, after = run(1, SMOKE), run(2, SMOKE)

    assert compared(before, after) == compared(before, after)
    assert compared(before, before)[ALL] == Difference(0.0, compared(before, before)[ALL].noise)


def test_an_operation_that_one_run_never_made_is_left_out() -> None:
    before, after = run(1, SMOKE), run(2, SMOKE)
    after[0] = [[0] * len(part) for part in after[0]]

    of = compared(before, after)

    assert set(of) == {*OPERATIONS[1:], ALL}
    assert differences({}, 0.5) == {}


def timeline(failed: list[float | None]) -> Timeline:
    return Timeline(step=5.0, rate=[20.0] * len(failed), failed_rate=failed)


def test_failures_that_come_at_once_are_clustered_and_the_rest_are_not() -> None:
    assert dispersion(timeline([0.4, 0.6, 0.4, 0.6, 0.5, 0.5] * 4)) == 1
    assert dispersion(timeline([0.0, 0.0, 0.0, 12.0, 0.0, 0.0] * 2)) > 30
    assert dispersion(timeline([0.0] * 12)) == dispersion(timeline([20.0] * 12)) == 1
    assert dispersion(timeline([])) == dispersion(timeline([None, 3.0])) == 1
