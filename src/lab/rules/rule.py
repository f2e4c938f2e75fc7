"""Build recording rules, alerts and groups of them."""

from typing import Any

from lab.dashboards.generate import panel_url
from lab.rules import runbook
from lab.stack import compose

# The address of Grafana, which prometheus.yml takes from the environment.
DASHBOARDS = "{{ $externalLabels.dashboards }}"

Rule = dict[str, Any]
Group = dict[str, Any]


def group(name: str, rules: list[Rule], interval: str = "") -> Group:
    """Group rules that are evaluated one after the other; by default every 5 s."""
    return {"name": name} | ({"interval": interval} if interval else {}) | {"rules": rules}


def docker_memory_limit(service: str) -> str:
    return f"{compose.services()[service]['mem_limit'].removesuffix('m')} MiB"


def record(name: str, expression: str, **labels: str) -> Rule:
    """Record an expression under a name, and under labels that replace its own."""
    return {"record": name} | ({"labels": labels} if labels else {}) | {"expr": expression}


def alert(  # noqa: PLR0913 - an alert has that many parts
    name: str,
    expression: str,
    *,
    wait: str = "0s",
    keep_firing: str = "",
    severity: str,
    area: str,
    summary: str,
    description: str,
    panel: tuple[str, str],
    of_run: bool = False,
    **labels: str,
) -> Rule:
    """Alert where an expression has a value for as long as `wait`.

    `panel` is a dashboard's uid and a panel's title; `of_run` opens it for the run of the alert.
    """
    run = "&var-testid={{ $labels.testid }}" if of_run else ""
    return (
        {"alert": name, "expr": expression, "for": wait}
        | ({"keep_firing_for": keep_firing} if keep_firing else {})
        | {
            "labels": {"severity": severity, "area": area} | labels,
            "annotations": {
                "summary": summary,
                "description": description,
                "runbook_url": f"{runbook.URL}#{runbook.anchor(name)}",
                "dashboard_url": f"{DASHBOARDS}{panel_url(*panel)}{run}",
            },
        }
    )
