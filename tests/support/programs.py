"""Run programs of the stack and commands of the lab for a test."""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

PROJECT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:1"


@contextmanager
def running(
    command: list[str | Path],
    log: Path,
    ready: str | Callable[[], bool],
    cwd: str | None = None,
    **settings: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, wait until it answers at a URL or is ready, and kill it at the end."""
    is_ready = ready if callable(ready) else partial(answers, ready)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
        )
    try:
        until = time.monotonic() + 60
        while not is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def attributes(values: Mapping[str, object]) -> list[dict[str, Any]]:
    """Encode attributes as OTLP/JSON."""
    return [
        {
            "key": key,
            "value": {"intValue": value} if isinstance(value, int) else {"stringValue": str(value)},
        }
        for key, value in values.items()
    ]


@cache
def results() -> str:
    """Return a folder for the records and report pages that commands write."""
    folder = TemporaryDirectory(prefix="clinic-results-")
    atexit.register(folder.cleanup)
    return folder.name


def command(
    prometheus_url: str, traces_url: str, *arguments: str, **settings: str
) -> tuple[list[str], dict[str, str]]:
    ports = {
        "PROMETHEUS_PORT": prometheus_url.rsplit(":", 1)[1],
        "TRACES_PORT": traces_url.rsplit(":", 1)[1],
        "CLINIC_STATE_DIR": "/nonexistent",
        "CLINIC_RESULTS_DIR": results(),
    }
    return [sys.executable, "-m", "lab", *arguments], os.environ | ports | settings


def ask(prometheus_url: str, traces_url: str, *arguments: str, **settings: str) -> Any:
    words, environment = command(prometheus_url, traces_url, *arguments, **settings)
    return subprocess.run(
        words, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )
