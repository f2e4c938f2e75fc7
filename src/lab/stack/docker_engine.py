"""The Docker engine and its compose plugin, asked by their command line."""

import json
import os
import re
import shutil
import subprocess
from typing import Any

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import StackConfig

DOCKER = "docker"
ANSWER_SECONDS = 2
FILE = PROJECT / "compose.yaml"
DOCKERFILE = PROJECT / "Dockerfile"
# The profile of k6: never up by itself, and to be taken down with the rest.
EVERYTHING = ("--profile", "load")


class Engine:
    """What is asked of Docker, for one stack."""

    def __init__(self, config: StackConfig) -> None:
        ports = {name: str(port) for name, port in config.ports.items()}
        self.environment = {**os.environ, **ports}

    def why_not(self) -> str:
        """Say why containers cannot be used here; nothing where they can."""
        if shutil.which(DOCKER) is None:
            return "docker is not on PATH"
        try:
            server = self.run(DOCKER, "version", "--format", "{{.Server.Version}}", within=2)
        except subprocess.TimeoutExpired:
            return f"the Docker engine did not answer within {ANSWER_SECONDS} s"
        if server.returncode:
            return "the Docker engine does not answer"
        if self.run(DOCKER, "compose", "version").returncode:
            return "docker has no compose plugin"
        return ""

    def published(self, service: str, port: int) -> str | None:
        """Say where a port of a running service is published; nothing where it is not."""
        if shutil.which(DOCKER) is None:
            return None
        try:
            answer = self.run(*self.compose("port", service, str(port)), within=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    def compose(self, *words: str) -> list[str]:
        return [DOCKER, "compose", "--file", str(FILE), *EVERYTHING, *words]

    def run(self, *command: str, within: float | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - docker, from PATH
            command,
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )

    def ask(self, *words: str) -> str:
        """Run a compose command and give what it prints; a failure is its own last words."""
        answer = self.run(*self.compose(*words))
        if answer.returncode:
            raise UserError(f"`docker compose {words[0]}` failed: {last_line(answer.stderr)}")
        return answer.stdout

    def config(self) -> dict[str, Any]:
        """Give compose.yaml as the plugin reads it."""
        config: dict[str, Any] = json.loads(self.ask("config", "--format", "json"))
        return config

    def project(self) -> str:
        return str(self.config()["name"])

    def containers(self) -> list[dict[str, Any]]:
        """List what exists of the stack, running or ended."""
        said = self.ask("ps", "--all", "--format", "json").strip()
        # A list from older plugins, a line for each container from newer ones.
        return (
            list(json.loads(said))
            if said.startswith("[")
            else [json.loads(line) for line in said.splitlines()]
        )

    def missing_images(self) -> list[str]:
        """List the images that must come from a registry and are not here yet."""
        services = self.config()["services"].values()
        built = {service["image"] for service in services if "build" in service}
        bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
        wanted = {service["image"] for service in services} - built | set(bases)
        return sorted(
            image
            for image in wanted
            if self.run(DOCKER, "image", "inspect", "--format", "here", image).returncode
        )


def last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
