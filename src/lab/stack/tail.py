"""Read the ends of log files that may grow or be rotated meanwhile."""

from pathlib import Path

import click

TAIL_LINES = 15
BYTES_PER_LINE = 400


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, lines: int = TAIL_LINES, start: int = 0) -> list[str]:
    """Return the last lines of a log, none of them from before the byte `start`."""
    end = size(log)
    if end == 0:
        return []
    with log.open("rb") as file:
        # A log shorter than `start` has been rotated: all of it is new.
        file.seek(max(0, end - BYTES_PER_LINE * lines, start if start <= end else 0))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def print_new_lines(log: Path, position: int, prefix: str) -> int:
    """Print the complete lines after a position in a log; return the new position."""
    if size(log) < position:
        position = 0
    if size(log) == position:
        return position
    with log.open("rb") as file:
        file.seek(position)
        new = file.read()
    complete = new[: new.rfind(b"\n") + 1]
    for line in complete.decode(errors="replace").splitlines():
        click.echo(prefix + line)
    return position + len(complete)
