"""The workflows: their steps are run as GitHub runs them, by `bash -e`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.paths import PROJECT
from tests.support.native_stack import NativeStack, temporary_stack

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
# Of the job that runs in Docker, those that need containers or Grafana.
ONLY_IN_DOCKER = {
    "k6 writes the same metrics and labels without just",
    "Grafana is provisioned and reaches its data sources",
}


@dataclass(frozen=True)
class Step:
    """A step that runs a script."""

    job: str
    name: str
    script: str

    def __str__(self) -> str:
        return f"{self.job}: {self.name or self.script.splitlines()[0]}"


def steps(workflow: Path) -> list[Step]:
    jobs: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text())["jobs"]
    return [
        Step(name, step.get("name", ""), step["run"])
        for name, job in jobs.items()
        for step in job["steps"]
        if "run" in step
    ]


STEPS = {str(step): step for workflow in WORKFLOWS for step in steps(workflow)}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_is_a_script_of_bash_that_runs_recipes(step: Step) -> None:
    parsed = subprocess.run(
        ["bash", "-n"], input=step.script, capture_output=True, text=True, check=False
    )
    dump = ["just", "--dump", "--dump-format", "json"]
    output = subprocess.run(dump, cwd=PROJECT, capture_output=True, check=True).stdout
    recipes = json.loads(output)["recipes"].keys()

    assert (parsed.returncode, parsed.stderr) == (0, "")
    assert "${{" not in step.script  # an expression could be a command
    named = re.findall(r"uv run (?:--quiet )?just ([\w-]+)", step.script)
    assert set(named) <= recipes


@dataclass(frozen=True)
class Runner:
    """Runs steps in a folder of their own, on a native stack."""

    stack: NativeStack
    folder: Path

    @property
    def summary(self) -> Path:
        return self.folder / "summary.md"

    @property
    def results(self) -> Path:
        return self.folder / "performance" / "results"

    def run(self, step: Step) -> None:
        uv = Path(os.environ.get("UV") or shutil.which("uv") or "")
        path = f"{self.folder / 'bin'}:{uv.parent}:{os.environ['PATH']}"
        ports = {"8000": "CLINIC_PORT", "9090": "PROMETHEUS_PORT"}
        script = re.sub(
            r"(?<=127\.0\.0\.1:)(\d+)",
            lambda match: self.stack.environment[ports[match[1]]],
            step.script,
        )
        file = self.folder / "step.sh"
        file.write_text(script)
        ended = subprocess.run(
            ["bash", "-e", file],
            cwd=self.folder,
            env=self.stack.environment
            | {
                "PATH": path,
                "PROFILE": "smoke",
                "JOURNEY": "book",
                "DURATION": "3s",
                "GITHUB_STEP_SUMMARY": str(self.summary),
                "CLINIC_RESULTS_DIR": str(self.results),
                "JUST_JUSTFILE": str(PROJECT / "justfile"),
                "JUST_WORKING_DIRECTORY": str(self.folder),
                "UV_PROJECT": str(PROJECT),
                "UV_NO_SYNC": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        # A busy machine may exceed the limits of the SLO; k6 then ends with 99, and so does just.
        slow = ended.returncode == 99 and "a threshold failed" in ended.stdout
        assert ended.returncode == 0 or slow, f"{step}\n{ended.stdout}{ended.stderr}"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    if not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("jq or curl is not on PATH")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\ntest "$*" = "compose stop api"\n')
    docker.chmod(0o755)
    with temporary_stack() as stack:
        yield Runner(stack, tmp_path)


@pytest.mark.stack
def test_the_steps_of_both_workflows_do_what_they_say(runner: Runner) -> None:
    for step in steps(PROJECT / ".github" / "workflows" / "load.yml"):
        runner.run(step)

    summary = runner.summary.read_text()
    assert summary.startswith("## ")
    assert "POST /owners" in summary
    assert list(runner.results.glob("*-smoke.html"))

    for step in steps(PROJECT / ".github" / "workflows" / "check.yml"):
        if step.job == "stack" and step.name not in ONLY_IN_DOCKER:
            runner.run(step)

    assert (runner.folder / "before.txt").read_text()
    assert not runner.stack.config.state.exists()
