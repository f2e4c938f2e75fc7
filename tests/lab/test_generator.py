"""What k6 uses of the machine during a run."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.clients.prometheus import Prometheus
from lab.runs.environment import OtherCpu
from lab.runs.generator import Usage, observe
from lab.stack.config import StackConfig
from lab.stack.supervisor import PID_FILE

BUSY = "import threading; [threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()]"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that is busy in a thread beside its first."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield process
    process.kill()
    process.wait()


def test_usage_covers_all_threads_and_outlive_the_process(
    busy: subprocess.Popen[bytes],
) -> None:
    usage = Usage()
    until = time.monotonic() + 20
    while sum(psutil.Process(busy.pid).cpu_times()[:2]) < 0.3 and time.monotonic() < until:
        time.sleep(0.1)
    usage.read(busy.pid)
    expected = sum(psutil.Process(busy.pid).cpu_times()[:2])
    used, waited, memory = usage.used, usage.waited, usage.memory
    resident = psutil.Process(busy.pid).memory_info().rss
    busy.kill()
    busy.wait()
    usage.read(busy.pid)

    assert used is not None
    assert used == pytest.approx(expected, abs=0.1)
    assert used > 0.1
    assert (usage.used, usage.waited, usage.memory) == (used, waited, memory)
    assert memory == pytest.approx(resident, rel=0.2)
    assert (waited is not None) == sys.platform.startswith("linux")


@pytest.mark.stack
def test_pushed_metrics_have_the_run_and_the_last_values(
    prometheus: Prometheus, busy: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / PID_FILE).write_text(f"{os.getpid()}\n")
    url = f"{prometheus.url}/api/v1/otlp/v1/metrics"
    other_cpu = OtherCpu(StackConfig(tmp_path))
    before = psutil.Process(busy.pid).memory_info().rss
    with observe(url, "a-run", lambda: [busy.pid], other_cpu):
        time.sleep(2)
    now = time.time() + 1

    def value(metric: str) -> float | None:
        return prometheus.number(f'{metric}{{testid="a-run",job="k6-process"}}', now)

    used = sum(psutil.Process(busy.pid).cpu_times()[:2])
    assert value("k6_process_cpu_time_seconds_total") == pytest.approx(used, abs=0.7)
    waited = value("k6_process_run_queue_time_seconds_total")
    assert (waited is not None) == sys.platform.startswith("linux")
    assert value("machine_cpus") == os.cpu_count()
    resident = value("k6_process_memory_usage_bytes")
    assert resident is not None
    assert before <= resident <= psutil.Process(busy.pid).memory_info().rss
    memory = psutil.virtual_memory()
    expected = pytest.approx(memory.total - memory.available, rel=0.2)
    assert value("machine_memory_usage_bytes") == expected
    all_programs = value("machine_cpu_time_seconds_total")
    assert all_programs is not None
    # The busy program alone uses most of one CPU for two seconds.
    assert 0.3 < all_programs < 4 * (os.cpu_count() or 1)
    other = value("machine_other_cpu_time_seconds_total")
    assert other is not None
    assert 0 <= other < 3 * (os.cpu_count() or 1)


def test_a_failed_push_does_not_disturb_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with observe("http://127.0.0.1:1/", "a-run", list, OtherCpu(StackConfig(tmp_path))):
        time.sleep(0.1)

    assert time.monotonic() - started < 10
    assert capfd.readouterr() == ("", "")
