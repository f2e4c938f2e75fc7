"""Modes of files that a user other than their owner has to read, whatever umask they got."""

import stat
from pathlib import Path

from lab.console import say, short_path
from lab.errors import UserError


def allow_traversal(path: Path, who: str) -> None:
    """Let `who` pass through, but not read, the folders above a path."""
    for folder in reversed(path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            say(f"{folder}: let {who} pass through (chmod o+x).")


def allow_reading(path: Path, who: str) -> None:
    """Let `who` read a file, or a folder with all that is below it."""
    changed = False
    for file in (path, *(path.rglob("*") if path.is_dir() else ())):
        if file.is_symlink():
            continue
        mode = file.stat().st_mode
        executable = stat.S_IXOTH if mode & stat.S_IXUSR else 0
        wanted = mode | stat.S_IROTH | executable
        if wanted == mode:
            continue
        try:
            file.chmod(wanted)
        except OSError as error:
            raise UserError(
                f"{file} cannot be read by {who}, and its mode cannot be changed "
                f"({error.strerror}). Run `chmod -R o+rX {path}` as its owner."
            ) from error
        changed = True
    if changed:
        say(f"{short_path(path)}: let {who} read it (chmod -R o+rX).")
