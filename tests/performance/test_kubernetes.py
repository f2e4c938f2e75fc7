"""The k6-operator manifest against the fields that the operator's TestRun has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.runs import start
from lab.stack.programs import PROGRAMS

MANIFEST = Path(__file__).parents[2] / "performance" / "kubernetes" / "testrun.yaml"

# api/v1alpha1/testrun_types.go of grafana/k6-operator: those of its fields that a run may need.
SPEC = {
    "script": dict,
    "parallelism": int,
    "separate": bool,
    "arguments": str,
    "initializer": dict,
    "starter": dict,
    "runner": dict,
    "quiet": str,
    "paused": str,
    "cleanup": str,
}
POD = {
    "env": list,
    "envFrom": list,
    "image": str,
    "imagePullPolicy": str,
    "metadata": dict,
    "nodeSelector": dict,
    "resources": dict,
    "serviceAccountName": str,
    "tolerations": list,
    "volumes": list,
    "volumeMounts": list,
}
CONFIG_MAP = {"name": str, "file": str}
VARIABLE = {"name": str, "value": str, "valueFrom": dict}


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load(MANIFEST.read_text())


def fits(given: dict[str, Any], fields: Mapping[str, type]) -> None:
    assert set(given) <= set(fields)
    assert all(type(value) is fields[name] for name, value in given.items()), given


def test_the_manifest_has_the_operators_fields_and_types(manifest: Any) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("k6.io/v1alpha1", "TestRun")
    spec = manifest["spec"]
    fits(spec, SPEC)
    fits(spec["runner"], POD)
    fits(spec["script"]["configMap"], CONFIG_MAP)
    for variable in spec["runner"]["env"]:
        fits(variable, VARIABLE)
        assert ("value" in variable) != ("valueFrom" in variable)


def test_its_run_is_one_and_its_generators_are_told_apart(manifest: Any) -> None:
    runner = manifest["spec"]["runner"]
    given = {variable["name"]: variable.get("value") for variable in runner["env"]}
    pod = next(variable for variable in runner["env"] if variable["name"] == "GENERATOR")

    assert manifest["spec"]["arguments"] == f"--tag testid={given['RUN_ID']}"
    assert pod["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert start.RUN_ID.fullmatch(str(given["RUN_ID"]))


def test_it_sends_what_the_report_reads(manifest: Any) -> None:
    runner = manifest["spec"]["runner"]
    given = {variable["name"]: variable.get("value") for variable in runner["env"]}
    wanted = start.k6_settings("r", "load", "http://clinic", "http://prometheus", {})

    for name in ("K6_OUT", "K6_FEATURES", "K6_SYSTEM_TAGS", "K6_PROMETHEUS_RW_STALE_MARKERS"):
        assert given[name] == wanted[name]
    assert runner["image"] == f"grafana/k6:{PROGRAMS['k6'].version}"
