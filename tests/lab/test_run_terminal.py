"""The terminal report of a run."""

import io
from pathlib import Path

from rich.console import Console

from lab.findings.summary import find
from lab.reports import run_terminal
from lab.runs.record import DatabaseError, ErrorCount, Record
from tests.support.factories import make_full_record, make_record, make_stats


def report(record: Record, width: int = 120) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, highlight=False)
    run_terminal.show(console, record, find(record))
    run_terminal.show_errors(console, record)
    run_terminal.show_traces(console, record)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def test_the_output_of_report() -> None:
    golden = Path(__file__).parent / "golden" / "report.txt"

    assert report(make_full_record()) == golden.read_text()


def test_a_narrow_terminal_breaks_paths_before_slashes_only() -> None:
    name = "POST /appointments/{appointment_id}/cancel"
    lines = report(make_record(operations=[make_stats(name)]), width=80).splitlines()

    assert [line.split()[:2] for line in lines[:8] if "/" in line[:12]] == [
        *(["POST", "/appointments/{appointment_id}"], ["/cancel"])
    ]


def test_errors_are_listed_with_their_reasons_and_fit_80_columns() -> None:
    pets = "POST /owners/{owner_id}/pets"
    lines = report(
        make_record(
            errors=[ErrorCount(pets, "status", 12, 500, "Internal Server Error")],
            database_errors=[DatabaseError(pets, "P0001", 11)],
        ),
        width=80,
    ).splitlines()

    [error] = (line for line in lines if line.startswith("status "))
    [refused] = (line for line in lines if line.startswith("database "))
    assert error.split("{owner_id}")[1].strip() == "status 500, Internal Server Error"
    assert refused.split("{owner_id}")[1].strip() == "SQLSTATE P0001 (raise_exception)"
    assert max(map(len, lines)) <= 80


def test_a_good_run_has_no_list_of_errors_and_is_short() -> None:
    lines = report(make_record(), width=80).splitlines()

    assert not any(line.startswith("Errors") for line in lines)
    assert len(lines) <= 60


def test_a_run_without_requests_says_so() -> None:
    assert "The run sent no requests." in report(make_record(operations=[], slowest_traces=[]))
