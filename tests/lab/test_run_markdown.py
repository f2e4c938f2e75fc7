"""The report of a run for pipelines: Markdown for a job's summary, JUnit XML of its thresholds."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from lab.errors import UserError
from lab.findings.summary import find
from lab.reports import junit, run_markdown
from lab.runs.record import Record, Threshold
from tests.support.complete_record import make_complete_record
from tests.support.factories import make_record
from tests.support.programs import NOWHERE, command

HOSTILE = "a | b `c` *d* <img src=x> [e](http://f) @everyone #1 _g_ \\"


def rendered(record: Record) -> str:
    """Render the Markdown as GitHub does."""
    parser = MarkdownIt("gfm-like", {"linkify": False})
    return str(parser.render(run_markdown.render(record, find(record))))


def rows(html: str) -> list[list[str]]:
    root = ET.fromstring(f"<html>{html.replace('<br>', '<br/>')}</html>")  # noqa: S314 - our own
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_operations_thresholds_and_errors_are_tables() -> None:
    record = make_complete_record()
    html = rendered(record)
    table = {row[0]: row[1:] for row in rows(html)}

    for stats in (*record.operations, record.total):
        assert len(table[stats.operation]) >= 6
    assert html.count("<table>") == 5
    assert "<h2>" in html
    failed = [it for it in record.thresholds if not it.passed]
    assert len([row for row in rows(html) if row[-1] == "✗"]) == len(failed) > 0
    assert record.slowest_traces[0].trace_id in html


def test_every_row_has_the_cells_of_its_heading() -> None:
    lines = run_markdown.render(make_complete_record(), find(make_complete_record())).splitlines()
    tables = "\n".join(lines).split("\n\n")

    for block in (it for it in tables if it.startswith("|")):
        widths = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(widths) == 1, block


def test_nothing_that_a_user_wrote_is_markup() -> None:
    record = replace(
        make_complete_record(),
        name="nightly",
        note=HOSTILE,
        tags={"env": HOSTILE},
        thresholds=[Threshold("http_reqs", f"count>1 {HOSTILE}", passed=False, reached=0.0)],
    )
    html = rendered(record)

    assert html.count("<table>") == 5
    for tag in ("<img", "<em>", "<a ", "<strong>"):
        assert tag not in html
    assert "@everyone" in html
    assert "@everyone" not in run_markdown.render(record, find(record)).replace("`", "")


def test_a_run_without_requests_says_so() -> None:
    html = rendered(make_record(operations=[], slowest_traces=[]))

    assert "The run sent no requests." in html
    assert "<table>" not in html


def test_each_threshold_is_a_test(tmp_path: Path) -> None:
    record = make_complete_record()
    file = tmp_path / "junit.xml"

    junit.write(file, record)

    root = ET.parse(file).getroot()  # noqa: S314 - our own
    cases = list(root.iter("testcase"))
    failed = [it for it in record.thresholds if not it.passed]
    assert len(cases) == len(record.thresholds) == int(root.attrib["tests"])
    assert len(list(root.iter("failure"))) == len(failed) == int(root.attrib["failures"])
    assert root.attrib["errors"] == "0"
    failures = [case for case in cases if case.find("failure") is not None]
    assert failures[0].attrib["name"].split()[0] in {"GET", "POST", "all", "errors"}
    assert failures[0][0].attrib["message"].startswith("reached ")


@pytest.mark.parametrize("verdict", ["aborted", "none", "running"])
def test_a_run_without_a_verdict_is_an_error(verdict: str) -> None:
    reason = {"aborted": "interrupted", "none": "no_thresholds", "running": ""}[verdict]
    suites = junit.render(make_record(verdict=verdict, verdict_reason=reason, thresholds=[]))

    (case,) = suites.iter("testcase")
    assert case.find("error") is not None
    assert suites.attrib["errors"] == "1"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        junit.write(tmp_path / "missing" / "junit.xml", make_record())


def test_the_command_prints_markdown_alone(tmp_path: Path) -> None:
    record = make_complete_record()
    (tmp_path / f"{record.run_id}.json").write_bytes(msgspec.json.encode(record))
    words, environment = command(
        *(NOWHERE, NOWHERE, "report", record.run_id, "--markdown"),
        *("--junit", str(tmp_path / "junit.xml")),
        CLINIC_RESULTS_DIR=str(tmp_path),
        FORCE_COLOR="1",
    )
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("## ")
    assert "saved record" in ended.stderr
    assert str(tmp_path) not in ended.stdout
    assert "\x1b" not in ended.stdout
    assert (tmp_path / "junit.xml").stat().st_size > 0
