"""What the native services take from compose.yaml: flags, settings, GOMEMLIMIT, stop times."""

from functools import cache
from typing import Any

import yaml

from lab.paths import PROJECT

FILE = PROJECT / "compose.yaml"


@cache
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return services


def tag(image: str) -> str:
    """Return the tag of an image, whose name may have a registry's port and a digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def flags(service: str, native: dict[str, str]) -> tuple[str, ...]:
    """Return a service's flags, with the values of `native` instead of its container's."""
    command = [flag.replace("$$", "$") for flag in services()[service]["command"]]
    names = {flag: flag.partition("=")[0] for flag in command}
    if unknown := native.keys() - names.values():
        raise KeyError(f"{service} has no {', '.join(sorted(unknown))} in {FILE.name}")
    return tuple(
        f"{name}={native[name]}" if name in native else flag for flag, name in names.items()
    )


def go_memory_limit(service: str) -> dict[str, str]:
    """Return the soft memory limit of a service's Go runtime as an environment variable."""
    return {"GOMEMLIMIT": services()[service]["environment"]["GOMEMLIMIT"]}


def stop_seconds(service: str) -> int:
    """Return the seconds after which a service that has not stopped is killed."""
    return int(services()[service]["stop_grace_period"].removesuffix("s"))


def initdb_flags() -> list[str]:
    flags: list[str] = services()["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    return flags


def postgres_settings() -> list[str]:
    """Return PostgreSQL's settings, without the one that fits its container's memory."""
    settings: list[str] = services()["postgres"]["command"][2::2]
    return [setting for setting in settings if not setting.startswith("shared_buffers=")]
