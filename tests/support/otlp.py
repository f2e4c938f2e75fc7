"""Receivers of OTLP, by HTTP and by gRPC, that require a client's certificate and headers."""

import json
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.programs import running
from tests.support.protected import Certificate

AUTHORIZATION = "Basic YTpi"
REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


@dataclass
class Receiver:
    """A receiver, and the log in which it writes what it accepts."""

    url: str
    log: Path

    def accepted(self, field: str) -> set[str]:
        """Return the names of `spans` or `metrics`, or the `tenants`."""
        return {name for request in written(self.log) for name in request.get(field, ())}


def written(log: Path) -> list[dict[str, Any]]:
    """Read what a receiver has written; gRPC logs handshakes that fail between it."""
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


@contextmanager
def otlp_receiver(protocol: str, certificate: Certificate) -> Iterator[Receiver]:
    """Run a receiver in a process of its own: gRPC's threads would stay in that of the tests."""
    log = certificate.key.with_name("receiver.log")
    files = (certificate.certificate, certificate.key)
    command: list[str | Path] = [sys.executable, "-m", "tests.support.otlp", protocol, *files]
    with running(command, log, lambda: bool(written(log))):
        yield Receiver(f"https://localhost:{written(log)[0]['port']}", log)


def take(headers: Mapping[str, str], request: Any) -> bool:
    """Write the names in a request, if it has the password."""
    if headers.get("authorization") != AUTHORIZATION:
        return False
    names: dict[str, list[str]] = {"tenants": [headers.get("x-scope-orgid", "")]}
    names["spans"] = [
        span.name
        for traces in getattr(request, "resource_spans", ())
        for scope in traces.scope_spans
        for span in scope.spans
    ]
    names["metrics"] = [
        metric.name
        for metrics in getattr(request, "resource_metrics", ())
        for scope in metrics.scope_metrics
        for metric in scope.metrics
    ]
    print(json.dumps(names), flush=True)  # noqa: T201 - its log
    return True


def over_http(certificate: Certificate) -> tuple[int, Callable[[], Any]]:
    """Start a receiver; return its port and what runs until it ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            accepted = take(headers, REQUESTS[self.path].FromString(body))
            self.send_response(200 if accepted else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing where a handshake fails."""

    context = certificate.server_context()
    context.load_verify_locations(certificate.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("localhost", 0), Handler)
    # The handshake is each connection's own, so that one that fails does not end the server.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    return server.server_port, server.serve_forever


def over_grpc(certificate: Certificate) -> tuple[int, Callable[[], Any]]:
    """Start a receiver; return its port and what runs until it ends."""

    def answer(request: Any, context: Any, response: Any) -> Any:
        if not take(dict(context.invocation_metadata()), request):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return response

    class Traces(trace_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            return answer(request, context, ExportTraceServiceResponse())

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            return answer(request, context, ExportMetricsServiceResponse())

    server = grpc.server(ThreadPoolExecutor(4))
    trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call]
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call]
    authority = certificate.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [(certificate.key.read_bytes(), authority)], authority, require_client_auth=True
    )
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    return port, server.wait_for_termination


if __name__ == "__main__":
    start = over_grpc if sys.argv[1] == "grpc" else over_http
    port, run = start(Certificate(Path(sys.argv[2]), Path(sys.argv[3])))
    print(json.dumps({"port": port}), flush=True)  # noqa: T201 - its log
    run()
