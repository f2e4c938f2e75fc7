"""The native stack on free ports and a state folder of its own, driven by its command line."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from lab.paths import PROJECT
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.ports import free_ports
from lab.stack.supervisor import Supervisor

LAB = [sys.executable, "-m", "lab"]
# Longer than a socket's path may be, and with what a shell or a configuration might stumble over.
AWKWARD = "a deep checkout, 100 % of it's path " * 3


class NativeStack:
    """The command line on free ports and a state folder of its own."""

    def __init__(self, state: Path) -> None:
        self.environment = {
            **os.environ,
            **{name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)},
            "CLINIC_STATE_DIR": str(state),
        }
        self.config = StackConfig(
            state, **{name.lower(): int(self.environment[name]) for name in PORTS}
        )
        self.supervisor = Supervisor(state)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LAB, *words],
            cwd=PROJECT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def answer(self, word: str, answer: str) -> str:
        return subprocess.run(
            [*LAB, word],
            cwd=PROJECT,
            env=self.environment,
            input=answer,
            stdout=subprocess.PIPE,
            text=True,
            timeout=600,
            check=True,
        ).stdout

    def left_behind(self) -> list[str]:
        """List processes, sockets and ports that a stopped stack must not leave."""
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
