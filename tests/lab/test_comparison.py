"""Two runs compared: known records in, a known comparison out."""

import math
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.clients.spans import Period
from lab.findings.comparison import FAILED, Change, compare
from lab.reports import comparison_html
from lab.reports.comparison_terminal import conclusion, difference_text, noise_text
from lab.runs.record import DurationHistogram, Record
from tests.support.factories import (
    BOOK,
    ENVIRONMENT,
    MACHINE,
    READ,
    make_comparable,
    make_histogram,
)
from tests.support.html import Elements
from tests.support.programs import NOWHERE, ask

A, B = "20261123-100000-load", "20261123-110000-load"


# What differs


def test_only_the_operation_that_took_longer_is_worse() -> None:
    comparison = compare(make_comparable(A), make_comparable(B, book=25))

    book, read = comparison.operations
    assert (book.operation, book.direction, read.direction) == (BOOK, "worse", "equal")
    slower = book.percentiles["client p50"]
    assert (slower.before, slower.after) == (0.020, 0.025)
    assert slower.difference == pytest.approx(2**0.25 - 1)
    assert slower.noise == pytest.approx(0.1)
    assert read.percentiles["client p95"].difference == 0
    assert comparison.total.percentiles["client p50"].difference == pytest.approx(2**0.125 - 1)
    assert "worse in 1 of 2 operations" in conclusion(comparison)
    assert not comparison.problems
    assert not comparison.remarks


def test_a_faster_operation_is_better_and_no_regression() -> None:
    comparison = compare(make_comparable(A, book=25), make_comparable(B), allowed=0.0)

    assert comparison.operations[0].direction == "better"
    assert comparison.regressions() == []


@pytest.mark.parametrize(("p95", "direction"), [(0.0029, "equal"), (0.0031, "worse")])
def test_a_tail_that_changes_by_less_than_a_millisecond_is_equal(
    p95: float, direction: str
) -> None:
    def with_p95(record: Record, p95: float) -> Record:
        stats = replace(record.operations[0], client_p50=0.001, client_p95=p95)
        return replace(record, operations=[stats, record.operations[1]])

    comparison = compare(
        with_p95(make_comparable(A), 0.002), with_p95(make_comparable(B, book=25), p95)
    )

    assert comparison.operations[0].percentiles["client p95"].direction == direction


def test_a_regression_is_significant_and_larger_than_allowed() -> None:
    def regressions(allowed: float) -> set[tuple[str, str]]:
        comparison = compare(make_comparable(A), make_comparable(B, book=25), allowed)
        return {(one.operation, one.metric.name) for one in comparison.regressions()}

    assert regressions(0.10) == regressions(0.15) == {(BOOK, "client p50"), (BOOK, "client p95")}
    assert regressions(0.20) == set()


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        (0.0, 0.05, "worse"),
        (0.05, 0.0, "better"),
        (0.0, 0.004, "equal"),
        (0.05, 0.06, "equal"),
        (0.2, 0.3, "worse"),
    ],
)
def test_failures_are_compared_beyond_chance(before: float, after: float, direction: str) -> None:
    comparison = compare(
        make_comparable(A, failed_share=before), make_comparable(B, failed_share=after)
    )

    assert comparison.operations[0].failed.direction == direction
    metrics = [one.metric for one in comparison.regressions()]
    assert metrics == ([FAILED] * 3 if direction == "worse" else [])


def test_unknown_noise_gives_no_result() -> None:
    comparison = compare(
        make_comparable(A, histograms=[]), make_comparable(B, book=25, histograms=[])
    )

    assert {row.direction for row in comparison.operations} == {"unknown"}
    assert "no result" in conclusion(comparison)
    assert comparison.regressions() == []


def test_noise_above_the_allowed_change_is_inconclusive() -> None:
    busy = replace(ENVIRONMENT, other_cpu_share=0.3)
    comparison = compare(make_comparable(A), make_comparable(B, book=25, environment=busy))

    assert {row.direction for row in comparison.operations} == {"inconclusive"}
    assert "Inconclusive: a change of 20 % is smaller than the noise (±54 %" in conclusion(
        comparison
    )
    assert "2 % of the CPU during A and 30 % during B" in comparison.remarks[0]
    assert compare(comparison.before, comparison.after, 0.6).judged("inconclusive") == []


@pytest.mark.parametrize(
    ("changes", "tone", "text"),
    [
        ({"book": 25}, "bad", "▲ worse"),
        ({"book": 25, "environment": replace(ENVIRONMENT, other_cpu_share=0.3)}, "warning", "?"),
        ({}, "soft", "≈ equal"),
        ({"histograms": []}, "soft", "no result"),
    ],
)
def test_the_page_is_headed_by_the_result_in_its_colour(
    changes: dict[str, Any], tone: str, text: str
) -> None:
    html = comparison_html.render(compare(make_comparable(A), make_comparable(B, **changes)))

    assert f'<span class="badge {tone}"><b class="{tone}">{text}' in html


def varying(run_id: str) -> Record:
    """Make a run of a minute in which half of the segments take twice as long."""
    record = make_comparable(run_id)
    quick, slow = [20, 60, 20, *[0] * 8], [*[0] * 8, 20, 60, 20]
    return replace(record, histograms=[DurationHistogram(BOOK, "client", -45, [quick, slow] * 5)])


def test_the_length_that_a_change_needs_is_stated() -> None:
    comparison = compare(varying(A), make_comparable(B), allowed=0.2)

    longer = comparison.total.percentiles["client p50"].length
    assert longer
    seconds = comparison.seconds_to_show
    assert seconds == pytest.approx(60 * longer)
    minutes = math.ceil(seconds / 60)
    assert f"Runs of about {minutes} min would show it." in conclusion(comparison)


def test_a_change_that_no_length_can_show_is_stated() -> None:
    comparison = compare(varying(A), make_comparable(B), allowed=0.1)

    assert comparison.seconds_to_show == math.inf
    assert "No length would show it: runs of one build differ by up to 10 %" in conclusion(
        comparison
    )


def test_a_change_that_a_busy_machine_hides_is_stated() -> None:
    busy = replace(ENVIRONMENT, other_cpu_share=0.3)
    comparison = compare(make_comparable(A), make_comparable(B, environment=busy))

    assert "No length would show it while other programs use the CPU" in conclusion(comparison)


@pytest.mark.parametrize(
    ("after", "allowed", "outcome"),
    [
        (make_comparable(B, book=40), 0.2, "regression"),
        (make_comparable(B, book=25), 0.2, "no regression"),
        (make_comparable(B), 0.05, "inconclusive"),
        (make_comparable(B, histograms=[]), 0.2, "inconclusive"),
        (make_comparable(B, book=40), 0.05, "regression"),
    ],
)
def test_the_outcome_is_one_of_three(after: Record, allowed: float, outcome: str) -> None:
    assert compare(make_comparable(A), after, allowed).outcome == outcome


def test_sides_without_histograms_are_shown_and_not_judged() -> None:
    comparison = compare(make_comparable(A), make_comparable(B, book=25))

    server = comparison.operations[0].percentiles["server p95"]
    assert server.difference == pytest.approx(0.25)
    assert server.direction == "unknown"


def test_an_operation_of_only_one_run_is_shown_and_not_judged() -> None:
    after = make_comparable(B)
    comparison = compare(make_comparable(A), replace(after, operations=after.operations[:1]))

    read = comparison.operations[1]
    assert (read.operation, read.requests, read.direction) == (READ, (1000, 0), "unknown")


def test_changed_programs_are_listed() -> None:
    newer = replace(ENVIRONMENT, commit="abc1234", programs={"api": "0.2.0", "k6": "2.2.0"})
    comparison = compare(make_comparable(A), make_comparable(B, environment=newer))

    assert sorted(comparison.changes) == [("api", "0.1.0", "0.2.0"), ("commit", "-", "abc1234")]


@pytest.mark.parametrize(
    ("share", "noise", "difference", "noise_words"),
    [
        (0.213, 0.1, "+21 %", "±10 %"),
        (-0.5, 1.0, "-50 %", "±50 %"),
        (105.4, 20.0, "106×", "±21×"),  # noqa: RUF001 - a factor
    ],
)
def test_large_changes_are_factors(
    share: float, noise: float, difference: str, noise_words: str
) -> None:
    change = Change(1.0, 1.0, share, noise, "worse")

    assert difference_text(change).split(maxsplit=1)[1] == difference
    assert noise_text(change) == noise_words


# What cannot be compared

OTHER_MACHINE = replace(ENVIRONMENT, machine=replace(MACHINE, cores=2, cpu="another"))
OTHER_TARGET = replace(ENVIRONMENT, target="https://clinic.example.com")
OTHER_RATE = replace(ENVIRONMENT, settings={"PROFILE": "load", "RATE": "60"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"profile": "stress"}, ["profile", "load", "stress"]),
        ({"journey": "browse"}, ["journey", "book", "browse"]),
        ({"planned": 420.0, "period": Period(0, 420)}, ["planned length", "60 s", "420 s"]),
        ({"environment": OTHER_RATE}, ["RATE", "not set", "60"]),
        ({"environment": OTHER_MACHINE}, ["machine", "8 cores of a processor", "2 cores"]),
        ({"environment": OTHER_TARGET}, ["target", "127.0.0.1", "clinic.example.com"]),
        ({"verdict": "aborted"}, [B, "ended early", "60 s"]),
        ({"verdict": "failed", "period": Period(0, 40)}, [B, "ended early", "40 s"]),
        ({"verdict": "running"}, [B, "still running"]),
        ({"histograms": []}, [B, "no histograms"]),
        ({"planned": None, "period": Period(0, 9), "histograms": []}, [B, "too short"]),
    ],
)
def test_incomparable_runs_are_explained(changes: dict[str, Any], words: list[str]) -> None:
    [problem] = compare(make_comparable(A), make_comparable(B, **changes)).problems

    assert [word for word in words if word not in problem] == []


def test_an_unknown_machine_is_left_to_the_reader() -> None:
    comparison = compare(make_comparable(A, environment=None), make_comparable(B))

    assert not comparison.problems
    assert f"The machine of {A} is unknown" in comparison.remarks[0]


# The command, on saved records alone


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    make_comparable(A).save()
    make_comparable(B, book=25).save()
    return tmp_path


def just_compare(folder: Path, *arguments: str) -> Any:
    settings = {"CLINIC_RESULTS_DIR": str(folder), "COLUMNS": "120"}
    return ask(NOWHERE, NOWHERE, "compare", *arguments, **settings)


def test_the_output_of_compare(saved: Path) -> None:
    compared = just_compare(saved)

    golden = Path(__file__).parent / "golden" / "compare.txt"
    lines = [line.rstrip() for line in compared.stdout.splitlines()]
    assert "\n".join(lines) == golden.read_text().replace("RESULTS", str(saved)).rstrip("\n")
    assert (saved / f"{A}..{B}.html").exists()


@pytest.mark.parametrize(
    ("allowed", "status", "words"),
    [
        ("10%", 1, f"{BOOK}, client p95: 24.0 → 30.0 ms, ▲ +19 % ±10 %"),
        ("30", 0, "No regression of more than 30 % was found."),
        ("20", 0, "No regression of more than 20 % was found."),
    ],
)
def test_a_pipeline_stops_on_a_regression(
    saved: Path, allowed: str, status: int, words: str
) -> None:
    compared = just_compare(saved, "--fail-over", allowed)

    assert compared.returncode == status
    assert words in compared.stdout


def test_a_pipeline_is_told_that_the_noise_could_hide_a_regression(saved: Path) -> None:
    make_comparable("20261123-120000-load", book=25).save()

    compared = just_compare(saved, B, "--fail-over", "5%")

    assert compared.returncode == 3
    assert "but the noise could hide one:\n  All, client p50: 30.0 → 30.0 ms" in compared.stdout


def test_the_newest_run_is_compared_with_its_baseline(saved: Path) -> None:
    make_comparable("20261123-090000-load", baseline=True).save()
    make_comparable("20261123-080000-load", journey="browse", baseline=True).save()

    assert "A  20261123-090000-load" in just_compare(saved).stdout
    assert f"B  {B}" in just_compare(saved).stdout


def test_a_baseline_that_is_the_newest_run_is_compared_with_the_one_before(saved: Path) -> None:
    make_comparable(B, book=25, baseline=True).save()

    assert f"A  {A}" in just_compare(saved).stdout
    assert f"B  {B}" in just_compare(saved).stdout


def test_incomparable_runs_are_compared_on_request_only(saved: Path) -> None:
    make_comparable("20261123-120000-load", journey="browse").save()
    refused = just_compare(saved, A, "20261123-12")
    compared = just_compare(saved, A, "20261123-12", "--anyway")

    assert (refused.returncode, compared.returncode) == (2, 0)
    assert "--anyway" in refused.stderr
    for output in (refused.stderr, compared.stdout):
        assert "The journey differs: book, then browse." in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([A, "20261123-11000x"], ["'20261123-11000x'", A, B]),
        ([A, "2026"], ["2 runs", "'2026'"]),
        ([A, A], [A, "two different runs"]),
        ([B], [B, "load", "book"]),
        (["--fail-over", "much"], ["'much' is not a percentage"]),
    ],
)
def test_unresolvable_run_ids_are_explained(
    saved: Path, arguments: list[str], words: list[str]
) -> None:
    answer = just_compare(saved, *arguments)

    assert answer.returncode == 2
    assert [word for word in words if word not in answer.stderr] == []
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [[], [A]], ids=["no run named", "one run named"])
def test_defaults_to_the_last_two_comparable_runs(saved: Path, arguments: list[str]) -> None:
    make_comparable("20261123-113000-load", profile="stress").save()
    make_comparable("20261123-114000-load", verdict="aborted").save()

    lines = just_compare(saved, *arguments).stdout.splitlines()

    assert [line.split()[:2] for line in lines if line[:3] in {"A  ", "B  "}] == [
        *(["A", A], ["B", B])
    ]


def test_two_runs_are_needed(tmp_path: Path) -> None:
    answer = just_compare(tmp_path)

    assert answer.returncode == 2
    assert "no two" in answer.stderr


def test_an_unreadable_record_is_reported_and_skipped(saved: Path) -> None:
    (saved / "20261123-130000-load.json").write_text("{}")
    answer = just_compare(saved)

    assert answer.returncode == 0
    assert "20261123-130000-load.json" in answer.stderr


# The page


def test_the_page_shows_both_runs_and_loads_nothing() -> None:
    page = Elements(
        comparison_html.render(compare(make_comparable(A), make_comparable(B, book=25)))
    )

    addresses = [
        value for _, a in page.elements for name, value in a.items() if name in {"src", "href"}
    ]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "20.0 → 25.0 ▲ +19 % ±10 %" in page.text
    assert "worse in 1 of 2 operations" in page.text


def test_a_hostile_operation_is_text() -> None:
    hostile = "GET /<script>alert(1)</script>"

    def with_hostile_names(run_id: str) -> Record:
        record = make_comparable(run_id)
        return replace(
            record,
            run_id=f"{run_id}<b>",
            operations=[replace(record.operations[0], operation=hostile)],
            histograms=[make_histogram(hostile)],
        )

    page = Elements(comparison_html.render(compare(with_hostile_names(A), with_hostile_names(B))))

    assert len(page.scripts) == 1
    assert f"{A}<b>" in page.text
    assert "<script>" in page.text
