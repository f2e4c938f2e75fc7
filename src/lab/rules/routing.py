"""Alertmanager's routes and inhibitions for Mimir and the Prometheus Operator.

They are those of observability/alertmanager/alertmanager.yml, for the alerts of this project only.
The receivers are examples.
"""

import re
from typing import Any

import yaml

from lab import generated
from lab.paths import OBSERVABILITY
from lab.rules import export

FILE = OBSERVABILITY / "alertmanager" / "alertmanager.yml"
[(LABEL, VALUE)] = export.LABEL.items()
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"(.*)"')
RECEIVER, NOWHERE = "notifications", "null"
SECRET = {"name": f"{export.NAME}-notifications", "key": "url"}

Route = dict[str, Any]


def mimir() -> str:
    """Render the whole configuration of a tenant, whose other alerts go to `others`."""
    ours, inhibitions = _routing()
    webhook = {"url": "https://example.org/alerts", "send_resolved": True}
    return generated.to_yaml(
        {
            "route": {"receiver": "others", "routes": [ours]},
            "receivers": [
                {"name": "others"},
                {"name": NOWHERE},
                {"name": RECEIVER, "webhook_configs": [webhook]},
            ],
            "inhibit_rules": inhibitions,
        }
    )


def alertmanager_config() -> str:
    """Render an AlertmanagerConfig, whose receiver takes its address from a Secret."""
    ours, inhibitions = _routing()
    webhook = {"urlSecret": SECRET, "sendResolved": True}
    spec = {
        "route": _operator_style(ours),
        "receivers": [{"name": NOWHERE}, {"name": RECEIVER, "webhookConfigs": [webhook]}],
        "inhibitRules": [_operator_style(rule) for rule in inhibitions],
    }
    return generated.to_yaml(
        export.manifest(
            "monitoring.coreos.com/v1alpha1",
            "AlertmanagerConfig",
            spec,
            export.KUBERNETES_NAMESPACE,
            {},
        )
    )


def _routing() -> tuple[Route, list[Route]]:
    """Read the route and the inhibitions, without those of alerts that are left out."""
    config = yaml.safe_load(FILE.read_text())
    ours = f'{LABEL}="{VALUE}"'
    route = {"matchers": [ours], **config["route"]}
    route["routes"] = [child for child in route["routes"] if _is_exported(child["matchers"])]
    inhibitions = [
        {name: value if name == "equal" else [ours, *value] for name, value in rule.items()}
        for rule in config["inhibit_rules"]
        if _is_exported(rule["source_matchers"])
    ]
    return route, inhibitions


def _is_exported(matchers: list[str]) -> bool:
    exported = {rule.get("alert") for group in export.groups() for rule in group["rules"]}
    named = [
        value
        for text in matchers
        for label, _, value in MATCHER.findall(text)
        if label == "alertname"
    ]
    return all(name in exported for names in named for name in names.split("|"))


def _operator_style(value: Any, name: str = "") -> Any:
    """Write names in camel case, and matchers as objects."""
    if isinstance(value, dict):
        return {
            _OPERATOR_NAMES.get(key)
            or re.sub(r"_(\w)", lambda match: match[1].upper(), key): _operator_style(child, key)
            for key, child in value.items()
        }
    if name.endswith("matchers"):
        return [_matcher(text) for text in value]
    if name == "routes":
        return [_operator_style(child) for child in value]
    return value


_OPERATOR_NAMES = {"source_matchers": "sourceMatch", "target_matchers": "targetMatch"}


def _matcher(text: str) -> dict[str, str]:
    [(label, kind, value)] = MATCHER.findall(text)
    return {"name": label, "value": value, "matchType": kind}
