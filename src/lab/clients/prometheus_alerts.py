"""Ask Prometheus which alerts are active, and which there are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab.clients.http import ask

NAME = "Prometheus"


@dataclass(frozen=True)
class Alert:
    """An alert whose condition holds."""

    labels: dict[str, str]
    annotations: dict[str, str]
    firing: bool
    """Otherwise it is pending: its condition has not held for long enough."""
    since: datetime

    @property
    def name(self) -> str:
        return self.labels["alertname"]


def active_alerts(url: str) -> list[Alert]:
    """List the alerts that fire or are pending."""
    return [
        Alert(
            said["labels"],
            said["annotations"],
            said["state"] == "firing",
            datetime.fromisoformat(said["activeAt"]),
        )
        for said in get(url, "/api/v1/alerts")["alerts"]
    ]


def known_alerts(url: str) -> list[str]:
    """List the names of all alerts that have a rule."""
    groups = get(url, "/api/v1/rules", type="alert")["groups"]
    return sorted({rule["name"] for group in groups for rule in group["rules"]})


def get(url: str, path: str, **parameters: str) -> Any:
    return ask(NAME, "GET", url + path, params=parameters)["data"]
