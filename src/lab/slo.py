"""The objective, once: performance/slo.json, as k6's thresholds, the dashboards and alerts read it.

A request of a load run is held to its operation's objective, which a profile may replace, and all
requests together to that of every request.
"""

import json
from dataclasses import dataclass
from typing import Any

from lab.paths import PROJECT

FILE = PROJECT / "performance" / "slo.json"


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests must hold to: seconds that 95 of 100 stay below, and a share that may fail."""

    p95: float
    failed_share: float


_STATED: dict[str, Any] = json.loads(FILE.read_text())

OPERATIONS: tuple[str, ...] = tuple(_STATED["operations"])
PROFILES: tuple[str, ...] = tuple(_STATED["profiles"])


def limits(operation: str, profile: str = "load") -> Limits:
    """Give what an operation must hold to under a profile; organic traffic is held to `load`."""
    instead = _STATED["profiles"][profile].get("each_operation", {})
    return _limits({**_STATED["operations"][operation], **instead})


def all_requests_limits() -> Limits:
    """Give what all requests together must hold to, whatever the profile."""
    return _limits(_STATED["every_request"])


def _limits(stated: dict[str, Any]) -> Limits:
    return Limits(stated["p95_ms"] / 1000, stated["failed_share"])
