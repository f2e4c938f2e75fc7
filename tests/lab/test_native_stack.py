"""The stack without Docker: it comes up whole or not at all, and goes down whole."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack import programs, services
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.ports import free_ports
from lab.stack.services import InternalPorts, Service
from tests.support.native_stack import AWKWARD, LAB, NativeStack, until


@pytest.fixture
def native() -> Iterator[NativeStack]:
    """Give a stack that is down, below the system's own temporary folder.

    As root PostgreSQL runs as another user, who cannot pass pytest's private folders.
    """
    folder = Path(tempfile.mkdtemp(prefix="clinic-"))
    native = NativeStack(folder / AWKWARD.strip())
    yield native
    native.run("down")
    left = native.left_behind()
    shutil.rmtree(folder)
    assert left == []


@pytest.mark.stack
def test_the_bundle_comes_up_once_and_goes_down_whole(native: NativeStack) -> None:
    first = native.run("up")
    assert first.returncode == 0, first.stdout + first.stderr
    for line in (
        "postgres ",
        "prometheus ",
        "notifications ",
        "alertmanager ",
        "node-exporter ",
        "migrations ",
        "api ",
    ):
        assert line in first.stdout
    assert "`just load`" in first.stdout
    config = native.config
    for url in (
        f"{config.api_url}/readyz",
        f"{config.prometheus_url}/-/ready",
        f"{config.alertmanager_url}/-/ready",
    ):
        assert httpx.get(url).status_code == 200
    assert native.run("status").returncode == 0
    assert config.password_file.stat().st_mode & 0o777 == 0o600
    assert "\nprometheus | " in native.run("logs").stdout
    assert "there are logs of alertmanager, api, " in native.run("logs", "nothing").stderr

    before = pids(native)
    again = native.run("up")
    assert again.returncode == 0
    assert "nothing was changed" in again.stdout
    assert pids(native) == before

    native.supervisor.call("stopProcess", "prometheus")
    status = native.run("status")
    assert status.returncode == 1
    assert "down (stopped)" in status.stdout
    healed = native.run("up")
    assert healed.returncode == 0, healed.stderr
    assert [line.split()[0] for line in healed.stdout.splitlines() if "ready in" in line] == [
        "prometheus"
    ]
    assert native.run("status").returncode == 0

    moved = native.run("up", CLINIC_PORT=str(free_ports(1)[0]))
    assert moved.returncode == 1
    assert f"already runs with CLINIC_PORT={config.clinic_port}" in moved.stderr

    down = native.run("down")
    assert down.returncode == 0
    assert "its data stays" in down.stdout
    assert native.left_behind() == []
    assert (config.state / "postgres" / "PG_VERSION").exists()
    idle = native.run("down")
    assert idle.returncode == 0
    assert "nothing to stop" in idle.stdout
    assert native.run("status").returncode == 1


def pids(native: NativeStack) -> list[int]:
    return [process["pid"] for process in native.supervisor.call("getAllProcessInfo")]


@pytest.mark.stack
def test_data_and_password_outlive_a_killed_supervisor(native: NativeStack) -> None:
    assert native.run("up").returncode == 0
    password = native.config.password_file.read_text()
    supervisor = psutil.Process(native.supervisor.call("getPID"))
    supervisor.kill()
    until(lambda: not native.supervisor.running())

    second = native.run("up")

    assert second.returncode == 0, second.stderr
    assert "outlived its supervisor" in second.stderr
    assert native.config.password_file.read_text() == password

    supervisor = psutil.Process(native.supervisor.call("getPID"))
    supervisor.kill()
    until(lambda: not native.supervisor.running())
    down = native.run("down")
    assert down.returncode == 0
    assert "outlived its supervisor" in down.stdout
    assert native.left_behind() == []


@pytest.mark.stack
@pytest.mark.parametrize("variable", ["POSTGRES_PORT", "PROMETHEUS_PORT", "CLINIC_PORT"])
def test_a_taken_port_is_named_with_its_variable_and_its_holder(
    native: NativeStack, variable: str
) -> None:
    port = int(native.environment[variable])
    with socket.create_server((HOST, port)):
        refused = native.run("up")

    assert refused.returncode == 1
    assert f"Port {port} is taken" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert f"{variable}=" in refused.stderr
    assert native.left_behind() == []


@pytest.mark.stack
def test_a_part_that_dies_at_start_is_named_and_takes_the_rest_down(native: NativeStack) -> None:
    native.config.state.mkdir(parents=True)
    (native.config.state / "prometheus").mkdir()
    (native.config.state / "prometheus" / "data").write_text("in the way of the database")

    refused = native.run("up")

    assert refused.returncode == 1
    assert "error: prometheus " in refused.stderr
    assert "not a directory" in refused.stderr, "the log's last lines say why"
    assert "Traceback" not in refused.stderr
    assert native.left_behind() == []


@pytest.mark.stack
def test_failed_migrations_take_the_rest_down(native: NativeStack) -> None:
    refused = native.run("up", CLINIC_API_TOKEN="short")

    assert refused.returncode == 1
    assert "The migrations failed" in refused.stderr
    assert "CLINIC_API_TOKEN" in refused.stderr
    assert native.left_behind() == []


@pytest.mark.stack
@pytest.mark.parametrize("line", ["postgres ", "prometheus "])
def test_ctrl_c_in_the_middle_leaves_nothing(native: NativeStack, line: str) -> None:
    programs.find("prometheus")
    process = subprocess.Popen(
        [*LAB, "up"],
        cwd=PROJECT,
        env=native.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(line):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()

    assert process.returncode == 130
    assert "Interrupted." in said
    assert "Traceback" not in said
    assert native.left_behind() == []


@pytest.mark.stack
def test_data_of_another_postgresql_is_not_touched(native: NativeStack) -> None:
    data = native.config.state / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")

    refused = native.run("up")

    assert refused.returncode == 1
    assert "was made by PostgreSQL 17; this one is 18" in refused.stderr
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
    assert native.left_behind() == []


def test_a_state_folder_that_cannot_be_written_is_named(native: NativeStack) -> None:
    native.config.state.parent.joinpath("file").touch()

    refused = native.run("up", CLINIC_STATE_DIR=str(native.config.state.parent / "file" / "x"))

    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "CLINIC_STATE_DIR" in refused.stderr


def test_the_environment_goes_before_what_was_saved_and_that_before_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    (tmp_path / "stack.json").write_text(json.dumps({"CLINIC_PORT": 1, "OTLP_PORT": 2}))
    monkeypatch.setenv("OTLP_PORT", "3")

    config = StackConfig.from_env()

    assert (config.clinic_port, config.otlp_port, config.prometheus_port) == (1, 3, 9090)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "1.5", "٣"])
def test_a_port_that_is_none_is_refused_by_name(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TRACES_PORT", port)

    with pytest.raises(UserError, match="TRACES_PORT is"):
        StackConfig.from_env()


@pytest.mark.stack
def test_prometheus_accepts_its_configuration() -> None:
    promtool = programs.find("promtool")
    file = PROJECT / "observability" / "prometheus" / "prometheus.yml"

    checked = subprocess.run(
        [promtool, "check", "config", file], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr


@contextmanager
def running(service: Service, state: Path) -> Iterator[None]:
    """Run one part without the supervisor until it is ready."""
    log = state / f"{service.name}.log"
    with (
        log.open("w") as said,
        subprocess.Popen(
            service.command,
            env={**os.environ, **service.environment},
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            until(lambda: process.poll() is not None or service.ready())
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            try:
                process.wait(service.stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.stack
@pytest.mark.parametrize("store", ["jaeger", "tempo"])
def test_a_span_is_stored_and_becomes_metrics_of_its_run(store: str, tmp_path: Path) -> None:
    config = NativeStack(tmp_path).config
    internal = InternalPorts.free()
    if store == "tempo":
        program = programs.find_on_path("tempo")
        if program is None:
            pytest.skip("Tempo 3 is not on PATH, and cannot be built from Go modules")
        service = services.tempo_service(config, internal, program)
    else:
        service = services.jaeger_service(config, internal)
    services.write_prometheus_config(config, internal, store)
    trace_id = secrets.token_hex(16)

    with (
        running(services.prometheus_service(config), tmp_path),
        running(service, tmp_path),
    ):
        sent = httpx.post(config.otlp_traces_endpoint, json=one_span(trace_id))
        assert sent.status_code == 200
        path = "/api/v2/traces/" if store == "tempo" else "/api/traces/"
        until(lambda: httpx.get(config.traces_url + path + trace_id).status_code == 200)
        labels = (
            '{clinic_operation="POST /owners",k6_test_run_id="a-run",k6_scenario="book",'
            'span_kind="SPAN_KIND_SERVER",http_response_status_code="201"}'
        )
        until(lambda: asked(config, f"traces_spanmetrics_calls_total{labels}") == ["1"])
        p50 = (
            "histogram_quantile(0.5, "
            '{__name__=~"traces_spanmetrics_(latency|duration_seconds)",span_kind!=""})'
        )
        until(lambda: asked(config, p50))
        assert float(asked(config, p50)[0]) == pytest.approx(0.25, rel=0.1)
        until(lambda: asked(config, 'up{job=~"prometheus|traces"}') == ["1", "1"])


def one_span(trace_id: str) -> object:
    now = time.time_ns()
    attributes = {
        "clinic.operation": "POST /owners",
        "k6.test_run_id": "a-run",
        "k6.scenario": "book",
        "http.response.status_code": 201,
    }
    span = {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "POST /owners",
        "kind": 2,
        "startTimeUnixNano": str(now - 250_000_000),
        "endTimeUnixNano": str(now),
        "attributes": [
            {
                "key": key,
                "value": {"intValue" if isinstance(value, int) else "stringValue": str(value)},
            }
            for key, value in attributes.items()
        ],
    }
    service = {"key": "service.name", "value": {"stringValue": "clinic"}}
    return {
        "resourceSpans": [
            {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}
        ]
    }


def asked(config: StackConfig, query: str) -> list[str]:
    answer = httpx.get(f"{config.prometheus_url}/api/v1/query", params={"query": query})
    return [series["value"][1] for series in answer.json()["data"]["result"]]


@pytest.mark.stack
def test_destroy_asks_and_then_removes_all_data(native: NativeStack) -> None:
    assert native.run("up").returncode == 0
    assert "Nothing was removed" in native.answer("destroy", "n\n")
    assert native.config.password_file.exists()

    said = native.answer("destroy", "y\n")

    assert "is removed" in said
    assert not native.config.state.exists()
    assert "nothing to remove" in native.run("destroy").stdout
