"""The k6-operator manifest: one run, complete settings, and objects that the README creates."""

import re
from typing import Any

import pytest
import yaml

from lab.paths import PERFORMANCE
from lab.runs import k6, start
from lab.stack.compose import tag
from lab.stack.programs import PROGRAMS

KUBERNETES = PERFORMANCE / "kubernetes"


@pytest.fixture
def spec() -> Any:
    manifest = yaml.safe_load((KUBERNETES / "testrun.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("k6.io/v1alpha1", "TestRun")
    return manifest["spec"]


def test_generators_share_a_run_id_and_have_their_own_name(spec: Any) -> None:
    variables = {variable["name"]: variable for variable in spec["runner"]["env"]}
    run_id = variables["RUN_ID"]["value"]

    assert start.RUN_ID.fullmatch(run_id)
    assert spec["arguments"] == f"--tag testid={run_id}"
    assert variables["GENERATOR"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_generators_run_the_version_and_settings_of_every_run(spec: Any) -> None:
    runner = spec["runner"]
    names = {variable["name"] for variable in runner["env"]}

    assert tag(runner["image"]) == PROGRAMS["k6"].version
    assert runner["envFrom"] == [{"configMapRef": {"name": "k6-env"}}]
    assert "K6_PROMETHEUS_RW_SERVER_URL" in names
    assert names.isdisjoint(k6.default_settings())


def test_readme_creates_the_objects_that_the_manifest_names(spec: Any) -> None:
    commands = (KUBERNETES / "README.md").read_text()
    created = set(re.findall(r"kubectl create (?:configmap|secret generic) (\S+)", commands))
    token = next(item for item in spec["runner"]["env"] if item["name"] == "CLINIC_API_TOKEN")

    assert created == {
        spec["script"]["configMap"]["name"],
        spec["runner"]["envFrom"][0]["configMapRef"]["name"],
        token["valueFrom"]["secretKeyRef"]["name"],
    }
    assert "k6-env --from-env-file=performance/k6.env" in commands
