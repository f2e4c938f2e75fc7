"""The HTTP API of Tempo 3, searched by TraceQL."""

import base64
import math
from collections.abc import Iterable
from typing import Any

from lab.clients.http import HttpClient
from lab.clients.spans import Attribute, Span, Trace
from lab.clients.trace_store import (
    SEARCH_LIMIT,
    TRACE_ID_DIGITS,
    TraceSearch,
    last_day,
)
from lab.promql import traceql

# Tempo returns this many matching spans of a trace at most.
MAX_REQUESTS = 100
SPAN_ID_DIGITS = 16


class Tempo:
    name = "Tempo"

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def slower_than(
        self, search: TraceSearch, seconds: float, limit: int
    ) -> tuple[list[Trace], bool]:
        longer_than = f"{seconds * 1e6:.0f}us"
        query = traceql.requests(search.run_id, operation=search.operation, longer_than=longer_than)
        traces = self._search(query, search.start, search.end, limit)
        return _requests(traces), len(traces) >= limit

    def failed(
        self, search: TraceSearch, statuses: Iterable[int], limit: int
    ) -> tuple[list[Trace], bool]:
        del statuses  # TraceQL compares them with 400
        query = traceql.requests(search.run_id, condition=traceql.FAILED)
        traces = self._search(query, search.start, search.end, limit)
        return _requests(traces), len(traces) >= limit

    def spans(self, trace_id: str) -> list[Span]:
        body = self._http.json("GET", f"/api/v2/traces/{trace_id}", allow_missing=True) or {}
        return [
            _span(span, _attributes(resource.get("resource", {})).get("service.name", ""))
            for resource in body.get("trace", {}).get("resourceSpans", [])
            for scope in resource.get("scopeSpans", [])
            for span in scope.get("spans", [])
        ]

    def ids_with_prefix(self, prefix: str) -> list[str]:
        ids = map(_trace_id, self._search(traceql.traces(prefix), *last_day(), SEARCH_LIMIT))
        # Tempo also returns ids that start with the prefix only without their leading zeros.
        return [trace_id for trace_id in ids if trace_id.startswith(prefix)]

    def _search(self, query: str, start: float, end: float, limit: int) -> list[dict[str, Any]]:
        parameters = {
            "q": query,
            "start": str(math.floor(start)),
            "end": str(math.ceil(end)),
            "limit": str(limit),
            "spss": str(MAX_REQUESTS),
        }
        body = self._http.json("GET", "/api/search", params=parameters)
        return body.get("traces") or []


def _requests(traces: list[dict[str, Any]]) -> list[Trace]:
    return [
        _request(trace, span)
        for trace in traces
        for span_set in trace["spanSets"]
        for span in span_set["spans"]
    ]


def _trace_id(trace: dict[str, Any]) -> str:
    return str(trace["traceID"]).rjust(TRACE_ID_DIGITS, "0")


def _request(trace: dict[str, Any], span: dict[str, Any]) -> Trace:
    attributes = _attributes(span)
    status = attributes.get("http.response.status_code")
    return Trace(
        trace_id=_trace_id(trace),
        operation=str(attributes.get("clinic.operation") or trace.get("rootTraceName", "")),
        start=int(span["startTimeUnixNano"]) / 1e9,
        duration=int(span.get("durationNanos", 0)) / 1e9,
        status=int(status) if status is not None else None,
        span_id=str(span["spanID"]).rjust(SPAN_ID_DIGITS, "0"),
    )


def _span(span: dict[str, Any], service: Attribute) -> Span:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return Span(
        id=_hex(span.get("spanId", "")),
        parent=_hex(span.get("parentSpanId", "")),
        name=span.get("name", ""),
        service=str(service),
        kind=str(span.get("kind", "")).removeprefix("SPAN_KIND_").lower(),
        start=start / 1e9,
        duration=(end - start) / 1e9,
        attributes=_attributes(span) | _status_message(span),
        error=span.get("status", {}).get("code") == "STATUS_CODE_ERROR",
    )


def _hex(encoded: str) -> str:
    return base64.b64decode(encoded).hex()


def _status_message(span: dict[str, Any]) -> dict[str, Attribute]:
    message = span.get("status", {}).get("message")
    return {"otel.status_description": message} if message else {}


def _attributes(owner: dict[str, Any]) -> dict[str, Attribute]:
    return {item["key"]: _value(item.get("value", {})) for item in owner.get("attributes", [])}


def _value(value: dict[str, Any]) -> Attribute:
    for kind, plain in value.items():
        if kind == "intValue":
            return int(plain)
        return plain if isinstance(plain, str | bool | float) else str(plain)
    return ""
