"""Ids, names and profiles of runs may be from outside: none begins a line of its own."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.cli import cli
from tests.support.factories import make_record

FORGED = "20261124-130000\x1b[2J\u202e\u2028\nforged: 1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("report", "20261199"),
        ("report", "2026"),
        ("rename", FORGED, "better"),
        ("baseline", FORGED),
        ("baseline", FORGED, "--clear"),
        ("baseline",),
        ("delete", FORGED),
        ("delete", FORGED, "--yes"),
        ("open", FORGED),
        ("trend",),
        ("compare", FORGED, "20261124-1400"),
    ],
)
def test_the_id_of_a_run_forges_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PROMETHEUS_PORT", "1")
    monkeypatch.delenv("DISPLAY", raising=False)
    make_record(run_id=FORGED, profile=FORGED, verdict="passed").save()
    make_record(run_id="20261124-140000", profile="load", verdict="passed").save()

    result = CliRunner().invoke(cli, arguments)
    printed = result.output + str(getattr(result.exception, "message", ""))

    assert printed.strip()
    assert not [line for line in printed.split("\n") if line.strip().startswith("forged")]
    assert not {character for character in result.output if not character.isprintable()} - {"\n"}


def test_json_of_runs_is_json_whatever_their_ids_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PROMETHEUS_PORT", "1")
    run_id = f"{FORGED}\x7f\x9b\U000e0041ñ"
    make_record(run_id=run_id).save()

    printed = CliRunner().invoke(cli, ["runs", "--json"]).stdout

    assert [run["run_id"] for run in json.loads(printed)] == [run_id]
    assert printed.isascii()
