"""Relate what a run reached to its limits: k6's thresholds, or else those of the SLO."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lab.runs.record import OperationStats, Record, Threshold

ALL_REQUESTS = "all requests"
THRESHOLD = re.compile(
    r"http_req_(?P<metric>duration|failed)\{(?P<tag>name|scenario):(?P<name>.*)\} "
    r"(?:p\((?P<quantile>\d+)\)<(?P<ms>\d+)|rate<(?P<share>[\d.]+))"
)
CUSTOM_LIMIT = re.compile(r"[^<>]*[<>]=? ?(?P<limit>\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, and the value that a run reached: in seconds, as a share, or in k6's unit.

    `subject` is an operation, `ALL_REQUESTS` or a metric of k6; `quantity` is `p95`, `failed`, or a
    condition as k6 writes it.
    """

    subject: str
    quantity: str
    unit: Literal["seconds", "share", "custom"]
    limit: float | None
    reached: float | None
    met: bool

    @property
    def ratio(self) -> float:
        """The reached value as a multiple of the limit, 0 if one of them is unknown."""
        return (self.reached or 0.0) / self.limit if self.limit else 0.0


def find_limits(record: Record) -> list[Limit]:
    """List the limits of a run: those that it exceeded first, the furthest over first."""
    if record.thresholds:
        limits = [threshold_limit(threshold, record) for threshold in record.thresholds]
    else:
        limits = [one for row in (record.total, *record.operations) for one in _slo_limits(row)]
    return sorted(limits, key=lambda one: (one.met, -one.ratio))


def threshold_limit(threshold: Threshold, record: Record) -> Limit:
    """Read a threshold of k6, with the value of the record where k6's own is unknown."""
    known = THRESHOLD.fullmatch(f"{threshold.metric} {threshold.threshold}")
    if not known:
        number = CUSTOM_LIMIT.match(threshold.threshold)
        limit = float(number["limit"]) if number else None
        return Limit(
            threshold.metric,
            threshold.threshold,
            "custom",
            limit,
            threshold.reached,
            threshold.passed,
        )
    subject = ALL_REQUESTS if known["tag"] == "scenario" else known["name"]
    stats = _stats(record, subject)
    reached = threshold.reached
    if known["metric"] == "failed":
        reached = stats.failed_share if reached is None and stats else reached
        limit = float(known["share"])
        return Limit(subject, "failed", "share", limit, reached, threshold.passed)
    quantity = f"p{known['quantile']}"
    seconds = getattr(stats, f"client_{quantity}", None) if reached is None else reached / 1000
    limit = float(known["ms"]) / 1000
    return Limit(subject, quantity, "seconds", limit, seconds, threshold.passed)


def _stats(record: Record, subject: str) -> OperationStats | None:
    if subject == ALL_REQUESTS:
        return record.total
    return next((stats for stats in record.operations if stats.operation == subject), None)


def _slo_limits(stats: OperationStats) -> Iterator[Limit]:
    subject = ALL_REQUESTS if stats.operation == "All" else stats.operation
    if stats.limit_p95 is not None and stats.client_p95 is not None:
        met = stats.client_p95 <= stats.limit_p95
        yield Limit(subject, "p95", "seconds", stats.limit_p95, stats.client_p95, met)
    if stats.limit_failed_share is not None and stats.requests:
        met = stats.failed_share < stats.limit_failed_share
        yield Limit(subject, "failed", "share", stats.limit_failed_share, stats.failed_share, met)
