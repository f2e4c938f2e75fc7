"""The k6 that puts the load on: in its container where the bundle is in containers."""

from collections.abc import Mapping

from observability.bundle import Bundle
from observability.choice import in_containers
from observability.containers import k6
from observability.native.tools import find


def command(bundle: Bundle, script: str, settings: Mapping[str, str]) -> list[str]:
    """Give the command that runs the script; ToolError where there is no k6 to be had."""
    if in_containers(bundle):
        return k6.command(bundle, settings)
    return [str(find("k6")), "run", script]
