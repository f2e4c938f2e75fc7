"""What commands print: in a narrow terminal, without colour, to programs and to closed pipes."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.clients.spans import Period
from lab.reports.alert_list import STATES
from lab.stack.config import PORTS
from lab.stack.ports import free_ports
from tests.support import terminal
from tests.support.complete_record import make_complete_record
from tests.support.factories import BEGAN, make_record
from tests.support.fake_clinic import FakeClinic, Request
from tests.support.programs import NOWHERE, command

A, B = "20261124-100000-load", "20261124-110000-load"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Bold is no colour.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[349]\d|10\d)[0-9;]*m")
COMMANDS = {
    "runs": ["runs"],
    "report": ["report", "complete"],
    "compare": ["compare", A, B, "--anyway"],
    "trend": ["trend", "--profile", "load"],
    "baseline": ["baseline"],
    "doctor": ["doctor"],
}
each_command = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)

Command = Callable[..., tuple[list[str], dict[str, str]]]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return how to make a command on three saved runs, without a stack."""
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    for number, run in enumerate((A, B)):
        began = BEGAN + 600 * number
        make_record(run_id=run, period=Period(began, began + 60)).save()
    (tmp_path / "complete.json").unlink(missing_ok=True)
    make_complete_record(run_id="complete").save()
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))

    def make(*words: str, **settings: str) -> tuple[list[str], dict[str, str]]:
        arguments, environment = command(NOWHERE, NOWHERE, *words)
        own = {"CLINIC_RESULTS_DIR": str(tmp_path), "CLINIC_STATE_DIR": str(tmp_path / "state")}
        return arguments, environment | ports | own | {"STACK_BACKEND": "native"} | settings

    return make


@each_command
def test_a_narrow_terminal_without_colours_gets_whole_tables_and_every_word(
    lab: Command, words: list[str]
) -> None:
    shown = terminal.show(*lab(*words, TERM="xterm"))
    without = {
        name: terminal.show(*lab(*words, **{"TERM": "xterm", name: value}))
        for name, value in (("NO_COLOR", "1"), ("TERM", "dumb"))
    }

    lines = [CONTROL.sub("", line).split("\r")[-1].rstrip() for line in shown.splitlines()]
    # Sentences are left to the terminal, which wraps them; a table would fall apart.
    tables = [line for line in lines if re.search(r"\S {2,}\S|──", line)]
    assert [line for line in tables if len(line) > 80] == []
    assert not COLOUR.search(without["NO_COLOR"])
    assert "\x1b" not in without["TERM"]
    if words != ["doctor"]:  # it tells the time and free memory
        assert visible(without["NO_COLOR"]) == visible(without["TERM"]) == visible(shown)


def visible(shown: str) -> list[str]:
    return CONTROL.sub("", shown).split()


@each_command
def test_a_pipe_gets_no_control_sequences(lab: Command, words: list[str]) -> None:
    arguments, environment = lab(*words, TERM="xterm")
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)

    assert "\x1b" not in ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stderr


@each_command
def test_a_pipe_that_closes_early_ends_a_command_quietly(lab: Command, words: list[str]) -> None:
    arguments, environment = lab(*words)
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        arguments, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert "Traceback" not in ended.stderr
    assert "Broken pipe" not in ended.stderr
    assert "Exception" not in ended.stderr


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["runs"], lambda it: [one["run_id"] for one in it] == [B, "complete", A]),
        (["report", "complete"], lambda it: it["run_id"] == "complete" and it["operations"]),
        (
            ["compare", A, B, "--anyway"],
            lambda it: (it["before"], it["after"], it["outcome"]) == (A, B, "inconclusive"),
        ),
        (["doctor"], lambda it: {"Python", "disk"} <= {one["check"] for one in it}),
        (["status"], lambda it: it == []),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_table_is_also_printed_as_json(
    lab: Command, words: list[str], holds: Callable[[Any], bool]
) -> None:
    arguments, environment = lab(*words, "--json", FORCE_COLOR="1")
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)

    assert holds(json.loads(ended.stdout)), ended.stdout
    assert ended.returncode == (1 if words == ["status"] else 0), ended.stderr
    assert ended.stdout.isascii()


def test_alerts_are_also_printed_as_json(lab: Command) -> None:
    labels = {"alertname": "ClinicDown", "severity": "page"}
    alert = {
        "labels": labels,
        "annotations": {"summary": "The API is down"},
        "state": "firing",
        "activeAt": "2026-11-24T10:00:00Z",
        "value": "1",
    }
    received = {"labels": labels, "status": {"silencedBy": ["x"], "inhibitedBy": []}}

    def answer(request: Request) -> tuple[int, Any]:
        if request.path.startswith("/api/v2/alerts"):
            return 200, [received]
        return 200, {"status": "success", "data": {"alerts": [alert]}}

    with FakeClinic(override=answer) as services:
        port = services.url.rsplit(":", 1)[1]
        arguments, environment = lab("alerts", "--json")
        environment |= {"PROMETHEUS_PORT": port, "ALERTMANAGER_PORT": port}
        ended = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=False
        )

    (shown,) = json.loads(ended.stdout)
    assert shown["name"] == "ClinicDown"
    assert shown["state"] == "silenced" in STATES
    assert shown["since"] == "2026-11-24T10:00:00Z"


def test_markdown_and_json_exclude_each_other(lab: Command) -> None:
    arguments, environment = lab("report", "--json", "--markdown")
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert "Choose one of --markdown and --json" in ended.stderr
