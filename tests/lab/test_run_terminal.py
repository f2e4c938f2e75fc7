"""The terminal report of a run."""

import io
from pathlib import Path

from rich.console import Console

from lab.findings.summary import find
from lab.reports import run_terminal
from lab.runs.record import Record
from tests.support.factories import make_full_record, make_record, make_stats


def report(record: Record, width: int = 120) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, highlight=False)
    run_terminal.show(console, record, find(record))
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


def test_a_run_without_requests_says_so() -> None:
    assert "The run sent no requests." in report(make_record(operations=[], slowest_traces=[]))
