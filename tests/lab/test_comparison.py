"""Two runs beside each other: known records in, a known comparison out."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.clients.spans import Period
from lab.findings.comparison import FAILED, compare
from lab.reports import comparison_html as comparison_page
from lab.runs.record import (
    Completeness,
    DurationHistogram,
    Environment,
    Machine,
    OperationStats,
    Record,
    SideName,
    Timeline,
)
from tests.support.programs import NOWHERE, ask

BOOK, READ = "POST /owners", "GET /owners"
MACHINE = Machine(cores=8, cpu="a processor", platform="Linux x86_64", memory=2**34)
MADE_IN = Environment(
    target="http://127.0.0.1:8000",
    machine=MACHINE,
    programs={"api": "0.1.0", "k6": "2.2.0"},
    settings={"PROFILE": "load"},
    options={},
    other_cpu_share=0.02,
)
A, B = "20261123-100000-load", "20261123-110000-load"


def spread(operation: str, milliseconds: float, side: SideName = "client") -> DurationHistogram:
    """Make ten parts of requests that took about so long, in buckets of an eighth doubling."""
    first = {20: -45, 25: -43, 40: -37}[round(milliseconds)]
    return DurationHistogram(operation, side, first, [[20, 60, 20]] * 10)


def record(run: str, took: float = 20, failed: float = 0.0, **other: Any) -> Record:
    """Make a run of a minute, in which reading took 40 ms and booking as long as it says."""
    started = 1795000000.0 + int(run[9:15])
    sides = {"client_p50": 1.0, "client_p95": 1.2, "client_p99": 1.4, "server_p95": 1.0}
    rows = [
        OperationStats(
            operation=operation,
            requests=1000,
            rate=16.7,
            failed_share=failed,
            **{side: times * each / 1000 for side, times in sides.items()},
        )
        for operation, each in ((BOOK, took), (READ, 40.0), ("All", 30.0))
    ]
    made = Record(
        run_id=run,
        profile="load",
        journey="book",
        period=Period(started, started + 60),
        planned=60.0,
        verdict="passed",
        thresholds=[],
        operations=rows[:2],
        total=msgspec.structs.replace(rows[2], requests=2000),
        completeness=Completeness(2000, 0, 2000),
        errors=[],
        dropped_iterations=0,
        failed_statuses=[],
        timeline=Timeline(step=5.0),
        operation_timeline=[],
        histograms=[spread(BOOK, took), spread(READ, 40)],
        environment=MADE_IN,
    )
    return msgspec.structs.replace(made, **other)


# What differs


def test_what_took_longer_is_worse_and_the_rest_is_equal() -> None:
    comparison = compare(record(A), record(B, took=25))

    book, read = comparison.lines
    assert (book.operation, book.direction, read.direction) == (BOOK, "worse", "equal")
    slower = book.seconds["client p50"]
    assert (slower.before, slower.after) == (0.020, 0.025)
    assert slower.difference == pytest.approx(2**0.25 - 1)
    assert slower.noise == pytest.approx(0.1)
    assert read.seconds["client p95"].difference == 0
    assert comparison.total.seconds["client p50"].difference == pytest.approx(2**0.125 - 1)
    assert comparison.sentence == "Beyond the noise B is worse in 1 of 2 operations."
    assert not comparison.problems
    assert not comparison.remarks


def test_a_tail_that_is_longer_by_less_than_a_millisecond_is_equal() -> None:
    def quick(run: str, p95: float) -> Record:
        made = record(run, took=25 if p95 > 0.002 else 20)
        row = msgspec.structs.replace(made.operations[0], client_p50=0.001, client_p95=p95)
        return msgspec.structs.replace(made, operations=[row, made.operations[1]])

    def p95_of(before: float, after: float) -> str:
        comparison = compare(quick(A, before), quick(B, after))
        return comparison.lines[0].seconds["client p95"].direction

    assert p95_of(0.002, 0.0029) == "equal"
    assert p95_of(0.002, 0.0031) == "worse"


def test_the_other_way_round_it_is_better() -> None:
    comparison = compare(record(A, took=25), record(B))

    assert [line.direction for line in comparison.lines] == ["better", "equal"]
    assert comparison.worse(0.0) == []


def test_only_what_is_worse_by_more_than_allowed_counts() -> None:
    comparison = compare(record(A), record(B, took=25))

    over_ten = {(one.operation, one.name) for one in comparison.worse(0.10)}
    over_fifteen = {(one.operation, one.name) for one in comparison.worse(0.15)}
    assert over_ten == over_fifteen == {(BOOK, "client p50"), (BOOK, "client p95")}
    assert comparison.worse(0.20) == []


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
def test_failures_are_told_from_what_chance_makes(
    before: float, after: float, direction: str
) -> None:
    comparison = compare(record(A, failed=before), record(B, failed=after))

    assert comparison.lines[0].failed.direction == direction
    failed = [one.name for one in comparison.worse(0.1)]
    assert failed == ([FAILED] * 3 if direction == "worse" else [])


def test_of_runs_whose_noise_is_not_known_nothing_is_told() -> None:
    comparison = compare(record(A, histograms=[]), record(B, took=25, histograms=[]))

    assert {line.direction for line in comparison.lines} == {"unknown"}
    assert comparison.sentence == "The noise is not known, so nothing is told from it."
    assert comparison.worse(0.0) == []


def test_sides_without_a_spread_are_shown_and_not_judged() -> None:
    comparison = compare(record(A), record(B, took=25))

    server = comparison.lines[0].seconds["server p95"]
    assert server.difference == pytest.approx(0.25)
    assert server.direction == "unknown"


def test_what_other_programs_took_of_the_machine_is_allowed_for() -> None:
    busy = msgspec.structs.replace(MADE_IN, other_cpu_share=0.3)
    comparison = compare(record(A), record(B, took=25, environment=busy))

    assert comparison.lines[0].direction == "equal"
    assert (
        "Other programs took 2% of the machine during A and 30% during B" in comparison.remarks[0]
    )


def test_an_operation_of_one_run_alone_is_shown_and_not_judged() -> None:
    after = record(B)
    comparison = compare(record(A), msgspec.structs.replace(after, operations=after.operations[:1]))

    read = comparison.lines[1]
    assert (read.requests, read.direction) == ((1000, 0), "unknown")


def test_programs_that_changed_are_listed() -> None:
    newer = msgspec.structs.replace(MADE_IN, programs={"api": "0.2.0", "k6": "2.2.0"})

    assert compare(record(A), record(B, environment=newer)).changed == [("api", "0.1.0", "0.2.0")]


# What cannot be compared

OTHER_MACHINE = msgspec.structs.replace(
    MADE_IN, machine=msgspec.structs.replace(MACHINE, cores=2, cpu="another")
)
ELSEWHERE = msgspec.structs.replace(MADE_IN, target="https://clinic.example.com")
FASTER = msgspec.structs.replace(MADE_IN, settings={"PROFILE": "load", "RATE": "60"})


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"profile": "stress"}, "The profile is not the same: load, then stress."),
        ({"journey": "browse"}, "The journey is not the same: book, then browse."),
        (
            {"planned": 420.0, "period": Period(0, 420)},
            "The plan is not the same: 60 s, then 420 s.",
        ),
        ({"environment": FASTER}, "The plan is not the same: 60 s, then 60 s RATE=60."),
        ({"environment": OTHER_MACHINE}, "The machine is not the same: 8 cores of a processor"),
        ({"environment": ELSEWHERE}, "The target is not the same: 127.0.0.1, then clinic."),
        ({"verdict": "aborted"}, f"{B} ended early, after 60 s."),
        ({"verdict": "failed", "period": Period(0, 40)}, f"{B} ended early, after 40 s."),
        ({"verdict": "running"}, f"{B} is still on: compare when it has ended."),
        ({"histograms": []}, f"{B} has no histograms to tell noise from"),
        ({"planned": None, "period": Period(0, 9), "histograms": []}, f"{B} is too short to tell"),
    ],
)
def test_what_cannot_be_compared_is_said(other: dict[str, Any], sentence: str) -> None:
    comparison = compare(record(A), record(B, **other))

    assert len(comparison.problems) == 1
    assert comparison.problems[0].startswith(sentence)


def test_a_machine_that_is_not_known_is_for_the_reader_to_judge() -> None:
    comparison = compare(record(A, environment=None), record(B))

    assert not comparison.problems
    assert comparison.remarks == [f"The machine of {A} is not known: was it the same?"]


# The command, on saved records alone


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    record(A).save()
    record(B, took=25).save()
    return tmp_path


def command(kept: Path, *words: str) -> Any:
    return ask(NOWHERE, NOWHERE, "compare", *words, CLINIC_RESULTS_DIR=str(kept), COLUMNS="140")


def test_a_pipeline_stops_on_what_got_worse(kept: Path) -> None:
    worse = command(kept, "--fail-over", "10%")
    allowed = command(kept, "--fail-over", "30")
    shown = command(kept)

    assert (worse.returncode, allowed.returncode, shown.returncode) == (1, 0, 0)
    assert "Worse by more than 10%, beyond the noise:" in worse.stdout
    assert f"{BOOK}, client p95: ▲ +19% ±10" in worse.stdout
    assert "Nothing got worse by more than 30% beyond the noise." in allowed.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert next(line for line in lines if line[:2] == ["POST", "/owners"])[2:6] == [
        *("1,000", "20.0", "→", "25.0")
    ]
    assert (kept / f"{A}..{B}.html").exists()


def test_what_is_not_comparable_needs_a_word_more(kept: Path) -> None:
    record("20261123-120000-load", journey="browse").save()
    refused = command(kept, A, "20261123-12")
    anyway = command(kept, A, "20261123-12", "--anyway")

    assert refused.returncode == 2
    assert "The journey is not the same: book, then browse." in refused.stderr
    assert "`--anyway` compares them" in refused.stderr
    assert anyway.returncode == 0
    assert "The journey is not the same" in anyway.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            [A, "20261123-11000x"],
            f"There is no run called '20261123-11000x'. The nearest: {B}, {A}",
        ),
        ([A, "2026"], "2 runs begin with '2026', such as"),
        ([A, A], f"{A} is one run: name two to compare."),
        ([B], f"No run of the profile load and the journey book came after {B}"),
        (["--fail-over", "much"], "'much' is not a percentage such as 10%"),
    ],
)
def test_a_choice_that_cannot_be_made_says_why(kept: Path, words: list[str], sentence: str) -> None:
    answer = command(kept, *words)

    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_last_two_of_a_kind_are_meant(kept: Path) -> None:
    record("20261123-113000-load", profile="stress").save()
    record("20261123-114000-load", verdict="aborted").save()
    of_all, of_first = command(kept), command(kept, A)

    assert of_all.returncode == of_first.returncode == 0
    for said in (of_all.stdout, of_first.stdout):
        assert re.search(f"^A  {A} .*\nB  {B} ", said, re.MULTILINE)


def test_without_two_runs_there_is_nothing_to_compare(tmp_path: Path) -> None:
    answer = command(tmp_path)

    assert answer.returncode == 2
    assert "There are no two whole runs of one profile and journey" in answer.stderr


def test_a_file_that_is_no_record_is_said_and_passed_over(kept: Path) -> None:
    (kept / "20261123-130000-load.json").write_text("{}")
    answer = command(kept)

    assert answer.returncode == 0
    assert "20261123-130000-load.json is not the record of a run" in answer.stderr


# The page


class Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "action"}]


def test_the_page_shows_both_and_asks_nobody() -> None:
    page = comparison_page.render(compare(record(A), record(B, took=25)))

    parser = Addresses()
    parser.feed(page)
    assert all(address.startswith(("#", "data:")) for address in parser.found)
    assert "script" not in parser.tags
    assert re.search(r"20\.0 → <b>25\.0</b><small class=\"bad\">▲ \+19%", page)
    assert "Beyond the noise B is worse in 1 of 2 operations." in page


def test_a_hostile_operation_does_no_harm() -> None:
    hostile = "GET /<script>alert(1)</script>"

    def with_it(run: str) -> Record:
        made = record(run)
        row = msgspec.structs.replace(made.operations[0], operation=hostile)
        return msgspec.structs.replace(
            made, run_id=f"{run}<b>", operations=[row], histograms=[spread(hostile, 20)]
        )

    page = comparison_page.render(compare(with_it(A), with_it(B)))

    assert "<script" not in page
    assert f"{A}<b>" not in page
    assert "&lt;script&gt;" in page
