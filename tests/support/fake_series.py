"""Known series of a run, in the form in which k6 and a trace store send them to Prometheus."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from lab.clients.endpoint import Endpoint, remote_endpoint
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.stack.ports import free as free_port
from lab.stack.programs import find
from tests.support.programs import attributes, results, running
from tests.support.protected import Certificate, variables, web_config


@contextmanager
def a_prometheus(
    folder: Path,
    settings: str = "storage: { tsdb: { out_of_order_time_window: 30m } }\n",
    certificate: Certificate | None = None,
) -> Iterator[Prometheus]:
    """Run a Prometheus that accepts samples of up to half an hour ago and serves report pages.

    With a certificate it requires TLS and a password.
    """
    config = folder / "prometheus.yml"
    config.write_text(settings)
    url = f"http{'s' if certificate else ''}://127.0.0.1:{free_port()}"
    endpoint: Endpoint | str = url
    protection = []
    if certificate:
        endpoint = remote_endpoint("A", variables("A", url, certificate)) or url
        protection = [f"--web.config.file={web_config(folder, certificate)}"]
    command: list[str | Path] = [
        find("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.rpartition('/')[2]}",
        *protection,
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        f"--web.user-assets={results()}",
    ]
    with Prometheus(endpoint) as client:

        def is_ready() -> bool:
            try:
                client.check()
            except PrometheusError:
                return False
            return True

        with running(command, folder / "log", is_ready):
            yield client


@dataclass
class Feed:
    """A run whose metrics are collected here and pushed by `send`."""

    run: str
    ended: float
    seconds: float = 20.0
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        before = self.ended - self.seconds
        self.requests("GET /readyz", 1, before_the_load=True)
        # k6's first push comes some seconds after the start and has only the latest sample.
        for at in (before + 4, before + 9, self.ended):
            self._gauge("k6_vus", 5, {"testid": self.run}, at)

    def requests(
        self,
        name: str,
        count: int,
        status: int = 200,
        *,
        before_the_load: bool = False,
        at: float | None = None,
    ) -> None:
        labels = {
            "testid": self.run,
            "name": name,
            "status": str(status),
            "expected_response": "true" if status in range(200, 400) else "false",
        }
        if not before_the_load:
            labels["scenario"] = "load"
        moment = self.ended - self.seconds if before_the_load else at or self.ended
        self._counter("k6_http_reqs", count, labels, moment)

    def client_seconds(
        self,
        name: str,
        buckets: Mapping[int, int],
        took: float = 1.0,
        at: float | None = None,
        metric: str = "k6_http_req_duration",
    ) -> None:
        labels = {"testid": self.run, "name": name, "scenario": "load"}
        self._histogram(metric, buckets, labels, took, at)

    def spans(self, name: str, count: int, status: int = 200, kind: str = "SERVER") -> None:
        labels = self._span_labels(name, kind) | {"http.response.status_code": str(status)}
        self._counter("traces.spanmetrics.calls", count, labels, self.ended + 2)

    def rows(self, name: str, count: int) -> None:
        labels = self._span_labels(name, "CLIENT") | {"span.name": "INSERT owner"}
        self._counter("traces.spanmetrics.calls", count, labels, self.ended + 2)

    def span_seconds(  # noqa: PLR0913, PLR0917 - what a histogram has
        self,
        name: str,
        buckets: Mapping[int, int],
        kind: str = "SERVER",
        took: float = 1.0,
        at: float | None = None,
        scale: int = 0,
    ) -> None:
        labels = self._span_labels(name, kind)
        self._histogram("traces.spanmetrics.duration", buckets, labels, took, at, scale)

    def users(self, number: float, at: float) -> None:
        self._gauge("k6_vus", number, {"testid": self.run}, at)

    def errors(self, name: str, kind: str, count: int) -> None:
        labels = {"testid": self.run, "operation": name, "kind": kind, "scenario": "load"}
        self._counter("k6_errors", count, labels, self.ended)

    def statements(self, name: str, count: int, sqlstate: str = "") -> None:
        code = {"db.response.status_code": sqlstate} if sqlstate else {}
        labels = self._span_labels(name, "CLIENT") | {"span.name": "INSERT pet"} | code
        self._counter("traces.spanmetrics.calls", count, labels, self.ended + 2)

    def k6_counter(self, metric: str, count: int, **labels: str) -> None:
        named = {"testid": self.run, "scenario": "load"} | labels
        self._counter(metric, count, named, self.ended)

    def k6_gauge(self, metric: str, value: float, **labels: str) -> None:
        self._gauge(metric, value, {"testid": self.run, "scenario": "load"} | labels, self.ended)

    def k6_seconds(
        self, metric: str, buckets: Mapping[int, int], took: float, **labels: str
    ) -> None:
        named = {"testid": self.run, "scenario": "load"} | labels
        self._histogram(metric, buckets, named, took, None)

    def marks(
        self,
        profile: str,
        *,
        ended: bool = True,
        planned: float | None = None,
        thresholds: Mapping[tuple[str, str], bool] | None = None,
        reached: Mapping[tuple[str, str], float] = MappingProxyType({}),
    ) -> None:
        """Add what k6's script records about the run itself; without thresholds, no verdict."""
        labels = {"testid": self.run, "profile": profile, "journey": "book"}
        started = self.ended - self.seconds
        self._gauge("k6_run_started_timestamp_seconds", started, labels, started + 1)
        self._gauge("k6_run_planned_seconds", planned or self.seconds, labels, started + 1)
        if not ended:
            return
        self._gauge("k6_run_ended_timestamp_seconds", self.ended, labels, self.ended)
        if thresholds is None:
            return
        self._gauge("k6_run_thresholds", len(thresholds), labels, self.ended)
        for kind, values in (("passed", thresholds), ("reached", reached)):
            for (metric, threshold), value in values.items():
                named = labels | {"metric": metric, "threshold": threshold}
                self._gauge(f"k6_run_threshold_{kind}", value, named, self.ended)
        if thresholds:
            self._gauge("k6_run_passed", all(thresholds.values()), labels, self.ended)

    def send(self, prometheus: Prometheus) -> None:
        body = {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metrics": self.metrics}]}]}
        answer = httpx.post(f"{prometheus.url}/api/v1/otlp/v1/metrics", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        self.metrics.clear()

    def _span_labels(self, name: str, kind: str) -> dict[str, str]:
        return {
            "clinic.operation": name,
            "k6.test_run_id": self.run,
            "k6.scenario": "load",
            "span.kind": f"SPAN_KIND_{kind}",
        }

    def _gauge(self, name: str, value: float, labels: Mapping[str, str], at: float) -> None:
        self.metrics.append(
            {
                "name": name,
                "gauge": {"dataPoints": [self._point(labels, at, asDouble=float(value))]},
            }
        )

    def _counter(self, name: str, value: int, labels: Mapping[str, str], at: float) -> None:
        points = [self._point(labels, at, asDouble=value)]
        total = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}
        self.metrics.append({"name": name, "sum": total})

    def _histogram(  # noqa: PLR0913, PLR0917 - what a histogram has
        self,
        name: str,
        buckets: Mapping[int, int],
        labels: Mapping[str, str],
        took: float,
        at: float | None,
        scale: int = 0,
    ) -> None:
        """Add a histogram; at scale 0 bucket -6 is from 1/64 to 1/32 of a second."""
        first, last = min(buckets), max(buckets)
        counts = [buckets.get(number, 0) for number in range(first, last + 1)]
        positive = {"offset": first, "bucketCounts": counts}
        total = {"count": sum(counts), "sum": took, "scale": scale, "positive": positive}
        points = [self._point(labels, at or self.ended, **total)]
        data = {"aggregationTemporality": 2, "dataPoints": points}
        self.metrics.append({"name": name, "unit": "s", "exponentialHistogram": data})

    @staticmethod
    def _point(labels: Mapping[str, str], at: float, **value: object) -> dict[str, Any]:
        return {"attributes": attributes(labels), "timeUnixNano": f"{at * 1e9:.0f}", **value}


def run_id(profile: str = "load") -> str:
    """Return an id that no other test uses."""
    return f"20261123-{secrets.randbelow(10**6):06d}-{profile}-{secrets.token_hex(4)}"


# The p95 is half-way, by ratio, between 1/64 and 1/32 of a second: 22.1 ms.
P95_22_MS = {-7: 90, -6: 10}
# All are between 1/64 and 1/32 of a second, so the p95 is 95 % of the way: 30.2 ms.
P95_30_MS = {-6: 100}


def feed_a_run(prometheus: Prometheus, run: str, ended: float) -> Feed:
    feed = Feed(run, ended)
    feed.requests("GET /zoo", 40)
    feed.requests("GET /owners", 1134)
    feed.requests("POST /owners", 97, 201)
    feed.requests("POST /owners", 3, 503)
    feed.client_seconds("POST /owners", P95_30_MS)
    feed.client_seconds("GET /owners", P95_22_MS)
    feed.span_seconds("POST /owners", P95_22_MS)
    feed.span_seconds("POST /owners", {-7: 100}, kind="CLIENT")
    feed.spans("POST /owners", 97, 201)
    feed.spans("POST /owners", 3, 503)
    feed.spans("POST /owners", 99, kind="CLIENT")
    feed.spans("GET /owners", 1134)
    feed.spans("GET /zoo", 37)
    feed.send(prometheus)
    return feed
