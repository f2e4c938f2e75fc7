"""Print what others wrote: nothing in it may steer the terminal or be taken for markup."""

import sys
from pathlib import Path

from rich.console import Console

PIPE_WIDTH = 120


def plain(text: object, limit: int = 200) -> str:
    """Show a value as one line of visible characters, whatever is in it."""
    one_line = " ".join(str(text).split())
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in one_line[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def make_console() -> Console:
    """Give a console that takes text as it is, as wide as the terminal."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f}"


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201 - progress is for the person at the terminal


def short_path(path: Path) -> Path:
    """Shorten a path for the reader when it lies below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
