"""Find the programs of the bundle: on PATH if new enough, else built once from pinned modules."""

import shutil
from pathlib import Path

from observability.native.build import build
from observability.native.programs import PROGRAMS, Program, ToolError, dotted, say, version_of

__all__ = ["ToolError", "find", "find_on_path", "oldest", "version_text"]


def find(name: str) -> Path:
    """Give the path of a program, building it once when PATH has none that is new enough."""
    program = PROGRAMS[name]
    on_path, refusal = look_on_path(program)
    if on_path:
        return on_path
    if refusal:
        say(f"{refusal} Using a build of {name} {program.version} instead.")
    return build(program)


def find_on_path(name: str) -> Path | None:
    """Give the path of a program that cannot be built, or nothing when PATH has none."""
    path, refusal = look_on_path(PROGRAMS[name])
    if refusal:
        say(refusal)
    return path


def look_on_path(program: Program) -> tuple[Path | None, str | None]:
    """Look on PATH: the path, or the sentence that says why the program there is refused."""
    found = shutil.which(program.name)
    if found is None:
        return None, None
    version = version_of([found, *program.version_command])
    if version is None:
        return None, f"{found} does not say its version; {needed(program)}."
    if version < program.oldest:
        return None, f"{found} is {program.name} {dotted(version)}; {needed(program)}."
    return Path(found), None


def needed(program: Program) -> str:
    return f"the bundle needs {oldest(program.name)} or newer"


def oldest(name: str) -> str:
    return dotted(PROGRAMS[name].oldest)


def version_text(name: str, path: Path) -> str:
    """Give the version of a program that was found, as it says it."""
    version = version_of([str(path), *PROGRAMS[name].version_command])
    return dotted(version) if version else "of unknown version"
