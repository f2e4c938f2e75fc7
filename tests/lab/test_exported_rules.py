"""The rules for Mimir and the Prometheus Operator: those at home, with other links."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from lab.cli import cli
from lab.errors import UserError
from lab.paths import PROJECT
from lab.rules import export, generate, routing, runbook
from lab.stack.programs import find

CRDS = Path(__file__).parents[1] / "support" / "crds"
# What the stack watches in itself.
AT_HOME = {"machine", "losses", "telemetry"}
GRAFANA, RUNBOOK = "https://grafana.example.org/base", "https://git.example.org/README.md"
LINKED = export.Links(GRAFANA, RUNBOOK)

Rule = dict[str, Any]


def home() -> dict[str, list[Rule]]:
    """Read the rules of each group at home."""
    return {
        group["name"]: group["rules"]
        for file in generate.FOLDER.glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
    }


def exported(groups: list[dict[str, Any]]) -> dict[str, list[Rule]]:
    """Join the parts of groups that were split."""
    joined: dict[str, list[Rule]] = {}
    for group in groups:
        joined.setdefault(re.sub(r" \d+$", "", group["name"]), []).extend(group["rules"])
    return joined


def alerts(groups: list[dict[str, Any]]) -> list[Rule]:
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


ALERTS = alerts(export.groups(LINKED))


def deployed(name: str) -> Any:
    return yaml.safe_load((generate.DEPLOY / name).read_text())


@pytest.mark.parametrize("name", generate.EXPORTS)
def test_exports_are_current(name: str) -> None:
    text = (generate.DEPLOY / name).read_text()

    assert text == generate.HEADER + generate.EXPORTS[name](), "run `just generate`"


def test_rules_are_those_at_home_except_for_an_api_that_was_never_there() -> None:
    groups, at_home = exported(export.groups()), home()
    last_sample, down = groups["clinic"][:2]
    assert last_sample["record"] in down["expr"]
    groups["clinic"] = [down | {"expr": at_home["clinic"][0]["expr"]}, *groups["clinic"][2:]]

    for rules in at_home.values():
        for rule in rules:
            if "alert" in rule:
                rule["labels"] |= export.LABEL
    for rule in (rule for rules in [*groups.values(), *at_home.values()] for rule in rules):
        rule.pop("annotations", None)  # their links are tested below
    assert groups == {name: rules for name, rules in at_home.items() if name not in AT_HOME}


def test_both_kinds_hold_the_same_rules_but_for_the_namespace() -> None:
    mimir = deployed("mimir/rules.yaml")
    operator = deployed("prometheus-operator/rules.yaml")

    for rule in alerts(operator["spec"]["groups"]):
        assert rule["labels"].pop("namespace") == operator["metadata"]["namespace"]
    assert mimir["groups"] == operator["spec"]["groups"]
    assert mimir["namespace"] == "vet-clinic"


def test_groups_are_within_the_limits_of_mimir_and_state_their_interval() -> None:
    groups = export.groups()

    assert len(groups) <= 35
    assert len({group["name"] for group in groups}) == len(groups)
    for group in groups:
        assert len(group["rules"]) <= 20
        assert group["interval"]


def test_rules_of_a_group_that_was_split_do_not_read_each_other() -> None:
    whole = exported(export.groups())
    parts = {group["name"] for group in export.groups()}

    for name in whole.keys() - parts:
        recorded = {rule["record"] for rule in whole[name]}
        assert not [rule for rule in whole[name] for record in recorded if record in rule["expr"]]


def test_no_alert_fires_on_the_absence_of_what_may_not_be_there() -> None:
    assert not [alert["alert"] for alert in ALERTS if "absent" in alert["expr"]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_links_lead_to_a_panel_and_to_a_section_of_the_runbook(alert: Rule) -> None:
    annotations = alert["annotations"]
    link = re.fullmatch(
        re.escape(GRAFANA) + r"/d/([\w-]+)\?viewPanel=panel-(\d+)(?:&var-testid=\S+ \S+ \S+)?",
        annotations["dashboard_url"],
    )
    page, _, anchor = annotations["runbook_url"].partition("#")

    assert link
    file = PROJECT / "observability" / "grafana" / "dashboards" / f"{link[1]}.json"
    assert int(link[2]) in {panel["id"] for panel in json.loads(file.read_text())["panels"]}
    assert (annotations["__dashboardUid__"], annotations["__panelId__"]) == link.groups()[:2]
    assert page == RUNBOOK
    # GitHub's and GitLab's anchor of the heading in the document, and that of the page.
    assert f"### {alert['alert']}\n" in runbook.SOURCE.read_text()
    assert anchor == alert["alert"].lower()


def test_without_addresses_there_is_no_link_and_no_address_of_the_stack() -> None:
    for text in (export.mimir(), export.prometheus_rule()):
        assert "_url" not in text
        assert "://" not in text
        assert "$external" not in text


@pytest.mark.parametrize(
    "text", ["grafana.example.org", "ftp://a", "https://", "https://a?b=c", "https://a#b"]
)
def test_an_address_that_cannot_be_opened_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected one such as"):
        export.address(text)


def test_a_label_needs_a_value() -> None:
    assert export.selector(["release=p"]) == {"release": "p"}
    with pytest.raises(UserError, match="NAME=VALUE"):
        export.selector(["release"])


def strict(schema: Any) -> Any:
    """Refuse fields that the schema does not name; Kubernetes would drop them."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(value) for name, value in schema.items()}
    return known | (
        {"additionalProperties": False}
        if isinstance(schema.get("properties"), dict) and "type" in schema
        else {}
    )


@pytest.mark.parametrize("name", ["rules", "alertmanagerconfig"])
def test_manifests_match_the_schema_of_the_operator(name: str) -> None:
    manifest = deployed(f"prometheus-operator/{name}.yaml")
    schema = json.loads((CRDS / f"{manifest['kind']}.json").read_text())
    del manifest["metadata"]  # of Kubernetes itself
    schema["properties"].pop("metadata")

    validator = jsonschema_rs.validator_for(strict(schema))
    validator.validate(manifest)

    manifest["spec"]["unknown"] = 1
    assert not validator.is_valid(manifest)


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find("promtool"), *words], capture_output=True, text=True, check=False)


@pytest.mark.stack
def test_prometheus_accepts_what_the_manifest_holds(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    spec = yaml.safe_load(export.prometheus_rule(LINKED, selected_by={"release": "p"}))["spec"]
    file.write_text(yaml.safe_dump(spec))

    outcome = promtool("check", "rules", "--lint=all", "--lint-fatal", file)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert f"{sum(len(group['rules']) for group in spec['groups'])} rules found" in outcome.stdout


FIRING = """count(ALERTS{alertname="ClinicDown",alertstate="firing"}) or vector(0)"""
MINUTES, WEEK = "1m", "10m"
CLINIC_DOWN = {
    MINUTES: """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - name: An API that was never there is not missed, nor one that is still there
    interval: 15s
    input_series:
      - series: clinic_database_up{job="clinic",instance="a"}
        values: _x240 1x240
    alert_rule_test:
      - {eval_time: 10m, alertname: ClinicDown, exp_alerts: []}
      - {eval_time: 1h1m, alertname: ClinicDown, exp_alerts: []}
      - {eval_time: 2h, alertname: ClinicDown, exp_alerts: []}
  - name: One that was there is missed until it returns
    interval: 15s
    input_series:
      - series: clinic_database_up{job="prod/clinic",instance="a"}
        values: 1x240 _x960 1x240
    promql_expr_test:
      - {expr: FIRING, eval_time: 1h, exp_samples: [{value: 0}]}
      - {expr: FIRING, eval_time: 1h3m, exp_samples: [{value: 1}]}
      - {expr: FIRING, eval_time: 4h55m, exp_samples: [{value: 1}]}
      - {expr: FIRING, eval_time: 5h5m, exp_samples: [{value: 0}]}
""",
    WEEK: """
rule_files: [rules.yml]
evaluation_interval: 10m
tests:
  - name: One that was removed is forgotten after a week
    interval: 5m
    input_series:
      - series: clinic_database_up{job="clinic",instance="a"}
        values: 1x12 _x2200
    promql_expr_test:
      - {expr: FIRING, eval_time: 6d, exp_samples: [{value: 1}]}
      - {expr: FIRING, eval_time: 7d3h, exp_samples: [{value: 0}]}
""",
}


@pytest.mark.stack
@pytest.mark.parametrize("interval", CLINIC_DOWN)
def test_only_an_api_that_was_there_is_missed(interval: str, tmp_path: Path) -> None:
    clinic = next(group for group in export.groups() if group["name"] == "clinic")
    last_sample_and_alert = {"name": "clinic", "interval": interval, "rules": clinic["rules"][:2]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [last_sample_and_alert]}))
    tests = CLINIC_DOWN[interval].replace("FIRING", f"'{FIRING}'")
    (tmp_path / "tests.yml").write_text(tests)

    outcome = promtool("test", "rules", tmp_path / "tests.yml")

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def snake(value: Any) -> Any:
    """Write an AlertmanagerConfig's routes and inhibitions as Alertmanager does."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"name", "value", "matchType"}:
        return f'{value["name"]}{value["matchType"]}"{value["value"]}"'
    names = {"sourceMatch": "source_matchers", "targetMatch": "target_matchers"}
    return {
        names.get(name) or re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name): snake(item)
        for name, item in value.items()
    }


def test_both_kinds_route_and_inhibit_alike() -> None:
    mimir = deployed("mimir/alertmanager.yaml")
    operator = snake(deployed("prometheus-operator/alertmanagerconfig.yaml")["spec"])

    assert [operator["route"]] == mimir["route"]["routes"]
    assert operator["inhibit_rules"] == mimir["inhibit_rules"]


def test_only_alerts_of_this_project_inhibit_and_are_inhibited() -> None:
    ours = f'{routing.LABEL}="{routing.VALUE}"'

    for rule in deployed("mimir/alertmanager.yaml")["inhibit_rules"]:
        assert ours in rule["source_matchers"]
        assert ours in rule["target_matchers"]


@pytest.mark.stack
def test_alertmanager_routes_each_alert_as_at_home_and_leaves_others_alone() -> None:
    file = generate.DEPLOY / "mimir" / "alertmanager.yaml"

    def receiver(labels: dict[str, str]) -> str:
        words = [f"{name}={value}" for name, value in labels.items()]
        outcome = subprocess.run(
            [find("amtool"), "config", "routes", "test", f"--config.file={file}", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return outcome.stdout.strip()

    # Routes depend on these labels only.
    seen = {(rule["labels"]["severity"], rule["labels"]["area"]) for rule in ALERTS}
    for severity, area in seen:
        labels = {"severity": severity, "area": area}
        expected = "null" if severity == "none" else "notifications"
        assert receiver(labels | export.LABEL) == expected
        assert receiver(labels) == "others"


def test_the_command_prints_rules_with_the_given_links_namespace_and_labels() -> None:
    words = ["prometheus-operator", "--namespace=monitoring", "--label=release=p"]
    links = [f"--grafana={GRAFANA}/", f"--runbook={RUNBOOK}"]

    printed = CliRunner().invoke(cli, ["rules", *words, *links])

    manifest = yaml.safe_load(printed.stdout)
    assert manifest["metadata"]["namespace"] == "monitoring"
    assert manifest["metadata"]["labels"]["release"] == "p"
    for alert in alerts(manifest["spec"]["groups"]):
        assert alert["labels"]["namespace"] == "monitoring"
        assert alert["annotations"]["dashboard_url"].startswith(f"{GRAFANA}/d/")
        assert alert["annotations"]["runbook_url"].startswith(f"{RUNBOOK}#")


def test_the_document_says_of_each_alert_what_it_needs_or_that_it_stays_in_the_stack() -> None:
    document = (PROJECT / "docs" / "alerts.md").read_text()
    table = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \|", document, re.MULTILINE)
    [staying] = re.findall(r"stay in the stack\*\*: (.*?) are about", document, re.DOTALL)
    names = {rule["alert"] for rules in home().values() for rule in rules if "alert" in rule}
    leaves = {alert["alert"] for alert in ALERTS}

    assert {name for row in table for name in row.split(", ")} == leaves
    assert {*re.split(r",\s+| and\s+", staying)} == names - leaves
