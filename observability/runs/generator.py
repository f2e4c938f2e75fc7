"""The k6 that puts the load on: in its container where the bundle is in containers."""

from collections.abc import Mapping

from observability.bundle import Bundle
from observability.choice import in_containers
from observability.containers import k6
from observability.native.tools import find, version_text


def command(bundle: Bundle, script: str, settings: Mapping[str, str], *words: str) -> list[str]:
    """Give the command that runs the script, or else does what the words say with it.

    Raises ToolError where there is no k6 to be had.
    """
    words = words or ("run",)
    if in_containers(bundle):
        return k6.command(bundle, settings, *words)
    return [str(find("k6")), *words, script]


def version(bundle: Bundle) -> str:
    """Give the version of that k6."""
    return k6.version() if in_containers(bundle) else version_text("k6", find("k6"))
