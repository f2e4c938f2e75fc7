"""The CPU time of other programs, apart from that of the stack."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.runs.environment import OtherCpu
from lab.stack.config import StackConfig
from lab.stack.supervisor import PID_FILE


def config_for(process: subprocess.Popen[bytes], state: Path) -> StackConfig:
    state.mkdir()
    (state / PID_FILE).write_text(f"{process.pid}\n")
    return StackConfig(state)


def test_the_stacks_own_cpu_time_does_not_count(tmp_path: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        # The busy program belongs to one stack, and is another program for the other one.
        own, other = (
            OtherCpu(config_for(process, tmp_path / name))
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
    # Other programs of this machine count for both; only the busy one makes the difference.
    assert with_it - without == pytest.approx(share, rel=0.3, abs=0.1)
    assert 0 <= without < with_it <= 1


def test_without_a_native_stack_it_is_unknown(tmp_path: Path) -> None:
    assert OtherCpu(StackConfig(tmp_path)).share() is None
