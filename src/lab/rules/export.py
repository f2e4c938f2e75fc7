"""The rules for a Prometheus outside the stack: Mimir, Grafana Cloud or the Prometheus Operator's.

Rules about the stack itself (its Prometheus, trace store and machine) are left out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab import generated
from lab.errors import UserError
from lab.rules import api, error_budget, load_run, runbook, slo, telemetry
from lab.rules.rule import DASHBOARDS, Group, Rule

NAME = "vet-clinic"
KUBERNETES_NAMESPACE = "clinic"  # of deploy/kubernetes
# By it the routes and inhibitions tell these alerts from those of others.
LABEL = {"project": NAME}
# The default selector of kube-prometheus-stack, installed under its own name.
SELECTED_BY = {"release": "kube-prometheus-stack"}
# In the stack it is the 5 s of prometheus.yml; elsewhere the default may be a minute.
INTERVAL = "15s"
# Mimir's default limit.
MOST_RULES = 20


@dataclass(frozen=True, slots=True)
class Links:
    """The addresses of Grafana and of the runbook's page; without one, alerts have no such link."""

    grafana: str = ""
    runbook: str = ""


NO_LINKS = Links()


def address(text: str) -> str:
    """Return an address without the slash at its end; raise UserError if it is none."""
    if text and not re.fullmatch(r"https?://[^\s/?#{}]+[^\s?#{}]*", text):
        raise UserError(f"{text!r} is no address; expected one such as https://grafana.example.org")
    return text.rstrip("/")


def selector(labels: Iterable[str]) -> dict[str, str]:
    """Read labels written as NAME=VALUE; raise UserError if one is not."""
    pairs = [label.partition("=") for label in labels]
    if wrong := next(("".join(pair) for pair in pairs if not (pair[0] and pair[1])), None):
        raise UserError(f"{wrong!r} is no label; expected NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def groups(links: Links = NO_LINKS, **labels: str) -> list[Group]:
    """Build the groups of rules, each of at most 20 rules and with its interval."""
    built = [
        *slo.groups(),
        *error_budget.groups(),
        *api.groups_elsewhere(),
        *telemetry.groups_elsewhere(),
        *load_run.groups(),
    ]
    addresses = {DASHBOARDS: links.grafana, runbook.URL: links.runbook}
    return [
        {
            "name": part["name"],
            "interval": part.get("interval", INTERVAL),
            "rules": [_elsewhere(rule, addresses, LABEL | labels) for rule in part["rules"]],
        }
        for whole in built
        for part in _parts(whole)
    ]


def _parts(group: Group) -> list[Group]:
    """Split a group that is too large; only that of the limits is, whose rules are independent."""
    rules = group["rules"]
    if len(rules) <= MOST_RULES:
        return [group]
    return [
        group | {"name": f"{group['name']} {number}", "rules": rules[first : first + MOST_RULES]}
        for number, first in enumerate(range(0, len(rules), MOST_RULES), 1)
    ]


def _elsewhere(rule: Rule, addresses: Mapping[str, str], labels: Mapping[str, str]) -> Rule:
    if "record" in rule:
        return rule
    return rule | {
        "labels": rule["labels"] | labels,
        "annotations": _annotations(rule["annotations"], addresses),
    }


def _annotations(annotations: Mapping[str, str], addresses: Mapping[str, str]) -> dict[str, str]:
    """Name the panel as Grafana's own alert pages expect it, and put addresses into the links."""
    uid, panel = re.findall(r"/d/([^?]+)\?viewPanel=panel-(\d+)", annotations["dashboard_url"])[0]
    result = {"__dashboardUid__": uid, "__panelId__": panel}
    for name, text in annotations.items():
        home = next((home for home in addresses if text.startswith(home)), None)
        if home is None:
            result[name] = text
        elif addresses[home]:
            result[name] = addresses[home] + text.removeprefix(home)
    return result


def mimir(links: Links = NO_LINKS, namespace: str = NAME) -> str:
    """Render the rules for `mimirtool rules load` and `sync`."""
    return generated.to_yaml({"namespace": namespace, "groups": groups(links)})


def prometheus_rule(
    links: Links = NO_LINKS,
    namespace: str = KUBERNETES_NAMESPACE,
    selected_by: Mapping[str, str] = SELECTED_BY,
) -> str:
    """Render the rules as a PrometheusRule.

    Its alerts name the Kubernetes namespace, as an AlertmanagerConfig there expects.
    """
    spec = {"groups": groups(links, namespace=namespace)}
    return generated.to_yaml(
        manifest("monitoring.coreos.com/v1", "PrometheusRule", spec, namespace, selected_by)
    )


def manifest(
    version: str, kind: str, spec: object, namespace: str, labels: Mapping[str, str]
) -> dict[str, object]:
    """Build an object of the Prometheus Operator."""
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": NAME, **labels},
        },
        "spec": spec,
    }
