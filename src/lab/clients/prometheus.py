"""Ask Prometheus for the numbers of a run."""

import math
from collections.abc import Iterator
from typing import Any, Self

import httpx

from lab.errors import UserError

# The count of each bucket by its upper bound.
Buckets = dict[float, float]
Series = tuple[dict[str, str], list[tuple[int, Any]]]


class PrometheusError(UserError):
    """Prometheus cannot answer; the message says what to do."""


class Prometheus:
    """The query API of one Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=15.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """Raise unless Prometheus is up and ready for queries."""
        answer = self._answer("/-/ready")
        if answer.status_code != httpx.codes.OK:
            raise PrometheusError(
                f"Prometheus at {self.url} is not ready yet (status {answer.status_code}): "
                "try again in some seconds."
            )

    def by_label(self, query: str, label: str, at: float) -> dict[str, float]:
        """Give an expression's values at a time, by one label; what is not a number is left out."""
        return {
            series["metric"].get(label, ""): value
            for series in self._get("/api/v1/query", query=query, time=_time(at))["result"]
            if not math.isnan(value := float(series["value"][1]))
        }

    def series(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
        """Give an expression's values at a time, each with all its labels."""
        found = self._get("/api/v1/query", query=query, time=_time(at))["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def over_time(
        self, query: str, label: str, moments: list[float]
    ) -> dict[str, list[float | None]]:
        """Give an expression's values at evenly spaced moments, by one label."""
        found: dict[str, list[float | None]] = {}
        for labels, samples in self._range(query, "values", moments):
            values = found.setdefault(labels.get(label, ""), [None] * len(moments))
            for place, value in samples:
                if not math.isnan(number := float(value)):
                    values[place] = number
        return found

    def histograms(self, query: str, label: str, moments: list[float]) -> dict[str, list[Buckets]]:
        """Give an expression's native histograms at evenly spaced moments, by one label."""
        found: dict[str, list[Buckets]] = {}
        for labels, samples in self._range(query, "histograms", moments):
            histograms = found.setdefault(labels.get(label, ""), [{} for _ in moments])
            for place, histogram in samples:
                buckets = histogram.get("buckets", [])
                histograms[place] = {float(upper): float(count) for _, _, upper, count in buckets}
        return found

    def _range(self, query: str, kind: str, moments: list[float]) -> Iterator[Series]:
        """Give each series' labels, and its samples of a kind with their moments' numbers."""
        step = moments[1] - moments[0] if len(moments) > 1 else 1.0
        asked = {
            "query": query,
            "start": _time(moments[0]),
            "end": _time(moments[-1] + step / 10),
            "step": _time(step),
        }
        for series in self._data(self._answer("/api/v1/query_range", form=asked))["result"]:
            samples = series.get(kind, [])
            places = [round((float(time) - moments[0]) / step) for time, _ in samples]
            yield (
                series["metric"],
                [(place, sample) for place, (_, sample) in zip(places, samples, strict=True)],
            )

    def number(self, query: str, at: float) -> float | None:
        """Give the one value of an expression at a time, or nothing."""
        values = self.by_label(query, "", at)
        return next(iter(values.values()), None)

    def sample_times(self, query: str, at: float) -> list[list[float]]:
        """Give the times of the samples that a range selector covers, series by series."""
        found = self._get("/api/v1/query", query=query, time=_time(at))["result"]
        return [[float(time) for time, _ in series["values"]] for series in found]

    def label_values(self, label: str, metric: str) -> list[str]:
        """List the values that a label has on a metric."""
        values = self._get(f"/api/v1/label/{label}/values", **{"match[]": metric})
        return [str(value) for value in values]

    def _get(self, path: str, **parameters: str) -> Any:
        return self._data(self._answer(path, parameters))

    def _data(self, answer: httpx.Response) -> Any:
        try:
            body = answer.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict) or body.get("status") != "success":
            reason = body.get("error") if isinstance(body, dict) else None
            raise PrometheusError(
                f"Prometheus at {self.url} refused a query (status {answer.status_code}): "
                f"{reason or 'its answer is not of the Prometheus API'}"
            )
        return body["data"]

    def _answer(
        self,
        path: str,
        parameters: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request("POST" if form else "GET", path, params=parameters, data=form)
        except httpx.TimeoutException:
            raise PrometheusError(
                f"Prometheus at {self.url} did not answer within 15 s: see `just status`."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise PrometheusError(
                f"Prometheus does not answer at {self.url}: is the stack up? `just up`"
            ) from None


def _time(at: float) -> str:
    return f"{at:.3f}"
