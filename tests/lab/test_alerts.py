"""The alerts: each fires, holds and resolves, says what to do, and ends where it should."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.paths import PROJECT
from lab.rules import slo_rules
from lab.stack.programs import find

MONITORING = PROJECT / "observability"
RULES = MONITORING / "prometheus" / "rules"
UNITS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))
ALERTMANAGER = MONITORING / "alertmanager"
RUNBOOK = MONITORING / "README.md"

SEVERITIES = {"page", "ticket", "none", "heartbeat"}
AREAS = {"service", "machine", "load-run", "telemetry"}

Rule = dict[str, Any]


def rules() -> list[Rule]:
    return [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


ALERTS = [rule for rule in rules() if "alert" in rule]
NAMES = sorted({alert["alert"] for alert in ALERTS})


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find("promtool"), *words], capture_output=True, text=True, check=False)


@pytest.mark.stack
@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.stem)
def test_alerts_fire_hold_and_resolve_as_their_units_say(file: Path) -> None:
    outcome = promtool("test", "rules", file)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.stack
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("clinic_database_up[15s])) == 0", "clinic_database_up[15s])) == 1"),
        ("for: 15s", "for: 1m"),
        ("severity: page", "severity: ticket"),
        ("PostgreSQL does not answer the clinic", "PostgreSQL is away"),
    ],
)
def test_a_unit_notices_a_changed_rule(before: str, after: str, tmp_path: Path) -> None:
    shutil.copytree(RULES, tmp_path / "rules")
    shutil.copytree(UNITS[0].parent, tmp_path / "tests")
    changed = tmp_path / "rules" / "alerts-service.yml"
    text = changed.read_text()
    assert before in text
    changed.write_text(text.replace(before, after))

    units = tmp_path / "tests" / "clinic.yml"
    assert promtool("test", "rules", "--run=^DatabaseDown", units).returncode != 0


@cache
def units() -> list[tuple[str, list[Any]]]:
    """Give the file of each unit and what it checks."""
    return [
        (file.stem, unit["alert_rule_test"])
        for file in UNITS
        for unit in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["tests"]
    ]


def checks_of(name: str) -> list[list[int]]:
    """List, unit by unit, how many alerts of a name are expected at each time, in order."""
    expected = [
        [len(check["exp_alerts"]) for check in checks if check["alertname"] == name]
        for _, checks in units()
    ]
    return [numbers for numbers in expected if numbers]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Watchdog"])
def test_each_alert_has_units_in_which_it_fires_after_a_while_resolves_and_holds(name: str) -> None:
    found = checks_of(name)

    assert any(unit[0] == 0 and any(unit) and unit[-1] == 0 for unit in found)
    assert any(not any(unit) for unit in found)


def test_each_pair_of_windows_has_units_in_which_it_fires_alone_holds_and_is_gone() -> None:
    pairs = {
        (rule["alert"], rule["labels"]["window"]) for rule in ALERTS if "window" in rule["labels"]
    }
    assert len(pairs) == 8
    for name, window in pairs:
        shown = [
            [
                window in {alert["exp_labels"]["window"] for alert in check["exp_alerts"]}
                for check in checks
                if check["alertname"] == name
            ]
            for file, checks in units()
            if file == "error-budget"
        ]
        assert any(not unit[0] and any(unit) and not unit[-1] for unit in shown if unit), window
        assert any(not any(unit) for unit in shown if unit)


def test_the_watchdog_is_seen_to_fire_from_the_start() -> None:
    assert checks_of("Watchdog") == [[1, 1]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_how_bad_it_is_what_it_saw_and_what_to_do(alert: Rule) -> None:
    labels, annotations = alert["labels"], alert["annotations"]

    assert labels["severity"] in SEVERITIES
    assert labels["area"] in AREAS
    assert re.fullmatch(r"\d+[smh]", alert["for"])
    assert annotations["summary"]
    assert "$value" in annotations["description"]
    file, _, anchor = annotations["runbook"].partition("#")
    assert PROJECT / file == RUNBOOK
    assert anchor == alert["alert"].lower()
    assert f"\n### {alert['alert']}\n" in RUNBOOK.read_text()


def test_an_alert_without_a_wait_says_why() -> None:
    waits = [
        line
        for file in RULES.glob("alerts-*.yml")
        for line in file.read_text().splitlines()
        if line.strip().startswith("for: 0s")
    ]

    assert waits
    assert [line for line in waits if "#" not in line] == []


def test_the_runbook_has_no_heading_of_an_alert_that_is_gone() -> None:
    assert sorted(re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE)) == NAMES


def panels(dashboard: dict[str, Any]) -> list[int]:
    """List the ids of a dashboard's panels, those in collapsed rows too."""
    return [
        panel["id"]
        for outer in dashboard["panels"]
        for panel in [outer, *outer.get("panels", [])]
        if panel["type"] != "row"
    ]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_leads_to_a_panel_that_is_there(alert: Rule) -> None:
    files = (MONITORING / "grafana" / "dashboards").glob("*.json")
    dashboards = {board["uid"]: board for board in map(json.loads, map(Path.read_text, files))}

    link = re.fullmatch(
        r"/d/([\w-]+)\?viewPanel=panel-(\d+)(&var-testid=\{\{ \$labels.testid \}\})?",
        alert["annotations"]["dashboard"],
    )

    assert link
    assert int(link[2]) in panels(dashboards[link[1]])


def test_objectives_are_those_of_the_slo() -> None:
    assert slo_rules.FILE.read_text() == slo_rules.text(), "run `just rules`"


def amtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find("amtool"), *words], capture_output=True, text=True, check=False)


@pytest.mark.stack
def test_each_alert_ends_where_it_should() -> None:
    file = ALERTMANAGER / "alertmanager.yml"
    for alert in ALERTS:
        labels = [f"{name}={value}" for name, value in alert["labels"].items()]
        name = f"alertname={alert['alert']}"
        outcome = amtool("config", "routes", "test", f"--config.file={file}", name, *labels)

        expected = "shown" if alert["alert"] == "LoadTestRunning" else "notifications"
        assert outcome.stdout.split() == [expected], alert["alert"]


def test_inhibitions_name_alerts_and_areas_that_exist() -> None:
    config = yaml.safe_load((ALERTMANAGER / "alertmanager.yml").read_text())
    matchers = [
        matcher
        for rule in config["inhibit_rules"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]
    ]
    named = re.findall(r'alertname[=!~]+"([\w|]+)"', " ".join(matchers))

    assert {name for names in named for name in names.split("|")} <= set(NAMES)
    assert set(re.findall(r'area="([\w-]+)"', " ".join(matchers))) <= AREAS


@pytest.mark.stack
def test_the_example_receivers_are_accepted_and_hold_no_secret(tmp_path: Path) -> None:
    """Each is put into the delivered configuration, as a user would."""
    config = yaml.safe_load((ALERTMANAGER / "alertmanager.yml").read_text())
    examples = ALERTMANAGER / "examples" / "receivers.yml"
    assert amtool("check-config", examples).returncode == 0
    for receiver in yaml.safe_load(examples.read_text())["receivers"]:
        config["receivers"].append(receiver)
        config["route"]["routes"].insert(0, {"receiver": receiver["name"], "continue": True})
        secrets = re.findall(
            r"'[\w.]*(?:password|token|url|credentials)\w*': '([^']+)'", str(receiver)
        )
        assert secrets
        assert [secret for secret in secrets if not secret.startswith("secrets/")] == []
    whole = tmp_path / "alertmanager.yml"
    whole.write_text(yaml.safe_dump(config))

    outcome = amtool("check-config", whole)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    broken = tmp_path / "broken.yml"
    broken.write_text(yaml.safe_dump({**config, "receivers": config["receivers"][:2]}))
    assert amtool("check-config", broken).returncode != 0
