"""`just audit`: search the pinned packages for known vulnerabilities and disallowed licences.

The exit status is 1 if any were found, 2 if none were found but something could not be checked, and
0 otherwise.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

from lab import sbom
from lab.console import echo
from lab.paths import PROJECT
from lab.stack.programs import MODULES, PROGRAMS

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SETTINGS: dict[str, Any] = PYPROJECT["tool"]["lab"]["audit"]


class Result(IntEnum):
    OK = 0
    FOUND = 1
    NOT_CHECKED = 2


def python_vulnerabilities(*options: str) -> Result:
    """Ask OSV about every pinned package, including those of the dependency groups."""
    command = (sbom.UV, "audit", "--frozen", "--preview-features=audit-command", *options)
    status = subprocess.run(command, cwd=PROJECT, check=False).returncode  # noqa: S603 - uv, with fixed arguments
    return {0: Result.OK, 1: Result.FOUND}.get(status, Result.NOT_CHECKED)


def run_go(*arguments: str) -> str | None:
    """Return the output of Go; if it fails, show its error and return None."""
    result = subprocess.run(  # noqa: S603 - Go, with fixed arguments
        (*sbom.GO, *arguments),
        cwd=sbom.TOOLS,
        env={**os.environ, **sbom.GO_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return result.stdout
    echo(result.stderr.strip())
    return None


def go_vulnerability_database() -> str | None:
    """Download Go's database, which is a Go module; return its address, None if that fails."""
    downloaded = run_go("mod", "download", "-json", "golang.org/x/vulndb@latest")
    return (Path(json.loads(downloaded)["Dir"]) / "data" / "osv").as_uri() if downloaded else None


def go_vulnerabilities(module: Path, database: str) -> Result:
    """Search for vulnerable functions that the programs of a module can call."""
    tags = {program.tags for program in PROGRAMS.values() if program.module == module.name}
    options = ("-format=json", f"-db={database}", f"-C={module}", f"-tags={','.join(tags)}")
    result = run_go("tool", "govulncheck", *options, "tool")
    if result is None:
        return Result.NOT_CHECKED
    found = {
        f"{finding['osv']} in {finding['trace'][0]['module']}@{finding['trace'][0]['version']}"
        for message in messages(result)
        if (finding := message.get("finding"))
        and "function" in finding["trace"][0]
        and finding["osv"] not in SETTINGS["accepted"]
    }
    for line in sorted(found):
        echo(line)
    return Result.FOUND if found else Result.OK


def messages(text: str) -> Iterator[dict[str, Any]]:
    """Parse concatenated JSON objects."""
    decoder = json.JSONDecoder()
    position = 0
    while rest := text[position:].lstrip():
        message, end = decoder.raw_decode(rest)
        position = len(text) - len(rest) + end
        yield message


def licences(component: dict[str, Any]) -> set[str]:
    """Return the SPDX names of a component's licences, from pyproject.toml or else its SBOM."""
    if stated := SETTINGS["stated"].get(component["name"]):
        return {stated}
    listed = component.get("licenses") or component.get("evidence", {}).get("licenses", [])
    known = [it.get("expression") or it["license"].get("id", "") for it in listed]
    return set(re.findall(r"[\w.+-]+", " ".join(known))) - {"AND", "OR", "WITH"} or {"unknown"}


def licences_not_allowed(path: Path) -> Iterator[str]:
    allowed = {*SETTINGS["licences"], *(SETTINGS["program-licences"] if path != sbom.API else ())}
    for component in json.loads(path.read_text())["components"]:
        if refused := licences(component) - allowed:
            yield f"{path.name}: {component['name']} is licensed under {', '.join(sorted(refused))}"


def check_licences() -> Result:
    refused = [
        line
        for path in sorted(sbom.SBOMS.glob("*.cdx.json"))
        for line in licences_not_allowed(path)
    ]
    for line in refused:
        echo(line)
    return Result.FOUND if refused else Result.OK


def audit() -> Iterator[tuple[str, Result]]:
    yield "Vulnerabilities of Python packages", python_vulnerabilities()
    database = go_vulnerability_database()
    for module in sorted(it.parent for it in (*MODULES.glob("*/go.mod"), sbom.TOOLS / "go.mod")):
        result = go_vulnerabilities(module, database) if database else Result.NOT_CHECKED
        yield f"Vulnerabilities of the Go module {module.name}", result
    sbom.write()
    yield "Licences", check_licences()


def main() -> None:
    words = {
        Result.OK: "none found",
        Result.FOUND: "found, see above",
        Result.NOT_CHECKED: "not checked, see above for the reason",
    }
    results = []
    for name, result in audit():
        echo(f"{name}: {words[result]}.")
        results.append(result)
    sys.exit(Result.FOUND if Result.FOUND in results else max(results))


if __name__ == "__main__":
    main()
