"""compose.yaml, read for what the native stack takes from it: flags, limits, environment."""

from functools import cache
from typing import Any

import yaml

from lab.paths import PROJECT

FILE = PROJECT / "compose.yaml"


@cache
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return services


def flags(service: str, native: dict[str, str]) -> tuple[str, ...]:
    """Return a service's flags; `native` replaces values that hold in its container only."""
    command = [flag.replace("$$", "$") for flag in services()[service]["command"]]
    names = {flag: flag.partition("=")[0] for flag in command}
    if unknown := native.keys() - names.values():
        raise KeyError(f"{service} has no {', '.join(sorted(unknown))} in {FILE.name}")
    return tuple(
        f"{name}={native[name]}" if name in native else flag for flag, name in names.items()
    )


def memory_limit(service: str) -> dict[str, str]:
    """Return the limit at which the Go runtime of a service collects garbage harder."""
    return {"GOMEMLIMIT": services()[service]["environment"]["GOMEMLIMIT"]}


def stop_seconds(service: str) -> int:
    """Return how long a service may take to stop before it is killed."""
    return int(services()[service]["stop_grace_period"].removesuffix("s"))


def initdb_flags() -> list[str]:
    flags: list[str] = services()["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    return flags
