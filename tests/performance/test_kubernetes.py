"""The k6-operator manifests: their schema, what pods the operator makes of them, and a real run."""

import json
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from lab.clients.prometheus import Prometheus
from lab.paths import PERFORMANCE
from lab.promql.load_run import VERDICT_CODES, verdict
from lab.promql.selectors import RunSelector
from lab.runs import k6, reader, start
from lab.stack.compose import tag
from lab.stack.ports import free_ports
from lab.stack.programs import PROGRAMS, find
from tests.support.fake_clinic import FakeClinic
from tests.support.k6 import environment

KUBERNETES = PERFORMANCE / "kubernetes"
# Of k6-operator v1.6.0, see its comment.
SCHEMA = Path(__file__).parent / "schemas" / "testrun.json"
# As the operator and Kubernetes name them: the TestRun, then its jobs.
NAME = "clinic-load-x7k2p"


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load((KUBERNETES / "testrun.yaml").read_text())


@pytest.fixture
def spec(manifest: Any) -> Any:
    return manifest["spec"]


def test_the_operator_knows_every_field(manifest: Any) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("k6.io/v1alpha1", "TestRun")
    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    wrong: list[dict[str, object]] = [
        {"paralelism": 4},
        {"parallelism": "4"},
        {"runner": {"securityContexts": {}}},
    ]

    schema.validate(manifest["spec"])
    assert not any(schema.is_valid(manifest["spec"] | change) for change in wrong)


def test_the_name_of_the_test_run_is_the_run_id(manifest: Any, spec: Any) -> None:
    """The operator labels pods with it; services, which it names like it, begin with a letter."""
    variables = {variable["name"]: variable for variable in spec["runner"]["env"]}

    def label(name: str) -> str:
        path: str = variables[name]["valueFrom"]["fieldRef"]["fieldPath"]
        return path

    assert label("RUN_ID") == "metadata.labels['k6_cr']"
    assert label("GENERATOR") == "metadata.labels['job-name']"
    assert spec["arguments"] == "--tag testid=$(RUN_ID) --tag instance=$(GENERATOR)"
    name = f"{manifest['metadata']['generateName']}x7k2p"
    assert start.RUN_ID.fullmatch(name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", name)


def test_generators_run_the_version_and_settings_of_every_run(spec: Any) -> None:
    runner = spec["runner"]
    names = {variable["name"] for variable in runner["env"]}

    assert tag(runner["image"]) == PROGRAMS["k6"].version
    assert runner["envFrom"][0] == {"configMapRef": {"name": "k6-env"}}
    assert "K6_PROMETHEUS_RW_SERVER_URL" in names
    assert names.isdisjoint(k6.default_settings())


def test_secrets_are_references(spec: Any) -> None:
    values = {variable["name"] for variable in spec["runner"]["env"] if "value" in variable}

    assert values == {"BASE_URL", "CONFIRM_TARGET", "K6_PROMETHEUS_RW_SERVER_URL"}


@pytest.mark.parametrize("pod", ["runner", "starter"])
def test_pods_meet_the_restricted_standard_without_a_token(spec: Any, pod: str) -> None:
    """The initializer is a runner."""
    assert "initializer" not in spec
    settings = spec[pod]
    assert settings["automountServiceAccountToken"] == "false"
    assert settings["securityContext"]["runAsNonRoot"] is True
    assert settings["securityContext"]["runAsUser"] > 0
    assert settings["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    container = settings["containerSecurityContext"]
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True
    assert all(set(volume) <= {"name", "emptyDir"} for volume in settings.get("volumes", ()))


def test_the_network_allows_what_the_manifest_addresses(spec: Any) -> None:
    namespace, policy = yaml.safe_load_all((KUBERNETES / "namespace.yaml").read_text())
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert policy["metadata"]["namespace"] == namespace["metadata"]["name"]
    allowed = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if "namespaceSelector" in peer
        for port in rule["ports"]
    }
    variables = {variable["name"]: variable.get("value", "") for variable in spec["runner"]["env"]}
    for name in ("BASE_URL", "K6_PROMETHEUS_RW_SERVER_URL"):
        address = re.match(r"http://[^.]+\.([^.]+)\.svc:(\d+)", variables[name])
        assert address
        assert (address[1], int(address[2])) in allowed


def test_readme_creates_the_objects_that_the_manifest_names(spec: Any) -> None:
    commands = (KUBERNETES / "README.md").read_text()
    created = set(re.findall(r"kubectl create (?:configmap|secret generic) (\S+)", commands))
    token = next(item for item in spec["runner"]["env"] if item["name"] == "CLINIC_API_TOKEN")

    assert created == {
        spec["script"]["configMap"]["name"],
        spec["runner"]["envFrom"][0]["configMapRef"]["name"],
        token["valueFrom"]["secretKeyRef"]["name"],
    }
    assert "k6-env --namespace load-test --from-env-file=performance/k6.env" in commands


def job(spec: Any, pod: str, command: list[str]) -> dict[str, Any]:
    """Make the job that the operator makes of a runner or of the starter (pkg/resources/jobs)."""
    settings = spec[pod]
    labels = {"app": "k6", "k6_cr": NAME} | ({"runner": "true"} if pod == "runner" else {})
    script = {"name": "k6-test-volume", "configMap": {"name": spec["script"]["configMap"]["name"]}}
    mount = {"name": "k6-test-volume", "mountPath": "/test", "readOnly": True}
    passed_on = ("env", "envFrom", "image", "resources")
    container = {name: settings[name] for name in passed_on if name in settings} | {
        "name": "k6",
        "command": command,
        "ports": [{"containerPort": 6565}],
        "securityContext": settings["containerSecurityContext"],
        "volumeMounts": [mount, *settings.get("volumeMounts", [])],
    }
    template = {
        "automountServiceAccountToken": settings["automountServiceAccountToken"] == "true",
        "serviceAccountName": "default",
        "hostname": f"{NAME}-1",
        "restartPolicy": "Never",
        "securityContext": settings["securityContext"],
        "topologySpreadConstraints": settings.get("topologySpreadConstraints", []),
        "containers": [container],
        "volumes": [script, *settings.get("volumes", [])],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{NAME}-1", "namespace": "load-test", "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": template}},
    }


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_accepts_the_manifests_and_what_the_operator_makes_of_them(
    spec: Any, version: str
) -> None:
    objects = [
        *yaml.safe_load_all((KUBERNETES / "namespace.yaml").read_text()),
        job(spec, "runner", ["k6", "run", *spec["arguments"].split(), "/test/archive.tar"]),
        job(spec, "starter", ["sh", "-c", "curl"]),
    ]
    wrong = job({**spec, "runner": spec["runner"] | {"env": [{"nam": "A"}]}}, "runner", ["k6"])

    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


class Runner:
    """A runner as the operator starts it: the archive, paused until its interface says to go on."""

    def __init__(self, spec: Any, number: int, archive: Path, settings: dict[str, str]) -> None:
        run, name = settings["RUN_ID"], f"{settings['RUN_ID']}-{number}"
        arguments = spec["arguments"].replace("$(RUN_ID)", run).replace("$(GENERATOR)", name)
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/v1/status"
        command = [
            *("run", "--quiet", *k6.segment_arguments(number, 2), *arguments.split(), archive),
            *(f"--address=127.0.0.1:{port}", "--paused"),
            *("--tag", f"instance_id={number}", "--tag", f"testrun_name={run}"),
        ]
        self.process = subprocess.Popen(
            [find("k6"), *command],
            cwd=archive.parent,
            env=environment({**settings, "GENERATOR": name}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self) -> None:
        """Wait until it serves its interface, and let it go on."""
        attributes = {"status": 0, "paused": False, "vus": None, "vus-max": None}
        body = {"data": {"type": "status", "id": "default", "attributes": attributes}}
        deadline = time.monotonic() + 60
        while True:
            try:
                response = httpx.patch(self.url, json=body)
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.1)
            else:
                assert response.status_code == httpx.codes.OK, response.text
                return

    def output(self) -> str:
        try:
            return self.process.communicate(timeout=90)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[0]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Make the archive as the README does: without a run id or a target."""
    path = tmp_path / "archive.tar"
    settings = {"PROFILE": "smoke", "DURATION": "4s", "RATE": "8"}
    options = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
    script = PERFORMANCE / "k6-load-test.js"
    command = [str(find("k6")), "archive", "--archive-out", str(path), *options, str(script)]
    subprocess.run(command, env=environment({}), check=True, capture_output=True)
    assert path.stat().st_size < 500_000  # a ConfigMap holds 1 MiB, in base64
    return path


@pytest.mark.stack
def test_runners_of_the_operator_are_one_run_with_a_verdict(
    spec: Any, archive: Path, prometheus: Prometheus
) -> None:
    run_id = f"clinic-load-{secrets.token_hex(4)}"
    write = f"{prometheus.url}/api/v1/write"
    defaults = k6.default_settings() | {"K6_PROMETHEUS_RW_SERVER_URL": write, "RUN_ID": run_id}
    with FakeClinic() as clinic:
        settings = defaults | {"BASE_URL": clinic.url}
        runners = [Runner(spec, number, archive, settings) for number in (1, 2)]
        for runner in runners:
            runner.start()
        outputs = [runner.output() for runner in runners]
        assert [runner.process.returncode for runner in runners] == [0, 0], outputs
        sent = len(clinic.load)

    record = reader.read_metrics(prometheus, run_id, finished=True)
    assert [one.name for one in record.generators] == [f"{run_id}-1", f"{run_id}-2"]
    assert record.total.requests == sent == sum(one.requests for one in record.generators)
    assert (record.verdict, record.verdict_reason, record.profile) == ("passed", "", "smoke")
    assert record.iterations
    assert record.iterations.count == pytest.approx(4 * 8, abs=2)
    assert "instance_id" not in record.tags
    run = RunSelector(run_id, record.period.window)
    code = prometheus.number(verdict(run), record.period.read_at)
    assert code == VERDICT_CODES["passed", ""]
