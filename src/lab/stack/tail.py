"""Read the ends of log files that may grow or be rotated meanwhile."""

from pathlib import Path

TAIL_LINES = 15
BYTES_PER_LINE = 400


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def split_lines(content: bytes) -> list[str]:
    """Split a log at its line feeds only: what else breaks lines may be from outside."""
    lines = content.decode(errors="replace").split("\n")
    return lines if lines[-1] else lines[:-1]


def tail(log: Path, lines: int = TAIL_LINES, start: int = 0) -> list[str]:
    """Return the last lines of a log, none of them from before the byte `start`."""
    end = size(log)
    if end == 0:
        return []
    # A log shorter than `start` has been rotated: all of it is new.
    first, length = start if start <= end else 0, BYTES_PER_LINE * lines
    with log.open("rb") as file:
        while True:
            begin = max(first, end - length)
            file.seek(begin)
            found = split_lines(file.read())
            # The first one may lack its beginning.
            if begin == first or len(found) > lines:
                return found[-lines:]
            length *= 4


def new_lines(log: Path, position: int) -> tuple[list[str], int]:
    """Return the complete lines after a position in a log, and the new position."""
    if size(log) < position:
        position = 0
    if size(log) == position:
        return [], position
    with log.open("rb") as file:
        file.seek(position)
        new = file.read()
    complete = new[: new.rfind(b"\n") + 1]
    return split_lines(complete), position + len(complete)
