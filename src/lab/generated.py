"""Files that `lab generate` writes and that are committed."""

from pathlib import Path

from lab.console import echo
from lab.paths import PROJECT


def write(file: Path, text: str) -> None:
    """Write a generated file if its text has changed, and print whether it has."""
    changed = not file.exists() or file.read_text() != text
    if changed:
        file.write_text(text)
    echo(f"{file.relative_to(PROJECT)}: {'written' if changed else 'unchanged'}")
