"""Format values for people, and print text so that nothing in it can control the terminal."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

PIPE_WIDTH = 120
# From here on tenths of a millisecond carry no information.
WHOLE_MILLISECONDS = 100
# From here on tenths of a factor carry none.
WHOLE_FACTOR = 10


def printable(text: str) -> str:
    """Escape what is not printable, apart from line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def plain(text: object, limit: int = 200) -> str:
    """Return a value as one line of printable characters, at most `limit`."""
    one_line = printable(" ".join(str(text).split())[: limit + 1])
    return one_line if len(one_line) <= limit else one_line[: limit - 1] + "…"


def echo(text: object, *, err: bool = False) -> None:
    """Print a value, with control characters escaped."""
    click.echo(printable(str(text)), err=err)  # noqa: TID251 - all others print by this


class PrintableConsole(Console):
    """A console that sends no control sequences to the terminal except its own colours."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def make_console() -> Console:
    """Return a console that prints text literally, as wide as the terminal."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return PrintableConsole(
        markup=False, highlight=False, emoji=False, soft_wrap=False, width=width
    )


def wrap_path(operation: str, width: int) -> str:
    """Break an operation's name into lines before slashes, not inside a word."""
    lines = [""]
    for piece in re.findall(r"[^/]+|/[^/]*", operation):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def milliseconds(seconds: float | None) -> str:
    """Write milliseconds with the digits that carry information: `8.4`, `856`."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:,.0f}" if value >= WHOLE_MILLISECONDS else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Write how long something took: `2 h 5 s`."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or f"{seconds:.1f} s"


def clock(seconds: float, digits: int = 0) -> str:
    """Write a time since the start of a run: `2:05`, `1:02:05`, `0:03.4`."""
    minutes, rest = divmod(round(max(0.0, seconds), digits), 60)
    hours, minutes = divmod(int(minutes), 60)
    width = digits + 3 if digits else 2
    time = f"{minutes}:{rest:0{width}.{digits}f}"
    return f"{hours}:{time:0>{width + 3}}" if hours else time


def percent(share: float, digits: int = 0) -> str:
    return f"{share * 100:,.{digits}f} %"


def factor(ratio: float) -> str:
    """Write a ratio, with tenths where they carry information."""
    return f"{ratio:,.0f}×" if ratio >= WHOLE_FACTOR else f"{ratio:.1f}×"  # noqa: RUF001 - a factor


def print_json(value: object) -> None:
    """Print a value as JSON, in ASCII, so that nothing in it has to be escaped twice."""
    echo(json.dumps(msgspec.to_builtins(value), indent=2))


def say(text: str) -> None:
    """Print progress, which belongs to the terminal, not to the output."""
    echo(text, err=True)


def short_path(path: Path) -> Path:
    """Return a path relative to the current folder if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
