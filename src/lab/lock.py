"""Pins every resolved version in pyproject.toml: `just lock` writes, a test compares."""

import os
import re
import subprocess
import tomllib

from lab.paths import PROJECT

PYPROJECT = PROJECT / "pyproject.toml"
PINS = re.compile(r"(?<=^constraint-dependencies = \[\n)(?:  \".*\",\n)*(?=\])", re.MULTILINE)


def resolved() -> list[str]:
    """Read what uv has resolved, the project itself aside."""
    lock = tomllib.loads((PROJECT / "uv.lock").read_text())
    return sorted(
        f"{package['name']}=={package['version']}"
        for package in lock["package"]
        if "registry" in package["source"]
    )


def pinned() -> list[str]:
    """Read what pyproject.toml pins."""
    pins: list[str] = tomllib.loads(PYPROJECT.read_text())["tool"]["uv"]["constraint-dependencies"]
    return pins


def pin(versions: list[str]) -> None:
    """Write these pins in place of those there are."""
    lines = "".join(f'  "{version}",\n' for version in versions)
    PYPROJECT.write_text(PINS.sub(lines, PYPROJECT.read_text(), count=1))


def main() -> None:
    """Resolve without the pins, then write what came of it."""
    before = pinned()
    pin([])
    try:
        subprocess.run(  # noqa: S603 - uv
            [os.environ.get("UV", "uv"), "lock", "--upgrade", "--quiet"], cwd=PROJECT, check=True
        )
        after = resolved()
    except BaseException:
        pin(before)
        raise
    pin(after)
    for version in sorted(set(after) - set(before)):
        print(f"pinned {version}")  # noqa: T201 what `just lock` changed


if __name__ == "__main__":
    main()
