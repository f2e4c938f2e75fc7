"""Pin every resolved version in pyproject.toml, in place of uv.lock, which names hosts."""

import os
import re
import subprocess
import tomllib

from lab.paths import PROJECT

PYPROJECT = PROJECT / "pyproject.toml"
PINS = re.compile(r"(?<=^constraint-dependencies = \[\n)(?:  \".*\",\n)*(?=\])", re.MULTILINE)


def resolved() -> list[str]:
    """Read the versions in uv.lock, without the project itself."""
    lock = tomllib.loads((PROJECT / "uv.lock").read_text())
    return sorted(
        f"{package['name']}=={package['version']}"
        for package in lock["package"]
        if "registry" in package["source"]
    )


def pinned() -> list[str]:
    pins: list[str] = tomllib.loads(PYPROJECT.read_text())["tool"]["uv"]["constraint-dependencies"]
    return pins


def pin(versions: list[str]) -> None:
    """Replace the pins in pyproject.toml."""
    lines = "".join(f'  "{version}",\n' for version in versions)
    PYPROJECT.write_text(PINS.sub(lines, PYPROJECT.read_text(), count=1))


def main() -> None:
    """Resolve the newest versions and pin them; keep the old pins if that fails."""
    before = pinned()
    pin([])
    try:
        subprocess.run(  # noqa: S603 - uv, with fixed arguments
            [os.environ.get("UV", "uv"), "lock", "--upgrade", "--quiet"], cwd=PROJECT, check=True
        )
        after = resolved()
    except BaseException:
        pin(before)
        raise
    pin(after)
    for version in sorted(set(after) - set(before)):
        print(f"pinned {version}")  # noqa: T201 - the output of `just lock`


if __name__ == "__main__":
    main()
