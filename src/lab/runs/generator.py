"""The k6 that puts the load on: in its container where the stack is in containers."""

from collections.abc import Mapping

from lab.stack import docker_k6
from lab.stack.config import StackConfig
from lab.stack.programs import find, version_text
from lab.stack.select import in_containers


def command(
    config: StackConfig, script: str, settings: Mapping[str, str], *words: str
) -> list[str]:
    """Give the command that runs the script, or else does what the words say with it.

    Raises ToolError where there is no k6 to be had.
    """
    words = words or ("run",)
    if in_containers(config):
        return docker_k6.command(config, settings, *words)
    return [str(find("k6")), *words, script]


def version(config: StackConfig) -> str:
    """Give the version of that k6."""
    return docker_k6.version() if in_containers(config) else version_text("k6", find("k6"))
