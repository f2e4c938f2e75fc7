"""The API as a process, and what receives its telemetry."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from clinic.settings import Settings
from lab.stack.config import HOST
from lab.stack.ports import free as free_port
from tests.support.clinic import as_api


class OTLPReceiver(ThreadingHTTPServer):
    """Stores the names of the spans, and the newest counts of the histograms, that it receives."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), OTLPHandler)
        self.spans: list[str] = []
        self.trace_ids: set[bytes] = set()
        self.attributes: list[dict[str, str]] = []
        """Attributes of each span that are text."""
        self.dropped_attributes = 0
        self.spans_of: Counter[str] = Counter()
        """Number of spans by instance of the service."""
        self.counts_of: dict[str, dict[str, int]] = {}
        """Counts of histograms by instance of the service."""
        self.memory_of: dict[str, int] = {}
        """Bytes of memory by instance of the service."""
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def counts(self) -> Counter[str]:
        """Counts of histograms over all instances."""
        return sum((Counter(counts) for counts in self.counts_of.values()), Counter())

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"


class OTLPHandler(BaseHTTPRequestHandler):
    server: OTLPReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = [span.name for scope in spans.scope_spans for span in scope.spans]
                self.server.spans += names
                self.server.spans_of[instance(spans.resource)] += len(names)
                for span in (span for scope in spans.scope_spans for span in scope.spans):
                    self.server.trace_ids.add(span.trace_id)
                    self.server.dropped_attributes += span.dropped_attributes_count
                    self.server.attributes.append(
                        {it.key: it.value.string_value for it in span.attributes}
                    )
        elif self.path == "/v1/metrics":
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.server.counts_of.setdefault(instance(metrics.resource), {}).update(
                    {
                        metric.name: sum(
                            point.count for point in metric.exponential_histogram.data_points
                        )
                        for scope in metrics.scope_metrics
                        for metric in scope.metrics
                    }
                )
                self.server.memory_of[instance(metrics.resource)] = sum(
                    point.as_int
                    for scope in metrics.scope_metrics
                    for metric in scope.metrics
                    if metric.name == "process.memory.usage"
                    for point in metric.sum.data_points
                )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def instance(resource: Resource) -> str:
    attributes = {one.key: one.value.string_value for one in resource.attributes}
    return str(attributes["service.instance.id"])


@contextmanager
def serving(settings: Settings, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the API on a free port."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "clinic"],
        env={
            "CLINIC_DATABASE_URL": as_api(settings).database_url,
            "CLINIC_PORT": str(port),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://{HOST}:{port}"
    try:
        wait_until_ready(server, url)
        yield server, url
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


def wait_until_ready(server: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, server.communicate()[0]
        assert time.monotonic() < deadline, "not ready after 60 s"
        try:
            httpx.get(f"{url}/readyz").raise_for_status()
            break
        except httpx.TransportError:
            time.sleep(0.1)


def stop(server: subprocess.Popen[str]) -> tuple[float, list[dict[str, str]]]:
    """Send SIGTERM; return the seconds until the exit, and the log."""
    started = time.monotonic()
    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=30)
    return time.monotonic() - started, [json.loads(line) for line in output.splitlines()]
