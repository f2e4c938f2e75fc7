"""Measure the native stack as a whole: its start, memory, and how soon spans can be searched."""

import random
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from lab.clients.spans import Period
from lab.clients.tempo_or_jaeger import connect
from lab.clients.trace_store import TraceSearch
from lab.console import say
from lab.errors import UserError
from performance.stack import Stack, temporary_stack

SEARCHES = 20
SEARCH_SECONDS = 60
POLL_SECONDS = 0.05
SETTLE_SECONDS = 30
MEMORY_SECONDS = 2
MIB = 2**20
PATH = "/owners"


@dataclass(frozen=True)
class StackSample:
    up: float
    """Seconds of `just up` with built programs and an existing database."""
    idle: dict[str, float]
    """Megabytes of each service's memory; what processes share is divided among them (PSS)."""
    stress: dict[str, float]
    """The same at the moment of a stress run at which their sum is highest."""
    search_delays: list[float]
    """Seconds from a response until the trace store finds the request by its run and duration."""


def measure() -> StackSample:
    with (
        tempfile.TemporaryDirectory(prefix="clinic-bench-") as results,
        temporary_stack(Path(results)) as stack,
    ):
        stack.down()
        began = time.monotonic()
        stack.up()
        up = time.monotonic() - began
        say(f"`just up`: {up:.1f} s. The memory of the idle stack follows.")
        time.sleep(SETTLE_SECONDS)
        idle = memory(stack)
        say(f"Idle: {sum(idle.values()):.0f} MB. {SEARCHES} searches follow.")
        delays = [search_delay(stack) for _ in range(SEARCHES)]
        say("A stress run of five minutes follows.")
        with memory_sampled(stack) as samples:
            stack.run_load("stress", {})
        return StackSample(up, idle, max(samples, key=lambda it: sum(it.values())), delays)


def memory(stack: Stack) -> dict[str, float]:
    """Return the megabytes of each service with its child processes."""
    return {name: proportional_megabytes(stack.process(name)) for name in stack.services}


def proportional_megabytes(process: psutil.Process) -> float:
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # PostgreSQL's processes come and go
            used += each.memory_full_info().pss / MIB
    return used


@contextmanager
def memory_sampled(stack: Stack) -> Iterator[list[dict[str, float]]]:
    """Note the memory of each service again and again until the end of the block."""
    samples = [memory(stack)]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(MEMORY_SECONDS):
            samples.append(memory(stack))

    with ThreadPoolExecutor(1) as thread:
        sampling = thread.submit(sample)
        try:
            yield samples
        finally:
            ended.set()
    sampling.result()


def search_delay(stack: Stack) -> float:
    """Send a request of a load run, and search the trace store until it is found."""
    time.sleep(random.uniform(0, 1))  # noqa: S311 - so that requests meet exports at any moment
    run_id = f"bench-{secrets.token_hex(4)}"
    now = time.time()
    httpx.get(
        f"{stack.config.api_url}{PATH}",
        headers={
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
            "baggage": f"k6.test_run_id={run_id},k6.scenario=bench",
        },
        trust_env=False,  # a proxy does not reach the stack
    ).raise_for_status()
    answered = time.monotonic()
    search = TraceSearch(run_id, Period(now, now))
    with connect(stack.config.traces_url) as store:
        while not store.slower_than(search, 0, 1)[0]:
            if time.monotonic() - answered > SEARCH_SECONDS:
                raise UserError(f"The trace store does not find run {run_id}.")
            time.sleep(POLL_SECONDS)
    return time.monotonic() - answered
