"""An OTLP receiver that counts what arrives: spans, and those of requests."""

import gzip
import json
from collections import Counter
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

received = Counter(spans=0, requests=0)


async def app(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/v1/traces":
        count(gzip.decompress(body) if (b"content-encoding", b"gzip") in scope["headers"] else body)
    headers = [(b"content-type", b"application/x-protobuf")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    answer = json.dumps(received).encode() if scope["path"] == "/received" else b""
    await send({"type": "http.response.body", "body": answer})


def count(body: bytes) -> None:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            received["spans"] += len(scope.spans)
            received["requests"] += sum(span.kind == Span.SPAN_KIND_SERVER for span in scope.spans)
