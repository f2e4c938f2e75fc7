"""The alerts: each fires, holds and resolves, links to a panel and the runbook, is delivered."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinic.app import create_app
from clinic.settings import Settings
from lab import slo
from lab.paths import PROJECT
from lab.rules import generate, runbook
from lab.rules.rule import DASHBOARDS
from lab.stack.programs import find

MONITORING = PROJECT / "observability"
RULES = generate.FOLDER
UNITS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))
ALERTMANAGER = MONITORING / "alertmanager"

SEVERITIES = {"page", "ticket", "none", "heartbeat"}
# The one always fires, the other on an absence.
WITHOUT_VALUE = {"Watchdog", "ClinicDown"}
AREAS = {"service", "machine", "load-run", "telemetry"}

# They are not counted.
PROBES = {"/livez", "/readyz"}

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
def test_alerts_fire_hold_and_resolve(file: Path) -> None:
    outcome = promtool("test", "rules", file)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.stack
def test_a_unit_fails_if_its_rule_changes(tmp_path: Path) -> None:
    """The one example that these units can fail."""
    shutil.copytree(RULES, tmp_path / "rules")
    shutil.copytree(UNITS[0].parent, tmp_path / "tests")
    changed = tmp_path / "rules" / "api.yml"
    text = changed.read_text()
    assert "for: 25s" in text
    changed.write_text(text.replace("for: 25s", "for: 1m"))

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


@pytest.mark.parametrize("name", generate.FILES)
def test_rules_are_current(name: str) -> None:
    assert (RULES / f"{name}.yml").read_text() == generate.render(name), "run `just generate`"


def test_every_file_of_rules_is_generated() -> None:
    assert {file.stem for file in RULES.glob("*.yml")} == set(generate.FILES)


def checks_of(name: str) -> list[list[int]]:
    """List, unit by unit, how many alerts of a name are expected at each time, in order."""
    expected = [
        [len(check["exp_alerts"]) for check in checks if check["alertname"] == name]
        for _, checks in units()
    ]
    return [numbers for numbers in expected if numbers]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Watchdog"])
def test_each_alert_has_units_in_which_it_fires_resolves_and_holds(name: str) -> None:
    found = checks_of(name)

    assert any(unit[0] == 0 and any(unit) and unit[-1] == 0 for unit in found)
    assert any(not any(unit) for unit in found)


def test_each_burn_rate_has_units_in_which_it_fires_resolves_and_holds() -> None:
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


def test_the_watchdog_always_fires() -> None:
    assert checks_of("Watchdog") == [[1, 1]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_its_labels_and_a_section_in_the_runbook(alert: Rule) -> None:
    labels, annotations = alert["labels"], alert["annotations"]

    assert labels["severity"] in SEVERITIES
    assert labels["area"] in AREAS
    assert re.fullmatch(r"\d+[smh]", alert["for"])
    assert annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "$value" in annotations["description"] or alert["alert"] in WITHOUT_VALUE
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert page == runbook.URL
    assert f'<h3 id="{anchor}">{alert["alert"]}</h3>' in runbook.FILE.read_text()


def test_the_runbook_has_exactly_the_alerts() -> None:
    titles = re.findall(r"^### (\w+)$", runbook.SOURCE.read_text(), re.MULTILINE)

    assert sorted(titles) == NAMES


def test_the_runbooks_page_is_current_and_links_only_within_itself() -> None:
    page = runbook.FILE.read_text()

    assert page == runbook.render(), "run `just generate`"
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert len(re.findall("href=", page)) == len(re.findall('href="#', page))
    assert "{{" not in page  # Prometheus would expand it


def test_every_operation_has_an_objective() -> None:
    paths = create_app(Settings()).openapi_schema.to_schema()["paths"]
    operations = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if path not in PROBES
    }

    assert operations == set(slo.OPERATIONS)


def panels(dashboard: dict[str, Any]) -> list[int]:
    """List the ids of a dashboard's panels, those in collapsed rows too."""
    return [
        panel["id"]
        for outer in dashboard["panels"]
        for panel in [outer, *outer.get("panels", [])]
        if panel["type"] != "row"
    ]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_links_to_an_existing_panel(alert: Rule) -> None:
    files = (MONITORING / "grafana" / "dashboards").glob("*.json")
    dashboards = {board["uid"]: board for board in map(json.loads, map(Path.read_text, files))}

    link = re.fullmatch(
        re.escape(DASHBOARDS)
        + r"/d/([\w-]+)\?viewPanel=panel-(\d+)(&var-testid=\{\{ \$labels.testid \}\})?",
        alert["annotations"]["dashboard_url"],
    )

    assert link
    assert int(link[2]) in panels(dashboards[link[1]])


def amtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find("amtool"), *words], capture_output=True, text=True, check=False)


@pytest.mark.stack
def test_each_alert_reaches_its_receiver() -> None:
    file = ALERTMANAGER / "alertmanager.yml"
    for alert in ALERTS:
        labels = [f"{name}={value}" for name, value in alert["labels"].items()]
        name = f"alertname={alert['alert']}"
        outcome = amtool("config", "routes", "test", f"--config.file={file}", name, *labels)

        expected = "null" if alert["alert"] == "LoadTestRunning" else "notifications"
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
