"""The manifests in deploy/kubernetes: valid, restricted, and in agreement with the API."""

import re
import shutil
import subprocess
from dataclasses import fields
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from clinic.settings import Settings
from lab.paths import OBSERVABILITY, PERFORMANCE, PROJECT
from lab.stack import compose

FOLDER = PROJECT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", "1.37"
WITHOUT_SCHEMA = {"Cluster", "Kustomization", "Component"}
Manifest = dict[str, Any]


def manifests(text: str) -> list[Manifest]:
    documents = yaml.safe_load_all(text)
    return [it for it in documents if isinstance(it, dict) and "kind" in it]


@cache
def committed() -> dict[tuple[str, str], Manifest]:
    every = (it for path in sorted(FOLDER.rglob("*.yaml")) for it in manifests(path.read_text()))
    return {
        (it["kind"], it["metadata"]["name"]): it
        for it in every
        if it["kind"] not in {"Kustomization", "Component"}
    }


def pods() -> dict[str, Manifest]:
    return {
        name: it["spec"]["template"]["spec"]
        for (kind, name), it in committed().items()
        if kind in {"Deployment", "Job"}
    }


def secrets_of(pod: Manifest) -> set[str]:
    volumes = {it["secret"]["secretName"] for it in pod["volumes"] if "secret" in it}
    variables = [it for container in pod["containers"] for it in container.get("env", [])]
    references = [it.get("valueFrom", {}).get("secretKeyRef", {}) for it in variables]
    return volumes | {it["name"] for it in references if it}


def validate(manifest: Manifest, version: str) -> None:
    if manifest["kind"] not in WITHOUT_SCHEMA:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(version: str) -> None:
    assert len(committed()) > 12
    for manifest in committed().values():
        validate(manifest, version)


def test_a_misspelt_field_is_not_valid() -> None:
    service = {**committed()["Service", "clinic"], "spec": {"selectr": {}}}

    with pytest.raises(kubernetes_validate.ValidationError):
        validate(service, NEWEST)


@pytest.mark.parametrize("folder", ["base", "overlays/example"])
def test_kustomize_builds_valid_manifests_without_dangling_references(folder: str) -> None:
    if program := shutil.which("kustomize"):
        command = [program, "build"]
    elif program := shutil.which("kubectl"):
        command = [program, "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is on PATH")
    built = subprocess.run(
        [*command, str(FOLDER / folder)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr

    found = manifests(built.stdout)
    assert {it["metadata"].get("namespace", "clinic") for it in found} == {"clinic"}
    maps = {it["metadata"]["name"] for it in found if it["kind"] == "ConfigMap"}
    named = re.findall(
        r"(?:configMap|configMapKeyRef|configMapRef):\n(?: +key: .*\n)?"
        r" +name: (\S+)",
        built.stdout,
    )
    assert named
    assert set(named) <= maps
    for manifest in found:
        validate(manifest, OLDEST)


def test_pods_are_restricted_and_have_no_rights_in_the_cluster() -> None:
    labels = committed()["Namespace", "clinic"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods().items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
    user = re.search(r"^USER (\d+):", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert pods()["clinic-api"]["securityContext"]["runAsUser"] == int(user[1])


def test_each_role_of_the_database_has_a_secret_that_only_its_pods_mount() -> None:
    assert secrets_of(pods()["clinic-api"]) == {"clinic-api-database", "clinic"}
    assert secrets_of(pods()["clinic-migrate"]) == {"clinic-owner"}
    assert secrets_of(pods()["otel-collector"]) == {"otel-collector"}
    cluster = committed()["Cluster", "clinic-database"]["spec"]
    roles = {it["name"]: it for it in cluster["managed"]["roles"]}
    assert cluster["bootstrap"]["initdb"]["owner"] == "clinic"
    assert cluster["bootstrap"]["initdb"]["secret"]["name"] == "clinic-owner"
    assert roles["clinic_api"]["passwordSecret"]["name"] == "clinic-api-database"
    assert not {"superuser", "createdb", "createrole", "inRoles"} & roles["clinic_api"].keys()
    assert roles["monitor"]["inRoles"] == ["pg_monitor"]
    urls = {
        name: variable["value"]
        for name in ("clinic-api", "clinic-migrate")
        for variable in pods()[name]["containers"][0]["env"]
        if variable["name"] == "CLINIC_DATABASE_URL"
    }
    assert "//clinic_api@" in urls["clinic-api"]
    assert "//clinic@" in urls["clinic-migrate"]


def test_the_roles_have_the_limits_and_rights_of_the_stack() -> None:
    script = " ".join((OBSERVABILITY / "postgres" / "roles.sh").read_text().split())
    cluster = committed()["Cluster", "clinic-database"]["spec"]
    for role in cluster["managed"]["roles"]:
        limit = f"ALTER ROLE {role['name']} LOGIN CONNECTION LIMIT {role['connectionLimit']}"
        assert limit in script
    default_rights = cluster["bootstrap"]["initdb"]["postInitApplicationSQL"][-1]
    assert default_rights in script


def test_the_most_pods_have_the_connections_that_the_role_may_have() -> None:
    deployment = committed()["Deployment", "clinic-api"]["spec"]
    pods_at_most = committed()["HorizontalPodAutoscaler", "clinic-api"]["spec"]["maxReplicas"]
    pods_at_most += deployment["strategy"]["rollingUpdate"]["maxSurge"]
    settings = dict(
        line.split("=", 1)
        for line in (FOLDER / "base" / "clinic.env").read_text().splitlines()
        if not line.startswith("#")
    )
    cluster = committed()["Cluster", "clinic-database"]["spec"]
    limits = {it["name"]: it["connectionLimit"] for it in cluster["managed"]["roles"]}

    assert pods_at_most * int(settings["CLINIC_POOL_SIZE"]) <= limits["clinic_api"]
    assert sum(limits.values()) < int(cluster["postgresql"]["parameters"]["max_connections"])


def test_the_api_gets_settings_that_it_has_and_time_to_stop() -> None:
    pod = pods()["clinic-api"]
    container = pod["containers"][0]
    known = {f"CLINIC_{setting.name.upper()}" for setting in fields(Settings)}
    given = {it["name"] for it in container["env"]}
    given |= set(re.findall(r"^(\w+)=", (FOLDER / "base" / "clinic.env").read_text(), re.MULTILINE))

    assert {name for name in given if name.startswith("CLINIC_")} <= known
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"] + compose.stop_seconds("api")
    assert pod["terminationGracePeriodSeconds"] > waits
    probes = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert probes == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }


def test_the_generators_call_the_service_by_its_name_and_may() -> None:
    run = yaml.safe_load((PERFORMANCE / "kubernetes" / "testrun.yaml").read_text())
    (url,) = [it["value"] for it in run["spec"]["runner"]["env"] if it["name"] == "BASE_URL"]
    service = committed()["Service", "clinic"]
    callers = committed()["NetworkPolicy", "clinic-api"]["spec"]["ingress"][0]["from"]

    assert urlsplit(url).hostname == f"{service['metadata']['name']}.clinic.svc"
    assert urlsplit(url).port == service["spec"]["ports"][0]["port"]
    namespace = {"kubernetes.io/metadata.name": run["metadata"]["namespace"]}
    assert namespace in [it["namespaceSelector"]["matchLabels"] for it in callers]


def test_selectors_select_pods_that_exist() -> None:
    labels = [
        it["spec"]["template"]["metadata"]["labels"]
        for (kind, _), it in committed().items()
        if kind in {"Deployment", "Job"}
    ]
    # The operator labels the pods of PostgreSQL.
    labels.append(
        {"cnpg.io/cluster": committed()["Cluster", "clinic-database"]["metadata"]["name"]}
    )
    for (kind, name), manifest in committed().items():
        if kind in {"Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"}:
            spec = manifest["spec"]
            selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
            wanted = selector.get("matchLabels", selector)
            assert wanted, name
            assert any(wanted.items() <= it.items() for it in labels), name
