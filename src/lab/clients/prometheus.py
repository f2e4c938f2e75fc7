"""The HTTP API of Prometheus: queries and alerts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from lab.clients.endpoint import Endpoint
from lab.clients.http import HttpClient
from lab.errors import UserError

# The count of each bucket by its upper bound.
Buckets = dict[float, float]


class PrometheusError(UserError):
    """Prometheus cannot answer; the message says what to do."""


@dataclass(frozen=True)
class Alert:
    """An alert that fires, or is pending until its condition has held for long enough."""

    labels: dict[str, str]
    annotations: dict[str, str]
    firing: bool
    since: datetime

    @property
    def name(self) -> str:
        return self.labels["alertname"]


class Prometheus(HttpClient):
    """Times are in seconds since 1970."""

    def __init__(self, endpoint: Endpoint | str) -> None:
        super().__init__("Prometheus", endpoint, PrometheusError)

    def check(self) -> None:
        """Raise unless Prometheus is ready for queries."""
        if self.endpoint.is_remote:  # it need not serve more than the API
            self._data("GET", "/api/v1/query", params={"query": "1"})
            return
        response = self.request("GET", "/-/ready")
        if response.status_code != httpx.codes.OK:
            raise PrometheusError(
                f"Prometheus at {self.url} is not ready yet (status {response.status_code}): "
                "try again in a few seconds."
            )

    def number(self, query: str, at: float) -> float | None:
        """Return the only value of an expression, or None."""
        return next(iter(self.by_label(query, "", at).values()), None)

    def by_label(self, query: str, label: str, at: float) -> dict[str, float]:
        """Return the values of an expression by one label, without those that are NaN."""
        return {
            labels.get(label, ""): value
            for labels, value in self.series(query, at)
            if not math.isnan(value)
        }

    def series(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
        """Return the values of an expression with all their labels."""
        return [(one["metric"], float(one["value"][1])) for one in self._query(query, at)]

    def sample_times(self, query: str, at: float) -> list[list[float]]:
        """Return the times of the samples that a range selector covers, by series."""
        return [[float(time) for time, _ in one["values"]] for one in self._query(query, at)]

    def over_time(
        self, query: str, label: str, times: list[float]
    ) -> dict[str, list[float | None]]:
        """Return the values of an expression at evenly spaced times, by one label."""
        values: dict[str, list[float | None]] = {}
        for labels, samples in self._query_range(query, "values", times):
            column = values.setdefault(labels.get(label, ""), [None] * len(times))
            for index, value in samples:
                if not math.isnan(number := float(value)):
                    column[index] = number
        return values

    def histograms(self, query: str, label: str, times: list[float]) -> dict[str, list[Buckets]]:
        """Return the native histograms of an expression at evenly spaced times, by one label."""
        histograms: dict[str, list[Buckets]] = {}
        for labels, samples in self._query_range(query, "histograms", times):
            column = histograms.setdefault(labels.get(label, ""), [{} for _ in times])
            for index, histogram in samples:
                buckets = histogram.get("buckets", [])
                column[index] = {float(upper): float(count) for _, _, upper, count in buckets}
        return histograms

    def label_values(self, label: str, selector: str) -> list[str]:
        """List the values of a label on the series of a selector."""
        path = f"/api/v1/label/{label}/values"
        return [str(value) for value in self._data("GET", path, params={"match[]": selector})]

    def active_alerts(self) -> list[Alert]:
        """List the alerts that are firing or pending."""
        return [
            Alert(
                alert["labels"],
                alert["annotations"],
                alert["state"] == "firing",
                datetime.fromisoformat(alert["activeAt"]),
            )
            for alert in self._data("GET", "/api/v1/alerts")["alerts"]
        ]

    def alert_names(self) -> list[str]:
        """List the names of all alerting rules."""
        groups = self._data("GET", "/api/v1/rules", params={"type": "alert"})["groups"]
        return sorted({rule["name"] for group in groups for rule in group["rules"]})

    def _query(self, query: str, at: float) -> Any:
        parameters = {"query": query, "time": _time(at)}
        return self._data("POST", "/api/v1/query", data=parameters)["result"]

    def _query_range(
        self, query: str, kind: str, times: list[float]
    ) -> Iterator[tuple[dict[str, str], list[tuple[int, Any]]]]:
        """Yield the labels of each series, and its samples with the indexes of their times."""
        step = times[1] - times[0] if len(times) > 1 else 1.0
        parameters = {
            "query": query,
            "start": _time(times[0]),
            "end": _time(times[-1] + step / 10),
            "step": _time(step),
        }
        for one in self._data("POST", "/api/v1/query_range", data=parameters)["result"]:
            samples = one.get(kind, [])
            yield (
                one["metric"],
                [(round((float(time) - times[0]) / step), sample) for time, sample in samples],
            )

    def _data(self, method: str, path: str, **options: Any) -> Any:
        body = self.json(method, path, **options)
        if not isinstance(body, dict) or "data" not in body:
            raise PrometheusError(f"What answers at {self.url} is not Prometheus.")
        return body["data"]


def _time(at: float) -> str:
    return f"{at:.3f}"
