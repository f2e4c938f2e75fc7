"""Files that `lab generate` writes and that are committed."""

from pathlib import Path

import yaml

from lab.console import echo
from lab.paths import PROJECT


class _Dumper(yaml.SafeDumper):
    """Write texts of several lines as blocks, and repeated values in full."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(value: object) -> str:
    """Render a value as YAML, its keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000)


def write(file: Path, text: str) -> None:
    """Write a generated file if its text has changed, and print whether it has."""
    changed = not file.exists() or file.read_text() != text
    if changed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    echo(f"{file.relative_to(PROJECT)}: {'written' if changed else 'unchanged'}")
