"""The rules and routes as they are, in a tenth of their time: a real fault takes a minute."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TENTH = 10
SHORTEST = 10
"""Seconds: two pushes of what arrives every 5 s."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PART = re.compile(r"(\d+)([smhd])")
# Not the 1m of a name such as rate1m, nor the 1h of error_budget_burn:1h.
DURATION = re.compile(r"(?<![\w.:])(?:\d+[smhd])+(?!\w)")
OF_A_RULE = {"expr", "for", "keep_firing_for", "interval"}
OF_A_ROUTE = {"group_wait", "group_interval"}


def compress(text: str) -> str:
    """Shorten each duration in a text to a tenth, but none to less than 10 s."""
    return DURATION.sub(lambda found: shorter(found[0]), text)


def shorter(duration: str) -> str:
    seconds = sum(int(number) * SECONDS[unit] for number, unit in PART.findall(duration))
    return f"{max(seconds // TENTH, min(seconds, SHORTEST))}s"


def compress_settings(value: Any, names: set[str]) -> Any:
    """Shorten the durations of the settings that have these names, however deep they are."""
    if isinstance(value, Mapping):
        return {
            name: compress(inner) if name in names else compress_settings(inner, names)
            for name, inner in value.items()
        }
    return [compress_settings(one, names) for one in value] if isinstance(value, list) else value


def compress_file(source: Path, target: Path, names: set[str]) -> None:
    settings = yaml.load(source.read_text(), Loader=yaml.CSafeLoader)
    target.write_text(yaml.safe_dump(compress_settings(settings, names), width=1000))
