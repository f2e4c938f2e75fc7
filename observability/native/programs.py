"""The programs of the bundle: what each is built from, and which version serves."""

import re
import subprocess
import sys
from dataclasses import dataclass

Version = tuple[int, int, int]

BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


class ToolError(Exception):
    """A program that is needed can be neither found nor built; the text says what to do."""


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
        Program("tempo", (3, 0, 0)),
        Program("grafana", (12, 0, 0)),
    )
}


def version_of(command: list[str]) -> Version | None:
    """Ask a program for its version; nothing when it fails or names none."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program of the bundle, found on PATH
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


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201 - progress is for the person at the terminal
