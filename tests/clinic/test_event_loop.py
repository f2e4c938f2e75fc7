"""The event-loop monitor on real event loops, against what the loop's thread is made to do.

Other programs may take the CPU meanwhile. So the tests compare states with each other, and leave
out the time in the run queue where it is not what they are about.
"""

import asyncio
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ParamSpec

import pytest
import uvloop
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from clinic.telemetry import event_loop
from clinic.telemetry.event_loop import (
    INTERVAL,
    MAX_TICKS,
    REPORT_SECONDS,
    EventLoopMonitor,
    Reading,
    explain_delay,
)
from tests.support.metrics import points

SECONDS = 1.5
TRIES = 5
P = ParamSpec("P")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the causes are told on Linux only")


def repeated_if_disturbed(test: Callable[P, None]) -> Callable[P, None]:
    """Repeat a failed test: what is wrong in the monitor is wrong each time.

    Other programs can take the CPU from the watchdog at a moment at which only that tells a stall
    from a halt.
    """

    @functools.wraps(test)
    def repeat(*arguments: P.args, **options: P.kwargs) -> None:
        for pause in range(1, TRIES):
            with suppress(AssertionError):
                return test(*arguments, **options)
            time.sleep(pause)
        return test(*arguments, **options)

    return repeat


class Measured:
    """What the monitor reports of a loop that ran a coroutine."""

    def __init__(self, run: Callable[..., Any], behaviour: Callable[[], Awaitable[None]]) -> None:
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        self.monitor = EventLoopMonitor(provider.get_meter("test"))

        async def measure() -> None:
            with self.monitor.run():
                started = self.monitor.last.time
                await behaviour()
                await asyncio.sleep(0.3)  # until the clocks are read again
                self.wall = self.monitor.last.time - started

        run(measure())
        self.time = states(reader, "clinic.event_loop.time")
        self.delay = states(reader, "clinic.event_loop.delay")
        (self.lag,) = points(reader, "clinic.event_loop.lag")
        provider.shutdown()

    def largest(self, *, of: dict[str, float]) -> str:
        return max((state for state in of if state != "run_queue"), key=lambda state: of[state])


def states(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    return {
        point.attributes["clinic.event_loop.state"]: point.value for point in points(reader, name)
    }


def burn(seconds: float) -> None:
    """Use CPU for that long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def be_idle() -> None:
    await asyncio.sleep(SECONDS)


async def work() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        burn(0.03)
        await asyncio.sleep(0)


async def block() -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.05)  # noqa: ASYNC251 a blocking call is what the test is about
        await asyncio.sleep(0.05)


async def hold_gil() -> None:
    """Let another thread use all the CPU it gets, with the GIL."""
    done = threading.Event()

    def hold() -> None:
        while not done.is_set():
            burn(0.01)

    thread = threading.Thread(target=hold)
    thread.start()
    await asyncio.sleep(SECONDS)
    done.set()
    thread.join()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    run: Callable[..., Any] = request.param
    return run


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [
        (be_idle, "idle"),
        (work, "working"),
        (block, "stalled"),
    ],
)
@repeated_if_disturbed
def test_time_and_delay_are_split_by_what_the_thread_does(
    run: Callable[..., Any], behaviour: Callable[[], Awaitable[None]], state: str
) -> None:
    measured = Measured(run, behaviour)

    busy = {name: value for name, value in measured.time.items() if name != "idle"}
    if state == "idle":
        assert measured.time["idle"] > 0.8 * measured.wall - measured.time["run_queue"]
        assert measured.time["stalled"] + measured.time["halted"] < 0.05 * measured.wall
    else:
        assert measured.largest(of=busy) == state
        assert measured.largest(of=measured.delay) == state
    assert sum(measured.time.values()) == pytest.approx(measured.wall, rel=0.02)
    assert sum(measured.delay.values()) == pytest.approx(measured.lag.sum)
    assert measured.lag.count == pytest.approx(measured.wall / INTERVAL, abs=10)
    assert set(measured.time) == {"idle", *measured.delay}
    assert min(*measured.time.values(), *measured.delay.values()) >= 0


@repeated_if_disturbed
def test_blocking_calls_take_their_share_of_time() -> None:
    measured = Measured(asyncio.run, block)

    assert 0.3 * SECONDS < measured.time["stalled"] < 0.7 * SECONDS
    assert measured.time["working"] < 0.2 * SECONDS


@repeated_if_disturbed
def test_stalls_are_told_without_timer_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, and in a sandbox that forbids them."""
    monkeypatch.setattr(event_loop, "TIMERS", False)

    measured = Measured(asyncio.run, block)

    assert measured.largest(of=measured.delay) == "stalled"
    assert measured.delay["halted"] == 0
    assert sum(measured.time.values()) == pytest.approx(measured.wall, rel=0.02)


@repeated_if_disturbed
def test_waiting_for_the_gil_is_delay_by_other_threads() -> None:
    delay = Measured(asyncio.run, hold_gil).delay

    assert max(delay, key=lambda state: delay[state]) in {"other_threads", "run_queue"}
    assert delay["other_threads"] > delay["working"] + delay["stalled"] + delay["halted"]


@repeated_if_disturbed
def test_waiting_for_a_cpu_is_delay_in_the_run_queue() -> None:
    rivals = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        measured = Measured(asyncio.run, work)
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()

    assert measured.delay["run_queue"] > measured.delay["working"]
    assert measured.delay["run_queue"] > 3 * (measured.delay["stalled"] + measured.delay["halted"])


HALTED_PROGRAM = """
import asyncio, json, time
from opentelemetry.metrics import NoOpMeterProvider
from clinic.telemetry.event_loop import EventLoopMonitor

async def main():
    monitor = EventLoopMonitor(NoOpMeterProvider().get_meter("test"))
    with monitor.run():
        print("ready", flush=True)
        await asyncio.sleep(2)
    print(json.dumps([monitor.time, monitor.delay]))

asyncio.run(main())
"""


@repeated_if_disturbed
def test_a_stopped_process_is_halted_not_stalled() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HALTED_PROGRAM], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    for _ in range(5):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    output, _ = process.communicate(timeout=30)

    seconds, delay = json.loads(output)
    assert seconds["halted"] > 0.35
    assert seconds["halted"] > 3 * seconds["stalled"]
    assert delay["halted"] > 3 * delay["stalled"]


@repeated_if_disturbed
def test_each_missed_tick_is_recorded_with_its_own_delay() -> None:
    blocked = 0.0

    async def block_once() -> None:
        nonlocal blocked
        started = time.monotonic()
        time.sleep(0.5)  # noqa: ASYNC251 a blocking call is what the test is about
        blocked = time.monotonic() - started

    measured = Measured(asyncio.run, block_once)

    assert measured.lag.count == pytest.approx(measured.wall / INTERVAL, abs=10)
    assert measured.lag.sum == pytest.approx(blocked / INTERVAL * blocked / 2, rel=0.2)
    assert measured.lag.max == pytest.approx(blocked, rel=0.15)


def test_a_very_long_delay_is_recorded_in_bounded_time_with_its_mean() -> None:
    reader = InMemoryMetricReader()
    monitor = EventLoopMonitor(MeterProvider([reader]).get_meter("test"))
    hour = 3600.0

    monitor.add_delay(hour, int(hour / INTERVAL) + 1, {"working": hour})

    (lag,) = points(reader, "clinic.event_loop.lag")
    assert lag.count == MAX_TICKS
    assert lag.sum / lag.count == pytest.approx(hour / 2, rel=0.01)
    assert monitor.delay["working"] == pytest.approx(lag.sum)


@repeated_if_disturbed
def test_the_delay_so_far_includes_one_that_is_not_over() -> None:
    async def measure() -> float:
        monitor = EventLoopMonitor(MeterProvider().get_meter("test"))
        with monitor.run():
            await asyncio.sleep(0.1)
            before = monitor.late_seconds()
            time.sleep(0.3)  # noqa: ASYNC251 a blocking call is what the test is about
            return monitor.late_seconds() - before

    assert 0.27 < asyncio.run(measure()) < 0.6


def test_the_blocking_place_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def blocking_function() -> None:
        time.sleep(3 * REPORT_SECONDS)

    async def block_twice() -> None:
        for _ in range(2):
            blocking_function()
            await asyncio.sleep(0.1)

    with caplog.at_level(logging.WARNING):
        Measured(asyncio.run, block_twice)

    (record,) = caplog.records
    assert "test_event_loop.py:" in record.getMessage()
    assert record.getMessage().endswith("blocking_function")


@pytest.mark.parametrize("behaviour", [be_idle, work])
def test_nothing_is_logged_without_a_blocking_call(
    behaviour: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Measured(asyncio.run, behaviour)

    assert caplog.records == []


def test_the_watchdog_stops_with_the_monitor() -> None:
    before = threading.active_count()

    Measured(asyncio.run, be_idle)

    assert threading.active_count() == before


START = Reading(time=0, working=0, run_queue=0, process=0)


@pytest.mark.parametrize(
    ("readings", "due", "causes"),
    [
        pytest.param(
            [Reading(0.03, 0.03, 0, 0.03)], 0.02, {"working": 0.01}, id="worked all the time"
        ),
        pytest.param(
            [Reading(0.021, 0, 0, 0), Reading(0.06, 0, 0, 0)],
            0.02,
            {"unexplained": 0.04},
            id="slept",
        ),
        pytest.param(
            [Reading(0.03, 0.002, 0.008, 0.002)],
            0.02,
            {"working": 0.002, "run_queue": 0.008},
            id="waited for a CPU",
        ),
        pytest.param(
            [Reading(0.025, 0, 0, 0.025)], 0.02, {"other_threads": 0.005}, id="waited for the GIL"
        ),
        pytest.param(
            [Reading(0.075, 0.01, 0, 0.01)],
            0.025,
            {"unexplained": 0.05},
            id="worked before the tick, then nobody ran",
        ),
        pytest.param(
            [Reading(0.021, 0, 0, 0), Reading(0.05, 0, 0.03, 0)],
            0.02,
            {"run_queue": 0.03},
            id="the wait in the run queue is counted at its end",
        ),
    ],
)
def test_a_delay_is_explained_by_the_clocks(
    readings: list[Reading], due: float, causes: dict[str, float]
) -> None:
    explained = explain_delay([START, *readings], due)

    assert {
        state: seconds for state, seconds in explained.items() if seconds > 1e-9
    } == pytest.approx(causes)
