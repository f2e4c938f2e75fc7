"""What other programs take of the machine is told from what the stack takes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.runs.other_cpu import OtherCpu
from lab.stack.config import StackConfig
from lab.stack.supervisor import PID_FILE


def bundle_of(process: subprocess.Popen[bytes], state: Path) -> StackConfig:
    state.mkdir()
    (state / PID_FILE).write_text(f"{process.pid}\n")
    return StackConfig(state)


def test_what_the_bundle_takes_is_not_what_others_take(tmp_path: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        # To the one stack the busy program is its own, to the other it is a neighbour.
        own, other = (
            OtherCpu(bundle_of(process, tmp_path / name))
            for process, name in ((busy, "own"), (idle, "other"))
        )
        began, before = time.monotonic(), sum(psutil.Process(busy.pid).cpu_times()[:2])
        time.sleep(2)
        took = sum(psutil.Process(busy.pid).cpu_times()[:2]) - before
        share = took / (time.monotonic() - began) / (os.cpu_count() or 1)
        without, with_it = own.share(), other.share()
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()

    assert without is not None
    assert with_it is not None
    assert share > 0.01
    assert with_it - without == pytest.approx(share, rel=0.2, abs=0.03)
    assert 0 <= without < with_it <= 1


def test_without_a_supervisor_it_is_not_known(tmp_path: Path) -> None:
    assert OtherCpu(StackConfig(tmp_path)).share() is None
