"""The stack's settings, and what a service was started with."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.errors import UserError
from lab.promql.selectors import SERVICE
from lab.stack import compose, programs, services
from lab.stack.config import PORTS, StackConfig
from lab.stack.service import InternalPorts
from lab.stack.services import api_service
from lab.stack.supervisor import assignment
from tests.support.trace_stores import settings


def test_ports_come_from_the_environment_then_the_running_stack_then_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    (tmp_path / "stack.json").write_text(json.dumps({"CLINIC_PORT": 1, "OTLP_PORT": 2}))
    monkeypatch.setenv("OTLP_PORT", "3")

    config = StackConfig.from_env()

    assert (config.clinic_port, config.otlp_port, config.prometheus_port) == (1, 3, 9090)


def test_the_number_of_replicas_is_saved_until_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("CLINIC_REPLICAS", raising=False)
    assert StackConfig.from_env().replicas == 1

    StackConfig(tmp_path, replicas=3).save("native")
    assert StackConfig.from_env().replicas == 3
    monkeypatch.setenv("CLINIC_REPLICAS", "2")
    assert StackConfig.from_env().replicas == 2


@pytest.mark.parametrize("number", ["0", "9", "two", "-1", "٢"])
def test_an_invalid_number_of_replicas_is_refused_by_name(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("CLINIC_REPLICAS", number)

    with pytest.raises(UserError, match="CLINIC_REPLICAS is"):
        StackConfig.from_env()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux distributes connections")
def test_replicas_share_the_port_of_the_api_and_have_one_each(tmp_path: Path) -> None:
    config = StackConfig(tmp_path, replicas=2)
    internal = InternalPorts.free().with_replicas(2)

    replicas = services.api_services(config, internal)

    assert [it.name for it in replicas] == ["api-1", "api-2"]
    assert {it.environment["CLINIC_SHARED_PORT"] for it in replicas} == {"8000"}
    assert [it.environment["CLINIC_PORT"] for it in replicas] == [str(it) for it in internal.api]
    assert internal.with_replicas(1).api == internal.api
    (alone,) = services.api_services(replace(config, replicas=1), internal)
    assert (alone.name, alone.environment["CLINIC_PORT"]) == ("api", "8000")
    assert not alone.environment["CLINIC_SHARED_PORT"]


def test_the_service_name_of_the_api_is_fixed_which_up_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "vet-api")
    monkeypatch.setattr("lab.cli.doctor.require", Mock())
    monkeypatch.setattr("lab.cli.choose", Mock())

    printed = CliRunner().invoke(cli, ["up"]).output
    native = services.api_environment(StackConfig(tmp_path), "postgresql+asyncpg://127.0.0.1")

    assert printed.startswith("OTEL_SERVICE_NAME is ignored")
    assert native["OTEL_SERVICE_NAME"] == SERVICE
    assert compose.services()["api"]["environment"]["OTEL_SERVICE_NAME"] == SERVICE


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "1.5", "٣"])
def test_invalid_port_is_refused_by_name(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TRACES_PORT", port)

    with pytest.raises(UserError, match="TRACES_PORT is"):
        StackConfig.from_env()


def test_changed_code_and_settings_of_a_service_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StackConfig(tmp_path)
    config.password_file.write_text("correct-horse")
    started = api_service(config).without_secrets()
    assert "correct-horse" not in str(started)
    assert api_service(config).changes(started) == []

    monkeypatch.setenv("CLINIC_POOL_SIZE", "7")
    monkeypatch.setenv("CLINIC_RESULTS_DIR", "/elsewhere")
    older = replace(started, files={**started.files, "src/clinic/app.py": "an older digest"})

    assert api_service(config).changes(older) == ["CLINIC_POOL_SIZE", "src/clinic/app.py"]


def test_native_services_have_the_flags_of_compose_yaml() -> None:
    flags = compose.flags("prometheus", {"--config.file": "/here/prometheus.yml"})

    assert "--config.file=/here/prometheus.yml" in flags
    assert "--web.enable-otlp-receiver" in flags
    assert not any("$$" in flag for flag in compose.flags("node-exporter", {}))
    with pytest.raises(KeyError, match=r"--config\.files"):
        compose.flags("prometheus", {"--config.files": "x"})


@pytest.mark.parametrize("value", ["two\nlines", "\"'", "'quoted'"])
def test_setting_that_supervisord_cannot_express_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(UserError, match="CLINIC_API_TOKEN cannot") as refusal:
        assignment("CLINIC_API_TOKEN", value)

    assert value not in refusal.value.message


@pytest.mark.stack
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    promtool = programs.find("promtool")
    config, internal = settings(tmp_path)
    services.write_prometheus_config(config, internal, "jaeger")
    file = services.prometheus_config(config)

    check = subprocess.run(
        [promtool, "check", "config", file], capture_output=True, text=True, check=False
    )

    assert check.returncode == 0, check.stdout + check.stderr
    assert "WARNING" not in check.stdout + check.stderr
