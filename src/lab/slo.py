"""The SLO: limits from performance/slo.json, from which k6's thresholds are made as well.

A profile may replace an operation's limits. All requests together have their own.
"""

import json
from dataclasses import dataclass
from typing import Any

from lab.paths import PROJECT

FILE = PROJECT / "performance" / "slo.json"


@dataclass(frozen=True, slots=True)
class Limits:
    """The p95 in seconds that requests may reach, and the share of them, 0 to 1, that may fail."""

    p95: float
    failed_share: float


_SLO: dict[str, Any] = json.loads(FILE.read_text())

OPERATIONS: tuple[str, ...] = tuple(_SLO["operations"])
PROFILES: tuple[str, ...] = tuple(_SLO["profiles"])


def limits(operation: str, profile: str = "load") -> Limits:
    """Return the limits of an operation under a profile; organic traffic is held to `load`."""
    replaced = _SLO["profiles"][profile].get("each_operation", {})
    return _limits({**_SLO["operations"][operation], **replaced})


def aborts_on_failure(profile: str) -> bool:
    """Tell whether the first threshold that fails ends a run of this profile."""
    return bool(_SLO["profiles"][profile].get("abort_on_failure"))


def all_requests_limits() -> Limits:
    """Return the limits of all requests together, which no profile replaces."""
    return _limits(_SLO["every_request"])


def _limits(stated: dict[str, Any]) -> Limits:
    return Limits(stated["p95_ms"] / 1000, stated["failed_share"])
