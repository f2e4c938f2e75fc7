"""`just doctor`: what it finds on this machine and in this shell, and when `just up` refuses."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import doctor
from lab.paths import PROJECT
from lab.stack import programs
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.ports import free_ports

VARIABLES = ("CLINIC_", "OTEL_", "K6_", "PG", "COLUMNS", "NO_COLOR", "STACK_BACKEND")


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """Return an environment without any variable that the doctor looks at."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    state = {"CLINIC_STATE_DIR": str(tmp_path / "state"), "STACK_BACKEND": "native"}
    return clean | ports | state


def lab(
    words: list[str], environment: dict[str, str], preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=preexec,
        check=False,
    )


def examine(
    environment: dict[str, str], preexec: Callable[[], None] | None = None
) -> tuple[int, dict[str, tuple[str, str]]]:
    ended = lab(["doctor", "--json"], environment, preexec)
    findings = json.loads(ended.stdout)
    return ended.returncode, {it["check"]: (it["state"], it["detail"]) for it in findings}


def test_a_machine_that_can_start_the_stack_has_no_error(outside: dict[str, str]) -> None:
    status, findings = examine(outside)

    assert status == 0, findings
    assert findings.keys() == doctor.CHECKS.keys()
    assert not [it for it in findings.values() if it[0] == "error"]
    for name in ("API variables", "other variables", "k6 variables"):
        assert findings[name] == ("ok", "none")


@pytest.mark.parametrize(
    ("variables", "check", "words"),
    [
        ({"OTEL_PROPAGATORS": "b3"}, "API variables", "OTEL_PROPAGATORS: expected"),
        ({"CLINIC_POOL_SIZE": "many"}, "API variables", "CLINIC_POOL_SIZE: "),
        ({"CLINIC_STATE_DIR": "/proc/nothing"}, "state folder", "Set CLINIC_STATE_DIR"),
        ({"STACK_BACKEND": "docker", "PATH": "/nowhere"}, "Docker", "docker is not on PATH"),
        ({"STACK_BACKEND": "podman"}, "ports", "expected docker or native"),
        ({"CLINIC_PORT": "5433", "POSTGRES_PORT": "5433"}, "ports", "are both 5433"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_would_stop_a_start_is_an_error(
    outside: dict[str, str], variables: dict[str, str], check: str, words: str
) -> None:
    status, findings = examine(outside | variables)

    assert status == 1
    assert findings[check][0] == "error"
    assert words in findings[check][1]


def test_a_taken_port_is_an_error(outside: dict[str, str]) -> None:
    with socket.socket() as listener:
        listener.bind((HOST, int(outside["PROMETHEUS_PORT"])))
        listener.listen()
        status, findings = examine(outside)

    assert status == 1
    assert f"Port {outside['PROMETHEUS_PORT']} is taken" in findings["ports"][1]


@pytest.mark.parametrize(("backend", "state"), [("native", "error"), ("docker", "ok")])
def test_a_filesystem_without_modes_is_an_error_for_native_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, state: str
) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    monkeypatch.setenv("STACK_BACKEND", backend)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on a Windows disk in WSL
    monkeypatch.setattr(doctor, "OWN", 0o500)

    found, detail = doctor.state_folder(StackConfig(tmp_path / "state"))

    assert found == state
    assert ("CLINIC_STATE_DIR" in detail) == (state == "error")


def test_too_few_open_files_are_an_error(outside: dict[str, str]) -> None:
    status, findings = examine(
        outside, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    )

    assert status == 1
    assert findings["open files"] == (
        "error",
        "At most 256; the stack needs 1024: raise `ulimit -Hn`.",
    )


@pytest.mark.parametrize(
    ("variables", "check", "words"),
    [
        ({"OTEL_SDK_DISABLED": "TRUE"}, "API variables", "k6's side only"),
        ({"OTEL_METRICS_EXPORTER": "none"}, "API variables", "miss the API's metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "API variables", "traces go elsewhere"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "60000"}, "API variables", "need 5000 or less"),
        ({"K6_NO_THRESHOLDS": "true"}, "k6 variables", "K6_NO_THRESHOLDS is set"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_changes_runs_is_a_note(
    outside: dict[str, str], variables: dict[str, str], check: str, words: str
) -> None:
    status, findings = examine(outside | variables)

    assert status == 0
    assert findings[check][0] == "note"
    assert words in findings[check][1]


def test_variables_of_other_programs_are_named_without_their_values(
    outside: dict[str, str],
) -> None:
    given = {"PGSSLMODE": "secret-1", "https_proxy": "http://me:secret-2@proxy:1"}
    ended = lab(["doctor"], outside | given)

    assert ended.returncode == 0
    assert "PGSSLMODE" in ended.stdout
    assert "https" in ended.stdout
    assert "secret" not in ended.stdout


@pytest.mark.parametrize(("gigabytes", "state"), [(1, "error"), (100, "note")])
def test_programs_that_must_be_built_need_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: int, state: str
) -> None:
    monkeypatch.setenv("STACK_BACKEND", "native")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", "/somewhere/uv")
    monkeypatch.setattr(doctor, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=gigabytes * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    found, detail = doctor.built_programs(StackConfig(tmp_path / "state"))

    assert found == state
    assert "k6, prometheus" in detail
    assert "GB of disk" in detail


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("x86_64-unknown-linux-musl", "You're on Linux (`musllinux"),
        ("riscv64-unknown-linux", "or wheel for the current platform"),
        ("x86_64-manylinux_2_17", "or wheel for the current platform"),
        ("x86_64-pc-windows-msvc", "supported environments: `sys_platform == 'linux'`"),
        ("aarch64-unknown-linux-gnu", "Would install"),
        ("x86_64-unknown-linux-gnu", "Would install"),
        ("aarch64-apple-darwin", "Would install"),
        ("x86_64-apple-darwin", "Would install"),
    ],
)
def test_a_system_is_supported_or_uv_says_that_it_is_not(
    tmp_path: Path, platform: str, words: str
) -> None:
    ended = subprocess.run(
        [
            *(os.environ.get("UV", "uv"), "sync", "--dry-run", "--frozen", "--offline"),
            *("--python-platform", platform),
        ],
        cwd=PROJECT,
        env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "environment")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert words in ended.stderr
    assert (ended.returncode == 0) == (words == "Would install")


def test_up_refuses_before_it_makes_anything(outside: dict[str, str]) -> None:
    ended = lab(["up"], outside | {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10"})

    assert ended.returncode == 1
    assert "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: expected a whole number" in ended.stderr
    assert "`just doctor`" in ended.stderr
    assert not Path(outside["CLINIC_STATE_DIR"]).exists()


def test_lines_fit_a_terminal_and_have_no_colours_without_one(outside: dict[str, str]) -> None:
    ended = lab(["doctor"], outside | {"OTEL_SDK_DISABLED": "true"})

    assert "\x1b" not in ended.stdout
    assert len(ended.stdout.splitlines()) >= len(doctor.CHECKS)
    assert all(len(line) <= 120 for line in ended.stdout.splitlines())
