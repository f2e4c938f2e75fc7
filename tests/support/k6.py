"""Run the load script with k6 and read the samples it emitted."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import slo
from lab.runs.k6 import SCRIPT
from lab.stack.programs import find
from tests.support.fake_clinic import FakeClinic, Request, Response

# k6's exit codes.
THRESHOLDS_FAILED = 99
INTERRUPTED = 105
SCRIPT_FAILED = 107
ABORTED = 108

OPERATIONS = slo.OPERATIONS[:9]
"""What journeys request; nothing but the SLO names the others."""
CREATE_OWNER, CREATE_PET, CREATE_APPOINTMENT, LIST_OWNERS, LIST_PETS, LIST_APPOINTMENTS = (
    OPERATIONS[:6]
)
READ, CANCEL = OPERATIONS[7:]
STEPS = {
    "book": OPERATIONS[:6],
    "cancel": (*OPERATIONS[:3], READ, CANCEL, CANCEL, READ),
    "browse": ("GET /appointments",) * 3 + (LIST_OWNERS,),
    "mixed": OPERATIONS,
}
# The script's settings: a test must not inherit them.
SETTINGS = (
    *("K6_", "BASE_URL", "PROFILE", "JOURNEY", "RUN_ID", "CLINIC_API_TOKEN", "GENERATOR"),
    *("DURATION", "RATE", "VUS", "CLEANUP", "CONFIRM_TARGET", "TRACE_EVERY", "OTEL_"),
)


@dataclass
class Outcome:
    """A finished run of k6: exit code, output, and the lines of its JSON output."""

    status: int
    output: str
    lines: list[dict[str, Any]]

    def samples(self, metric: str) -> list[dict[str, Any]]:
        return [
            line["data"]
            for line in self.lines
            if line["type"] == "Point" and line["metric"] == metric
        ]

    def values(self, metric: str) -> list[float]:
        return [sample["value"] for sample in self.samples(metric)]

    def tags(self, metric: str, tag: str) -> list[str | None]:
        return [sample["tags"].get(tag) for sample in self.samples(metric)]

    def failed_thresholds(self) -> set[str]:
        """Name the metrics whose thresholds failed according to k6's summary."""
        section = self.output.partition("THRESHOLDS")[2].partition("TOTAL RESULTS")[0]
        blocks = re.findall(r"^    (\S.*)\n((?:    [✓✗].*\n)+)", section, re.MULTILINE)
        return {metric for metric, results in blocks if "✗" in results}


class Script:
    """The load script, writing its samples to a folder."""

    def __init__(self, folder: Path) -> None:
        self.samples = folder / "samples.json"

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return start_k6("--out", f"json={self.samples}", *arguments, settings=settings)

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        output = output_of(process)
        lines = self.samples.read_text().splitlines() if self.samples.exists() else []
        return Outcome(process.returncode, output, [json.loads(line) for line in lines])

    def run(self, url: str, **settings: str) -> Outcome:
        """Run a profile."""
        return self.finish(self.start(BASE_URL=url, **settings))

    def iterations(
        self, count: int, clinic: FakeClinic, *, users: int = 1, **settings: str
    ) -> Outcome:
        """Run a number of iterations in place of the profile's scenario."""
        arguments = ("--vus", str(users), "--iterations", str(count))
        return self.finish(self.start(*arguments, BASE_URL=clinic.url, **settings))

    def options(self, **settings: str) -> dict[str, Any]:
        """Return the options that k6 derives from the script."""
        answer = subprocess.run(
            [find("k6"), "inspect", "--include-system-env-vars", SCRIPT],
            env=environment(settings),
            stdout=subprocess.PIPE,
            check=True,
        )
        options: dict[str, Any] = json.loads(answer.stdout)
        return options


def start_k6(
    *arguments: str, settings: Mapping[str, str], script: Path = SCRIPT
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [find("k6"), "run", "--quiet", *arguments, script],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for k6 to end and return its output."""
    try:
        return process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"k6 still ran after 60 s; its output:\n{process.communicate()[0]}")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings of the script and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return others | {"K6_NO_USAGE_REPORT": "true"} | dict(settings)


def fail(name: str, response: Response) -> Callable[[Request], Response | None]:
    """Answer every request of an operation with this response."""
    return lambda request: response if request.operation == name else None


def fail_one_in_twenty(name: str) -> Callable[[Request], Response | None]:
    """Answer every twentieth request of an operation with a server error."""
    count = Counter[str]()

    def override(request: Request) -> Response | None:
        count[request.operation] += 1
        due = request.operation == name and count[name] % 20 == 0
        return (500, {}) if due else None

    return override
