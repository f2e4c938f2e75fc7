"""k6 ends with whatever started it: real processes, and real signals to each of them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lab.runs.k6_process import Command, run_k6
from tests.support.fake_clinic import FakeClinic
from tests.support.native_stack import JUST
from tests.support.programs import NOWHERE, PROJECT, command

pytestmark = pytest.mark.stack

SUMMARY = "k6 ended with status 105: the run was interrupted."


def until_load(clinic: FakeClinic, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while len(clinic.load) < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


@pytest.mark.parametrize(
    ("program", "number", "summary"),
    [
        ("just", signal.SIGTERM, True),
        ("uv", signal.SIGTERM, True),
        ("lab", signal.SIGTERM, True),
        ("lab", signal.SIGHUP, True),
        ("just", signal.SIGKILL, True),
        ("lab", signal.SIGKILL, False),
    ],
)
def test_a_signal_to_any_program_of_the_chain_ends_k6(
    program: str, number: signal.Signals, tmp_path: Path, *, summary: bool
) -> None:
    """Only a killed `lab` can no longer say what k6's status was."""
    _, environment = command(NOWHERE, NOWHERE)
    output = tmp_path / "output"
    with FakeClinic() as clinic, output.open("wb") as file:
        process = subprocess.Popen(
            [JUST, "load", "--without-prometheus"],
            env=environment | {"BASE_URL": clinic.url},
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        processes: list[psutil.Process] = []
        try:
            until_load(clinic, process)
            processes = tree(process)
            [target] = [one for one in processes if one.name() == program]
            os.kill(target.pid, number)
            process.wait(20)
            _, left = psutil.wait_procs(processes, 20)
        finally:
            for one in processes or [psutil.Process(process.pid)]:
                with suppress(psutil.Error):
                    one.kill()

    assert not left
    assert "http_req_duration" in output.read_text()
    assert (SUMMARY in output.read_text()) is summary


@pytest.mark.parametrize(
    ("ends_run", "statuses"), [({99}, [99, -signal.SIGTERM]), ({107}, [99, 0])]
)
def test_a_generator_that_ends_with_some_statuses_ends_the_others(
    ends_run: set[int], statuses: list[int], tmp_path: Path
) -> None:
    """The other one goes on until it is ended, or until the first one has ended."""
    ended = tmp_path / "ended"
    first = f"import pathlib; pathlib.Path({str(ended)!r}).touch(); raise SystemExit(99)"
    until = f"pathlib.Path({str(ended)!r}).exists()" if 107 in ends_run else "False"
    other = f"import pathlib, time\nwhile not {until}: time.sleep(0.1)"
    commands = [Command([sys.executable, "-c", code], os.environ) for code in (first, other)]

    assert run_k6(commands, ends_run=ends_run.__contains__) == statuses
