"""The process that runs the load: it gets this program's signals, and ends with what started it."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import takewhile
from types import FrameType

import psutil

# One Ctrl-C arrives twice: from the terminal, and a little later from the parent process.
CTRL_C_SECONDS = 0.5
CHECK_SECONDS = 1.0
# What starts this program for its user: `uv run just load` is uv, just, and uv again.
WRAPPERS = {"uv", "just", "sh"}
# prctl(2): the kernel sends a signal to a process whose parent has died.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def run_k6(
    command: list[str],
    settings: Mapping[str, str],
    observe: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> int:
    """Run k6 in this terminal; one Ctrl-C ends it with its summary, a second one at once.

    SIGTERM, a closed terminal and the end of a program that started this one end it with its
    summary, too. `observe` takes the id of its process.
    """
    wrappers = _wrappers()
    process = subprocess.Popen(  # noqa: S603 - k6, on the project's own script
        command,
        env=dict(settings),
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - it calls one function of the C library
    )
    last_signal = {signal.SIGINT: 0.0, signal.SIGTERM: 0.0}

    def interrupt(number: int, _: FrameType | None) -> None:
        kind, now = signal.Signals(number), time.monotonic()
        repeated = now - last_signal[kind] <= CTRL_C_SECONDS
        last_signal[kind] = now
        if process.poll() is None and not repeated:
            process.send_signal(number)

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the report follows
        _leave_closed_terminal(on_terminal)
        interrupt(signal.SIGTERM, None)

    def resize(number: int, _: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    on_terminal = [number for number in (1, 2) if os.isatty(number)]
    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGWINCH: resize}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # else nohup protects this program
        signal.signal(signal.SIGHUP, hang_up)
    try:
        with observe(process.pid):
            status = _wait(process, wrappers)
        # The second arrival of a Ctrl-C must not interrupt the report.
        while time.monotonic() - max(last_signal.values()) < CTRL_C_SECONDS:
            time.sleep(0.1)
        return status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes], wrappers: list[psutil.Process]) -> int:
    """Wait for the end of k6, which ends with its summary if a wrapper does."""
    while True:
        try:
            return process.wait(CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            if wrappers and not all(map(_is_alive, wrappers)):
                wrappers = []
                process.send_signal(signal.SIGTERM)


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
