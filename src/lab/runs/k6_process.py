"""The processes of the load: they get this program's signals, and end with what started it."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from itertools import takewhile
from types import FrameType
from typing import IO

import psutil

# One Ctrl-C arrives twice: from the terminal, and a little later from the parent process.
CTRL_C_SECONDS = 0.5
CHECK_SECONDS = 1.0
# What starts this program for its user: `uv run just load` is uv, just, and uv again.
WRAPPERS = {"uv", "just", "sh"}
# prctl(2): the kernel sends a signal to a process whose parent has died.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """A command line with its environment, and where its output goes: None is this terminal."""

    words: Sequence[str]
    settings: Mapping[str, str]
    output: IO[bytes] | None = None


def run_k6(
    commands: Sequence[Command],
    observe: Callable[[list[int]], AbstractContextManager[None]] = lambda _: nullcontext(),
    ends_run: Callable[[int], bool] = lambda _: False,
) -> list[int]:
    """Run each k6 until its end; one Ctrl-C ends all with their summaries, a second one at once.

    SIGTERM, a closed terminal and the end of a program that started this one end them with their
    summaries, too, and so does the end of one of them with a status that `ends_run`. `observe`
    takes the ids of the processes. Return their exit statuses.
    """
    wrappers = _wrappers()
    processes = [
        subprocess.Popen(  # noqa: S603 - k6, on the project's own script
            command.words,
            env=dict(command.settings),
            stdin=subprocess.DEVNULL,
            stdout=command.output,
            stderr=command.output,
            process_group=0,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - it calls one function of the C library
        )
        for command in commands
    ]
    last_signal = {signal.SIGINT: 0.0, signal.SIGTERM: 0.0}

    def interrupt(number: int, _: FrameType | None) -> None:
        kind, now = signal.Signals(number), time.monotonic()
        repeated = now - last_signal[kind] <= CTRL_C_SECONDS
        last_signal[kind] = now
        if not repeated:
            _send(processes, kind)

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the report follows
        _leave_closed_terminal(on_terminal)
        interrupt(signal.SIGTERM, None)

    def resize(number: int, _: FrameType | None) -> None:
        _send(processes, signal.Signals(number))

    on_terminal = [number for number in (1, 2) if os.isatty(number)]
    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGWINCH: resize}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # else nohup protects this program
        signal.signal(signal.SIGHUP, hang_up)
    try:
        with observe([process.pid for process in processes]):
            statuses = _wait(processes, wrappers, ends_run)
        # The second arrival of a Ctrl-C must not interrupt the report.
        while time.monotonic() - max(last_signal.values()) < CTRL_C_SECONDS:
            time.sleep(0.1)
        return statuses
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _send(processes: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _wait(
    processes: list[subprocess.Popen[bytes]],
    wrappers: list[psutil.Process],
    ends_run: Callable[[int], bool],
) -> list[int]:
    """Wait for the end of every k6, which ends with its summary if a wrapper does."""
    ending = False
    while running := [process for process in processes if process.poll() is None]:
        statuses = [process.returncode for process in processes if process not in running]
        orphaned = bool(wrappers) and not all(map(_is_alive, wrappers))
        if not ending and (orphaned or any(map(ends_run, statuses))):
            ending = True
            _send(running, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            running[0].wait(CHECK_SECONDS)
    return [process.returncode for process in processes]


def _wrappers() -> list[psutil.Process]:
    with suppress(psutil.Error):
        parents = psutil.Process().parents()
        return list(takewhile(lambda parent: parent.name() in WRAPPERS, parents))
    return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _end_with_parent() -> None:
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _leave_closed_terminal(numbers: list[int]) -> None:
    """Write to nowhere in place of a terminal that no longer exists."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        if not os.isatty(number):
            os.dup2(nowhere, number)
