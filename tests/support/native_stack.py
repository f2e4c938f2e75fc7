"""The native stack on free ports and a state folder of its own, driven by its command line."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import psutil

from lab.paths import PROJECT
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.ports import free_ports
from lab.stack.supervisor import Supervisor

LAB = [sys.executable, "-m", "lab"]
JUST = Path(sys.executable).with_name("just")
# Longer than a socket's path may be, with characters that shells and configurations interpret.
AWKWARD = ("a deep checkout, 100 % of it's path " * 3).strip()


class NativeStack:
    """The command line on free ports and a state folder of its own."""

    def __init__(self, state: Path) -> None:
        self.environment = {
            **os.environ,
            **{name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)},
            "CLINIC_STATE_DIR": str(state),
            "STACK_BACKEND": "native",
        }
        self.config = StackConfig(
            state, **{name.lower(): int(self.environment[name]) for name in PORTS}
        )
        self.supervisor = Supervisor(state)

    def run(self, *words: str, answer: str = "", **environment: str) -> CompletedProcess[str]:
        return subprocess.run(
            [*LAB, *words],
            cwd=PROJECT,
            env={**self.environment, **environment},
            input=answer,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def left_behind(self) -> list[str]:
        """List processes, sockets and taken ports, of which a stopped stack leaves none."""
        mark = str(self.config.state)
        processes = [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if any(mark in word for word in process.info["cmdline"] or ())
        ]
        sockets = [str(self.supervisor.socket)] if self.supervisor.socket.exists() else []
        taken = [name for name in PORTS if is_taken(int(self.environment[name]))]
        return [*processes, *sockets, *taken]


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def until(what: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)


@contextmanager
def temporary_stack() -> Iterator[NativeStack]:
    """Yield a stack that is down, below the system's own temporary folder.

    As root PostgreSQL runs as another user, who cannot pass pytest's private folders.
    """
    folder = Path(tempfile.mkdtemp(prefix="clinic-"))
    stack = NativeStack(folder / AWKWARD)
    yield stack
    stack.run("down")
    left_behind = stack.left_behind()
    shutil.rmtree(folder)
    assert left_behind == []
