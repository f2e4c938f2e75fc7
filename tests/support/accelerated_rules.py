"""The delivered rules and routes with a tenth of their durations: a fault takes a minute."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FACTOR = 10
# In seconds: two pushes, of which one comes every 5 s.
SHORTEST = 10

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PART = re.compile(r"(\d+)([smhd])")
# Not the 1m of a name such as rate1m, nor the 1h of error_budget_burn:1h.
DURATION = re.compile(r"(?<![\w.:])(?:\d+[smhd])+(?!\w)")
RULE_SETTINGS = {"expr", "for", "keep_firing_for", "interval"}
ROUTE_SETTINGS = {"group_wait", "group_interval"}


def compress(text: str) -> str:
    """Divide each duration in a text by ten, but none to less than 10 s."""
    return DURATION.sub(lambda match: _compress_duration(match[0]), text)


def _compress_duration(duration: str) -> str:
    seconds = sum(int(number) * SECONDS[unit] for number, unit in PART.findall(duration))
    return f"{max(seconds // FACTOR, min(seconds, SHORTEST))}s"


def _compress_settings(value: Any, names: set[str]) -> Any:
    """Compress the durations of the settings with these names at any depth."""
    if isinstance(value, Mapping):
        return {
            name: compress(inner) if name in names else _compress_settings(inner, names)
            for name, inner in value.items()
        }
    return [_compress_settings(one, names) for one in value] if isinstance(value, list) else value


def compress_file(source: Path, target: Path, names: set[str]) -> None:
    """Copy a YAML file with the durations of the settings with these names compressed."""
    settings = yaml.load(source.read_text(), Loader=yaml.CSafeLoader)
    target.write_text(yaml.safe_dump(_compress_settings(settings, names), width=1000))
