"""How late the event loop serves events, and what its thread does meanwhile.

A timer is due on a fixed grid. A tick that is served late is like a request that arrives at that
moment: it waits for the same reason. The states of the loop's thread:

- working: it uses CPU.
- run_queue: it is ready to run, and other threads or programs have the CPUs (Linux only).
- other_threads: it waits while other threads of this process use CPU, for the GIL for example.
- stalled: none of these, and the watchdog thread runs on time: a blocking call holds the loop.
- halted: none of these, and the watchdog is late as well: the process does not run, for example
  after SIGSTOP or in a frozen container.
- idle: it waits for events.
"""

import asyncio
import ctypes
import logging
import math
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Thread, get_ident, get_native_id
from types import FrameType
from typing import NamedTuple

from opentelemetry.metrics import Meter, Observation

INTERVAL = 0.0247
"""Seconds between ticks: about 25 ms, but out of step with whatever happens every 50 or 100 ms."""

SHORT_DELAY = 0.001
"""Longest delay without a cause of its own: the thread wakes up, or finishes what it does."""

MAX_TICKS = 2400
"""Ticks recorded after one late wake-up. After more than a minute, they are spread over the whole
delay: its mean stays right, but it weighs as much as a minute."""

READ_TICKS = 8
"""Ticks after which the clocks of an idle loop are read; those of any other, at each tick."""

IDLE_SHARE = 0.95
"""Share of time without work from which on a loop is idle."""

HALT_SECONDS = 0.002
"""Lateness of the watchdog, which is due 1 ms after the tick, that shows a halt."""

HALT_SECONDS_GIL = 0.0085
"""The same if the watchdog had to wait for the GIL, which takes 5 ms without a halt."""

REPORT_SECONDS = 0.1
"""Time after which a blocking call is logged."""

REPORT_INTERVAL = 60
"""Seconds between log lines about the same place."""

IDLE, WORKING, RUN_QUEUE, OTHER_THREADS, STALLED, HALTED = STATES = (
    "idle",
    "working",
    "run_queue",
    "other_threads",
    "stalled",
    "halted",
)

UNEXPLAINED = "unexplained"
"""Until the watchdog tells a stall from a halt."""

PACKAGE = str(Path(__file__).parent.parent)

log = logging.getLogger(__name__)

# Its functions run with the GIL held: released, it would cost up to 5 ms to get back.
libc = ctypes.PyDLL(None)


def has_timers() -> bool:
    """Return whether timers can be files, which only Linux offers and a sandbox may forbid."""
    if sys.platform != "linux":
        return False
    timer: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
    if timer >= 0:
        os.close(timer)
    return timer >= 0


TIMERS = has_timers()
"""Without, the loop's own timers are used, and no delay is a halt."""


class Reading(NamedTuple):
    """Clocks at one moment, in seconds."""

    time: float
    working: float
    """CPU time of the thread."""
    run_queue: float
    """Time that the thread was ready to run and had no CPU."""
    process: float
    """CPU time of all threads."""


class ThreadClocks:
    """Clocks of the thread that creates it."""

    def __init__(self) -> None:
        self.thread = get_ident()
        self.folder = Path(f"/proc/self/task/{get_native_id()}")
        self.cpu_clock = (
            time.pthread_getcpuclockid(self.thread) if sys.platform == "linux" else None
        )
        try:
            self.schedstat = os.open(self.folder / "schedstat", os.O_RDONLY)
        except OSError:
            self.schedstat = -1
        self.buffer = ctypes.create_string_buffer(64)

    def close(self) -> None:
        if self.schedstat >= 0:
            os.close(self.schedstat)

    def run_queue(self) -> float:
        """Return the seconds spent in the run queue; 0 where the system does not count them."""
        if self.schedstat < 0:
            return 0.0
        size = libc.pread(self.schedstat, self.buffer, len(self.buffer), ctypes.c_long(0))
        return int(self.buffer.raw[:size].split()[1]) / 1e9 if size > 0 else 0.0

    def runnable(self) -> bool:
        """Return whether the thread runs or waits for a CPU, a wait that is counted at its end."""
        return self.schedstat >= 0 and (self.folder / "stat").read_text().rpartition(") ")[
            2
        ].startswith("R")

    def read(self) -> Reading:
        """Read all clocks; from other threads on Linux only."""
        return Reading(
            time.monotonic(),
            time.thread_time() if self.cpu_clock is None else time.clock_gettime(self.cpu_clock),
            self.run_queue(),
            time.process_time(),
        )


class EventLoopMonitor:
    """Measures the event loop that runs it, for less than 1 % of a core."""

    def __init__(self, meter: Meter) -> None:
        self.time = dict.fromkeys(STATES, 0.0)
        self.delay = dict.fromkeys(STATES[1:], 0.0)
        self.idle = 0.0
        self.late = 0.0
        self.unexplained = self.unexplained_delay = self.unexplained_time = 0.0
        self.wakeups = 0
        self.unread_ticks = 0
        self.read_ticks = 1
        self.due = math.inf
        self.lag = meter.create_histogram(
            "clinic.event_loop.lag", "s", "Time that an event waits for the event loop."
        )
        meter.create_observable_counter(
            "clinic.event_loop.delay",
            [lambda _: observations(self.delay)],
            "s",
            "Sum of clinic.event_loop.lag by what the loop's thread did meanwhile.",
        )
        meter.create_observable_counter(
            "clinic.event_loop.time",
            [lambda _: observations(self.time)],
            "s",
            "Time by state of the event loop's thread.",
        )

    @contextmanager
    def run(self) -> Iterator[None]:
        """Monitor the current event loop."""
        self.loop = asyncio.get_running_loop()
        self.clocks = ThreadClocks()
        self.last = self.clocks.read()
        self.due = self.last.time + INTERVAL
        self.watchdog = Watchdog(self)
        try:
            with self.timer():
                yield
        finally:
            self.due = math.inf
            self.watchdog.stop()
            self.clocks.close()

    @contextmanager
    def timer(self) -> Iterator[None]:
        """Call `wake` at each tick.

        On Linux through a file descriptor, like a request: timers of asyncio and uvloop are up to
        1 ms late even in an idle loop.
        """
        if TIMERS:
            timer = Timer(os.O_NONBLOCK)
            timer.set(self.due)
            self.loop.add_reader(timer.descriptor, self.read_timer, timer.descriptor)
            try:
                yield
            finally:
                self.loop.remove_reader(timer.descriptor)
                timer.close()
        else:
            self.schedule()
            try:
                yield
            finally:
                self.handle.cancel()

    def read_timer(self, descriptor: int) -> None:
        os.read(descriptor, 8)
        self.wake()

    def schedule(self) -> None:
        self.handle = self.loop.call_later(max(0.0, self.due - time.monotonic()), self.fire)

    def fire(self) -> None:
        self.wake()
        self.schedule()

    def late_seconds(self) -> float:
        """Return the seconds that the loop has been late so far, the current delay included."""
        delay = time.monotonic() - self.due
        return self.late + (delay if delay > SHORT_DELAY else 0.0)

    def wake(self) -> None:
        """Account for the tick that is due, and for those that were missed."""
        delay = time.monotonic() - self.due
        if delay < 0:
            return
        ticks = int(delay / INTERVAL) + 1
        self.unread_ticks += ticks
        self.settle()
        if delay > SHORT_DELAY or self.unread_ticks >= self.read_ticks:
            self.unread_ticks = 0
            sample = self.watchdog.sample
            now = self.clocks.read()
            readings = (self.last, now) if sample is None else (self.last, sample, now)
            causes = explain_delay(readings, self.due)
            self.add_time(now, ticks, causes)
            self.last = now
        else:
            causes = {WORKING: delay}
        self.add_delay(delay, ticks, causes)
        self.due += ticks * INTERVAL
        self.wakeups += 1
        self.settle()
        if not self.unexplained:
            self.watchdog.expect(self.due)

    def add_delay(self, delay: float, ticks: int, causes: dict[str, float]) -> None:
        """Record how late each tick is: the first by the whole delay, the next by less."""
        recorded = min(ticks, MAX_TICKS)
        step = INTERVAL * ticks / recorded
        total = 0.0
        for tick in range(recorded):
            lateness = max(0.0, delay - tick * step)
            self.lag.record(lateness)
            total += lateness
        explained = sum(causes.values())
        for state, seconds in causes.items():
            part = total * seconds / explained if explained else 0.0
            if state == UNEXPLAINED:
                self.unexplained += seconds
                self.unexplained_delay += part
            else:
                self.delay[state] += part
        if delay > SHORT_DELAY:
            self.late += delay

    def add_time(self, now: Reading, ticks: int, causes: dict[str, float]) -> None:
        """Divide the time since the last reading over the states.

        A stall that begins before the tick is seen from the tick on only. So each tick in a stall
        stands for one interval of it, which is right on average; what is too much in one wake-up
        is taken from the idle time that follows.
        """
        wall = now.time - self.last.time
        busy = {
            WORKING: now.working - self.last.working,
            RUN_QUEUE: now.run_queue - self.last.run_queue,
            OTHER_THREADS: causes[OTHER_THREADS],
        }
        for state, seconds in busy.items():
            self.time[state] += seconds
        stall = causes[UNEXPLAINED]
        if stall > SHORT_DELAY:
            stall *= ticks * INTERVAL / sum(causes.values())
        self.unexplained_time += stall
        self.idle += wall - sum(busy.values()) - stall
        self.time[IDLE] = max(self.time[IDLE], self.idle)
        self.read_ticks = READ_TICKS if busy[WORKING] < wall * (1 - IDLE_SHARE) else 1

    def settle(self) -> None:
        """Tell stalls from halts, if the watchdog has run since."""
        if not self.unexplained:
            return
        if TIMERS and time.monotonic() - self.watchdog.due > HALT_SECONDS:
            return  # The watchdog is late, too: it runs before the next tick.
        halted, queued = self.watchdog.late_seconds()
        halted_share = min(1.0, halted / self.unexplained)
        queued_share = min(1.0 - halted_share, queued / self.unexplained)
        for counters, seconds in (
            (self.delay, self.unexplained_delay),
            (self.time, self.unexplained_time),
        ):
            counters[HALTED] += seconds * halted_share
            counters[OTHER_THREADS] += seconds * queued_share
            counters[STALLED] += seconds * (1.0 - halted_share - queued_share)
        self.unexplained = self.unexplained_delay = self.unexplained_time = 0.0


def observations(seconds: dict[str, float]) -> Iterable[Observation]:
    return [
        Observation(value, {"clinic.event_loop.state": state}) for state, value in seconds.items()
    ]


def explain_delay(readings: Iterable[Reading], due: float) -> dict[str, float]:
    """Return the seconds since `due` by cause; and those without."""
    causes = dict.fromkeys((WORKING, RUN_QUEUE, OTHER_THREADS, UNEXPLAINED), 0.0)
    queued_earlier = 0.0
    for before, after in pairwise(readings):
        length = after.time - before.time
        late = after.time - max(before.time, due)
        if late <= 0:
            continue
        working = min(after.working - before.working, length)
        queued = after.run_queue - before.run_queue
        run_queue = min(queued, length - working)
        queued_earlier += queued - run_queue
        others = after.process - before.process - working
        others = min(max(0.0, others), length - working - run_queue)
        known = working + run_queue + others
        # Only part of the time between the readings is late: assume that it was the busy part,
        # unless even the watchdog did not get to run, which a busy loop prevents for 5 ms only.
        if HALT_SECONDS_GIL < late > known:
            share = max(0.0, known + late - length) / known if known else 0.0
        else:
            share = min(1.0, late / known) if known else 0.0
        causes[WORKING] += working * share
        causes[RUN_QUEUE] += run_queue * share
        causes[OTHER_THREADS] += others * share
        causes[UNEXPLAINED] += max(0.0, late - known * share)
    # The system counts a wait in the run queue when it ends.
    queued_earlier = min(queued_earlier, causes[UNEXPLAINED])
    causes[RUN_QUEUE] += queued_earlier
    causes[UNEXPLAINED] -= queued_earlier
    return causes


class Watchdog:
    """A thread that wakes up only if the loop is late.

    It reads the loop's clocks while the loop is late, which shows the cause, and logs what blocks
    the loop. If it is late itself, longer than it waited for a CPU or the GIL, the process was
    halted.
    """

    def __init__(self, monitor: EventLoopMonitor) -> None:
        self.monitor = monitor
        self.sample: Reading | None = None
        """The first reading while the current tick is late."""
        self.halted = 0.0
        self.queued = 0.0
        self.late_before = (0.0, 0.0)
        self.reported: dict[str, float] = {}
        self.stopping = False
        self.timer = Timer() if TIMERS else None
        self.expect(monitor.due)
        self.thread = Thread(target=self.run, name="event-loop-watchdog", daemon=True)
        self.thread.start()

    def expect(self, due: float) -> None:
        """Wake up unless the loop calls this again within 1 ms after its tick is due."""
        self.sample = None
        self.due = due
        if self.timer is not None:
            self.timer.set(due + SHORT_DELAY)

    def stop(self) -> None:
        self.stopping = True
        if self.timer is not None:
            self.timer.set(time.monotonic())
        self.thread.join(1)  # It may be writing to a log that nobody reads.
        if self.timer is not None and not self.thread.is_alive():
            self.timer.close()

    def late_seconds(self) -> tuple[float, float]:
        """Return the seconds that the watchdog was late since the last call.

        Of a halt, and of waiting for the GIL while the thread that holds it has no CPU.
        """
        before, self.late_before = self.late_before, (self.halted, self.queued)
        return self.halted - before[0], self.queued - before[1]

    def run(self) -> None:
        clocks = ThreadClocks()
        run_queue, waits = clocks.run_queue(), blocking_waits()
        wakeups, start, reported = -1, self.monitor.last, False
        while True:
            self.wait()
            if self.stopping:
                break
            due = self.due
            now = self.monitor.clocks.read()
            run_queue_before, run_queue = run_queue, clocks.run_queue()
            waits_before, waits = waits, blocking_waits()
            late = now.time - due
            if late < 0:
                continue
            late -= run_queue - run_queue_before
            # One wait is for the timer; each other one is for the GIL, for 5 ms at most.
            gil = sys.getswitchinterval() * max(0, waits - waits_before - 1)
            halted = TIMERS and late - gil > HALT_SECONDS
            if halted:
                self.halted += late
            elif late > HALT_SECONDS_GIL:
                self.queued += late
            if self.sample is None:
                self.sample = now if TIMERS else None
            self.due += INTERVAL * (int((now.time - due) / INTERVAL) + 1)
            if halted or wakeups != self.monitor.wakeups:
                wakeups, start, reported = self.monitor.wakeups, now, False
            elif not reported and now.time - start.time > REPORT_SECONDS:
                reported = self.report(start, now)
        clocks.close()

    def wait(self) -> None:
        if self.timer is not None:
            self.timer.wait()
        else:
            time.sleep(INTERVAL)

    def report(self, start: Reading, now: Reading) -> bool:
        """Log the place that blocks the loop; return False if it is not a blocking call."""
        busy = now.working - start.working + now.run_queue - start.run_queue
        frame = sys._current_frames().get(self.monitor.clocks.thread)  # noqa: SLF001 documented, in spite of its name
        if (
            frame is None
            or busy > REPORT_SECONDS / 2
            or self.monitor.clocks.runnable()
            or not self.monitor.loop.is_running()
        ):
            return False
        place = describe(frame)
        if now.time - self.reported.get(place, -REPORT_INTERVAL) >= REPORT_INTERVAL:
            self.reported[place] = now.time
            log.warning(
                "A blocking call has held up the event loop for more than %.0f ms: %s",
                REPORT_SECONDS * 1000,
                place,
            )
        return True


def describe(frame: FrameType) -> str:
    """Name the line that is executing, and the line of this package that leads to it."""
    place = location(frame)
    caller: FrameType | None = frame
    while caller is not None and not caller.f_code.co_filename.startswith(PACKAGE):
        caller = caller.f_back
    return place if caller in {None, frame} else f"{place}, called at {location(caller)}"


def location(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def blocking_waits() -> int:
    """Count how often this thread has waited: for its timer, and for the GIL."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw if sys.platform == "linux" else 0


class TimerSpec(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("first_seconds", ctypes.c_long),
        ("first_nanoseconds", ctypes.c_long),
    )


class Timer:
    """A timer whose descriptor becomes readable; `os.timerfd_create` exists from Python 3.13 on."""

    def __init__(self, flags: int = 0) -> None:
        self.descriptor: int = libc.timerfd_create(time.CLOCK_MONOTONIC, flags | os.O_CLOEXEC)
        self.spec = TimerSpec(0, round(INTERVAL * 1e9))

    def set(self, first: float) -> None:
        """Expire at `first`, by `time.monotonic()`, and then at each interval."""
        self.spec.first_seconds = int(first)
        self.spec.first_nanoseconds = int(first % 1 * 1e9)
        absolute = 1
        libc.timerfd_settime(self.descriptor, absolute, ctypes.byref(self.spec), None)

    def wait(self) -> None:
        os.read(self.descriptor, 8)

    def close(self) -> None:
        os.close(self.descriptor)
