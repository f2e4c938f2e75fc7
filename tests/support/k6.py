"""Run the load script by the real k6, and take every sample it made."""

import json
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import slo
from lab.runs.start import SCRIPT
from lab.stack.programs import find
from tests.support.fake_clinic import Answer, Asked, StandIn

THRESHOLD_CROSSED = 99
INTERRUPTED = 105
SCRIPT_FAILED = 107
TEST_ABORTED = 108

OURS = (
    *("K6_", "BASE_URL", "PROFILE", "JOURNEY", "RUN_ID", "CLINIC_API_TOKEN", "GENERATOR"),
    *("DURATION", "RATE", "VUS", "CLEANUP", "CONFIRM_TARGET"),
)


BOOK = slo.OPERATIONS[:6]
READ, CANCEL = slo.OPERATIONS[7:]
CANCELLING = (*BOOK[:3], READ, CANCEL, CANCEL, READ)
BROWSING = ("GET /appointments",) * 3 + ("GET /owners",)
OPERATIONS = {
    "book": set(BOOK),
    "cancel": set(CANCELLING),
    "browse": set(BROWSING),
    "mixed": set(slo.OPERATIONS),
}


@dataclass
class Outcome:
    """How a run of k6 ended, and every sample it took."""

    status: int
    said: str
    lines: list[dict[str, Any]]

    def samples(self, metric: str) -> list[dict[str, Any]]:
        return [
            line["data"]
            for line in self.lines
            if line["type"] == "Point" and line["metric"] == metric
        ]

    def metric(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            line["data"]
            for line in self.lines
            if line["type"] == "Metric" and line["metric"] == name
        )
        return found

    def crossed(self) -> set[str]:
        """Name the metrics whose thresholds k6's summary shows as crossed."""
        shown = self.said.partition("THRESHOLDS")[2].partition("TOTAL RESULTS")[0]
        blocks = re.findall(r"^    (\S.*)\n((?:    [✓✗].*\n)+)", shown, re.MULTILINE)
        return {metric for metric, judged in blocks if "✗" in judged}


class Script:
    """The load script, whose samples go to a folder."""

    def __init__(self, folder: Path) -> None:
        self.k6 = find("k6")
        self.file = folder / "samples.json"

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.k6, "run", "--quiet", "--out", f"json={self.file}", *arguments, SCRIPT],
            env=environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outcome(self, process: subprocess.Popen[str]) -> Outcome:
        try:
            said, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            pytest.fail(f"k6 still ran after 60 s; it said:\n{said}")
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return Outcome(process.returncode, said, [json.loads(line) for line in lines])

    def iterations(
        self, count: int, stand_in: StandIn, *, users: int = 1, **settings: str
    ) -> Outcome:
        """Run a number of iterations, one after the other, or by so many users at once."""
        few = ("--vus", str(users), "--iterations", str(count))
        return self.outcome(self.start(*few, BASE_URL=stand_in.url, **settings))

    def run(self, url: str, **settings: str) -> Outcome:
        """Run a profile as it is."""
        return self.outcome(self.start(BASE_URL=url, **settings))

    def options(self, **settings: str) -> dict[str, Any]:
        """Give the options that the script has under these settings."""
        answer = subprocess.run(
            [self.k6, "inspect", "--include-system-env-vars", SCRIPT],
            env=environment(settings),
            stdout=subprocess.PIPE,
            check=True,
        )
        options: dict[str, Any] = json.loads(answer.stdout)
        return options


def environment(settings: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"K6_NO_USAGE_REPORT": "true"} | settings


def operation(asked: Asked) -> str:
    """Name what was asked for in the server's words."""
    path = asked.path.partition("?")[0]
    for record in ("owner", "pet", "appointment"):
        path = re.sub(rf"^/{record}s/\d+", f"/{record}s/{{{record}_id}}", path)
    return f"{asked.method} {path}"


def limits_on(requests: str, limits: slo.Limits) -> dict[str, list[str]]:
    return {
        f"http_req_duration{{{requests}}}": [f"p(95)<{limits.p95 * 1000:g}"],
        f"http_req_failed{{{requests}}}": [f"rate<{limits.failed_share:g}"],
    }


def stated(profile: str, journey: str) -> dict[str, list[str]]:
    """Make the thresholds that the objective asks for, from Python's reading of it."""
    thresholds = limits_on(f"scenario:{profile}", slo.all_requests_limits())
    if errors := json.loads(slo.FILE.read_text())["profiles"][profile].get("errors"):
        thresholds["errors"] = [f"count<{errors}"]
    for name in OPERATIONS[journey]:
        thresholds |= limits_on(f"name:{name}", slo.limits(name, profile))
    return thresholds


def one_in_twenty(name: str) -> Any:
    """Refuse every twentieth request of an operation."""
    seen = Counter[str]()

    def refuse(asked: Asked) -> Answer | None:
        seen[operation(asked)] += 1
        ours = operation(asked) == name and seen[name] % 20 == 0
        return (500, {}) if ours else None

    return refuse
