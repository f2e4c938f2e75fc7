"""A shell that is hostile in every way at once: the stack works in it, and so do these tests."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.paths import PROJECT, cache_folder
from tests.support.native_stack import NativeStack, temporary_stack

NOTHING_LISTENS = "http://127.0.0.1:9"
HOSTILE = {
    "PGSSLMODE": "verify-full",
    "PGHOSTADDR": "192.0.2.1",
    "PGOPTIONS": "-c nonsense=1",
    "PGSERVICE": "elsewhere",
    "PGTARGETSESSIONATTRS": "standby",
    "DATA_SOURCE_NAME": "postgresql://elsewhere",
    "GF_SERVER_HTTP_PORT": "1",
    "HTTP_PROXY": NOTHING_LISTENS,
    "http_proxy": NOTHING_LISTENS,
    "ALL_PROXY": "socks5://127.0.0.1:1080",
    "NO_PROXY": "localhost,[::1]",
    "TZ": "America/Santiago",
    "LANG": "C",
    "LC_ALL": "POSIX",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "COLUMNS": "80",
    "HOME": "/proc",  # not even root can write there
    "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=vets,deployment.environment.name=qa",
    "OTEL_SERVICE_NAME": "another-name",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "K6_DISCARD_RESPONSE_BODIES": "true",
    "K6_NO_COLOR": "false",
    "K6_TAGS": "env=qa,owner=me",
}
# Those that the stack refuses, but tests must not notice.
REFUSED = {
    "OTEL_PROPAGATORS": "b3",
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_SDK_DISABLED": "maybe",
    "K6_NO_THRESHOLDS": "true",
    "CLINIC_API_TOKEN": "short",
    "STACK_BACKEND": "podman",
    "PROFILE": "nonsense",
    "FORCE_COLOR": "1",
}


def narrow() -> None:
    """Take what a careful administrator takes: modes for others, and most open files."""
    os.umask(0o077)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))


@pytest.fixture
def stack() -> Iterator[NativeStack]:
    with temporary_stack() as stack:
        cache = {"XDG_CACHE_HOME": str(cache_folder().parent)}
        stack.environment |= {**HOSTILE, **cache}
        yield stack


@pytest.mark.stack
def test_a_run_in_a_hostile_shell_is_complete(stack: NativeStack, tmp_path: Path) -> None:
    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=PROJECT,
            env=stack.environment | {"DURATION": "2s", "CLINIC_RESULTS_DIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            preexec_fn=narrow,
            check=False,
        )
        output, errors = ended.stdout.decode(), ended.stderr.decode()
        assert "Traceback" not in errors
        assert "\x1b" not in output + errors
        return subprocess.CompletedProcess(words, ended.returncode, output, errors)

    up = lab("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "OTEL_SERVICE_NAME is ignored" in up.stderr

    run = lab("run", "smoke")
    listed = lab("runs", "--json")
    rows = lab("psql", "-Atc", "SELECT count(*) FROM owner")

    # A busy machine may exceed a limit; every request is traced all the same.
    assert run.returncode in (0, 99), run.stdout + run.stderr
    record = json.loads(next(tmp_path.glob("*-smoke.json")).read_text())
    assert record["completeness"]["sent"] == record["completeness"]["traced"] > 0
    assert record["environment"]["settings"]["K6_TAGS"] == "env:qa,owner:me"
    assert [one["profile"] for one in json.loads(listed.stdout)] == ["smoke"]
    assert int(rows.stdout) > 0


@pytest.mark.stack
def test_tests_depend_on_no_variable_of_the_shell() -> None:
    tests = ("tests/clinic/test_otel.py::test_an_exporter_that_is_switched_off_exports_nothing",)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--no-cov", *tests],
        cwd=PROJECT,
        env={**os.environ, **HOSTILE, **REFUSED},
        capture_output=True,
        text=True,
        preexec_fn=narrow,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
