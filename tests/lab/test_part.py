"""A part of a run: what was counted between two moments, and nothing else."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.errors import UserError
from lab.findings.comparison import compare
from lab.runs import reader
from lab.runs.part import Bounds, parse_moment, read_metrics
from lab.runs.record import load_saved, saved_files
from tests.support.factories import make_record
from tests.support.fake_series import Feed, run_id
from tests.support.programs import NOWHERE, ask

OPERATION = "GET /owners"


@pytest.mark.parametrize(
    ("text", "seconds"), [("1:30", 90), ("90", 90), ("90s", 90), ("0:05", 5), ("1:02:05", 3725)]
)
def test_a_moment_is_a_clock_time_or_seconds(text: str, seconds: float) -> None:
    assert parse_moment(text) == seconds


@pytest.mark.parametrize("text", ["1:60", "1m", "-5", "", "1:2:3:4"])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a time since the start of the run"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(70, 90), "r took 1 min: --from 1:10 is after its end."),
        (Bounds(0, 300), "r took 1 min: --to 5:00 is after its end."),
        (Bounds(30, 35), "A part takes at least 10 s"),
        (Bounds(40, 20), "A part takes at least 10 s"),
    ],
)
def test_a_part_is_within_its_run(bounds: Bounds, words: str) -> None:
    with pytest.raises(UserError, match=words):
        bounds.of("r", Period(1000, 1060))


def test_without_a_bound_a_part_begins_or_ends_with_its_run() -> None:
    run = Period(1000, 1060)

    first, last = Bounds(end=20).of("r", run), Bounds(begin=40).of("r", run)

    assert (first.started, first.ended, first.read_at) == (1000, 1020, 1020)
    assert (last.started, last.ended, last.read_at) == (1040, 1060, run.read_at)
    assert not Bounds()


def feed(prometheus: Prometheus, run: str = "", slower: int = 0) -> str:
    """Feed a run of a minute: 40 quick requests, 60 slow ones of which 6 fail, 30 quick ones."""
    series = Feed(run or run_id("load"), time.time() - 200, seconds=60.0)
    series.marks("load", thresholds={("http_req_duration", "p(95)<200"): True})
    began = series.ended - series.seconds
    for at, good, failed, quick, slow in (
        (9, 20, 0, 20, 0),
        (19, 40, 0, 40, 0),
        (29, 64, 0, 40, 24),
        (39, 94, 6, 40, 60),
        (49, 104, 6, 50, 60),
        (59, 124, 6, 70, 60),
    ):
        series.requests(OPERATION, good, at=began + at)
        if failed:
            series.requests(OPERATION, failed, 500, at=began + at)
        # Bucket -6 is from a 64th of a second to a 32nd.
        buckets = {-7: quick, -6 + slower: slow} if slow else {-7: quick}
        series.client_seconds(OPERATION, buckets, took=0.01 * quick + 0.02 * slow, at=began + at)
        series.users(5, began + at)
    series.send(prometheus)
    return series.run


@pytest.mark.stack
def test_the_numbers_of_a_part_are_of_what_it_counted(prometheus: Prometheus) -> None:
    part = read_metrics(prometheus, feed(prometheus), Bounds(20, 40))

    [row] = part.operations
    for stats in (row, part.total):
        assert (stats.requests, stats.rate) == (60, 3.0)
        assert stats.failed_share == pytest.approx(0.1)
        # All are in one bucket, so the p95 is 95 % of the way.
        assert stats.client_p95 == pytest.approx(2 ** (-6 + 0.95), rel=0.001)
        assert stats.client_mean == pytest.approx(0.02)
    assert part.part == (20, 40)
    assert part.period.seconds == 20
    assert (part.verdict, part.thresholds) == ("none", [])
    assert part.heatmap
    assert sum(map(sum, part.heatmap.counts)) == 60
    assert [sum(segment) for segment in part.histograms[0].segments] == [0, 24, 0, 36]
    assert part.timeline.at == [5, 10, 15, 20]


@pytest.mark.stack
@pytest.mark.parametrize("bounds", [Bounds(0), Bounds(end=60)])
def test_a_part_that_is_the_whole_run_has_its_numbers(
    prometheus: Prometheus, bounds: Bounds
) -> None:
    run = feed(prometheus)

    part, whole = read_metrics(prometheus, run, bounds), reader.read_metrics(prometheus, run)

    assert part.operations == whole.operations
    assert part.total == whole.total
    assert part.histograms == whole.histograms
    assert part.heatmap == whole.heatmap


@pytest.mark.stack
def test_the_parts_of_a_run_add_up_to_it(prometheus: Prometheus) -> None:
    run = feed(prometheus)
    parts = [read_metrics(prometheus, run, Bounds(at, at + 20)) for at in (0, 20, 40)]

    assert [part.total.requests for part in parts] == [40, 60, 30]
    assert [sum(map(sum, part.histograms[0].segments)) for part in parts] == [40, 60, 30]


@pytest.mark.stack
def test_the_report_of_a_part_has_files_of_its_own(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    run = feed(prometheus)
    make_record(run_id=run, note="the whole run").save()
    words = ("report", run, "--from", "0:20", "--to", "0:40")

    answer = ask(prometheus.url, NOWHERE, *words, CLINIC_RESULTS_DIR=str(tmp_path))

    assert answer.returncode == 0, answer.stderr
    assert "part 0:20-0:40 of the run" in answer.stdout
    assert "Part 0:20-0:40 of the run, without a verdict." in answer.stdout
    assert "Times count from the start of the part." in answer.stdout
    assert "Completeness of the whole run: 130 requests sent" in answer.stdout
    assert "part <b>0:20-0:40</b> of the run" in (tmp_path / f"{run}.part-20s-40s.html").read_text()
    assert (tmp_path / f"{run}.part-20s-40s.json").exists()
    assert saved_files() == [tmp_path / f"{run}.json"]
    whole = load_saved(run)
    assert whole
    assert (whole.note, whole.part) == ("the whole run", None)


@pytest.mark.stack
def test_the_same_part_of_two_runs_is_compared(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    first, second = feed(prometheus), feed(prometheus, slower=1)

    ends, middle = (
        compare(read_metrics(prometheus, first, bounds), read_metrics(prometheus, second, bounds))
        for bounds in (Bounds(0, 20), Bounds(20, 40))
    )

    assert not middle.problems
    assert ends.total.percentiles["client p50"].difference == 0
    assert middle.total.percentiles["client p50"].difference == pytest.approx(1.0)
    words = ("compare", first, second, "--from", "20", "--to", "40")
    answer = ask(prometheus.url, NOWHERE, *words, CLINIC_RESULTS_DIR=str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / f"{first}..{second}.part-20s-40s.html").exists()


def test_a_part_of_a_run_that_ended_early_can_be_compared() -> None:
    early = make_record(verdict="aborted", period=Period(0, 40))
    part = replace(early, verdict="none", part=(0.0, 40.0))

    problems = compare(part, part).problems

    assert [problem for problem in problems if "ended early" in problem] == []
    assert compare(early, early).problems != problems
