"""The HTTP API of Jaeger 2, searched by exact tags."""

import json
from collections.abc import Iterable
from typing import Any

from lab.clients.http import HttpClient
from lab.clients.spans import Attribute, Span, Trace
from lab.clients.trace_store import TRACE_ID_DIGITS, TraceSearch, last_day
from lab.promql.selectors import SERVICE

# Jaeger cannot search for ids, so a prefix is looked up among this many of the newest traces.
NEWEST = 2000
MIN_FAILED_STATUS = 400


class Jaeger:
    name = "Jaeger"

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def slower_than(
        self, search: TraceSearch, seconds: float, limit: int
    ) -> tuple[list[Trace], bool]:
        duration = {"minDuration": f"{seconds * 1e6:.0f}us"} if seconds > 0 else {}
        traces = self._search(search, {}, limit, **duration)
        slow = [it for it in _requests(traces, search) if it.duration >= seconds]
        return slow, len(traces) >= limit

    def failed(
        self, search: TraceSearch, statuses: Iterable[int], limit: int
    ) -> tuple[list[Trace], bool]:
        found = {
            status: self._search(search, {"http.response.status_code": str(status)}, limit)
            for status in statuses
        }
        failed = [
            request
            for status, traces in found.items()
            for request in _requests(traces, search)
            if request.status == status >= MIN_FAILED_STATUS
        ]
        return failed, any(len(traces) >= limit for traces in found.values())

    def spans(self, trace_id: str) -> list[Span]:
        body = self._http.json("GET", f"/api/traces/{trace_id}", allow_missing=True) or {}
        return [span for trace in body.get("data") or [] for span in _spans(trace)]

    def ids_with_prefix(self, prefix: str) -> list[str]:
        ids = map(_trace_id, self._traces(*last_day(), NEWEST))
        return [trace_id for trace_id in ids if trace_id.startswith(prefix)]

    def _search(
        self, search: TraceSearch, tags: dict[str, str], limit: int, **parameters: str
    ) -> list[dict[str, Any]]:
        operation = {"clinic.operation": search.operation} if search.operation else {}
        all_tags = json.dumps({"k6.test_run_id": search.run_id} | operation | tags)
        return self._traces(search.start, search.end, limit, tags=all_tags, **parameters)

    def _traces(
        self, start: float, end: float, limit: int, **parameters: str
    ) -> list[dict[str, Any]]:
        period = {"start": f"{start * 1e6:.0f}", "end": f"{end * 1e6:.0f}"}
        parameters |= {"service": SERVICE, "limit": str(limit)} | period
        body = self._http.json("GET", "/api/traces", params=parameters)
        return body.get("data") or []


def _requests(traces: list[dict[str, Any]], search: TraceSearch) -> list[Trace]:
    """List the requests that are searched; a trace that has one may have others, too."""
    requests = [
        Trace(
            trace_id=_trace_id(trace),
            operation=str(span.attributes.get("clinic.operation", span.name)),
            start=span.start,
            duration=span.duration,
            status=_status(span),
            span_id=span.id,
        )
        for trace in traces
        for span in _spans(trace)
        if span.kind == "server" and span.attributes.get("k6.test_run_id") == search.run_id
    ]
    return [it for it in requests if not search.operation or it.operation == search.operation]


def _status(span: Span) -> int | None:
    status = span.attributes.get("http.response.status_code")
    return int(status) if status is not None else None


def _trace_id(trace: dict[str, Any]) -> str:
    return str(trace["traceID"]).rjust(TRACE_ID_DIGITS, "0")


def _spans(trace: dict[str, Any]) -> list[Span]:
    services = {
        key: process.get("serviceName", "") for key, process in trace.get("processes", {}).items()
    }
    return [_span(span, services) for span in trace.get("spans", [])]


def _span(span: dict[str, Any], services: dict[str, str]) -> Span:
    tags: dict[str, Attribute] = {tag["key"]: tag["value"] for tag in span.get("tags", [])}
    return Span(
        id=span["spanID"],
        parent=_parent(span),
        name=span.get("operationName", ""),
        service=services.get(span.get("processID", ""), ""),
        kind=str(tags.pop("span.kind", "internal")),
        start=span["startTime"] / 1e6,
        duration=span["duration"] / 1e6,
        error=bool(tags.pop("error", False)),
        attributes={key: value for key, value in tags.items() if key != "otel.status_code"},
    )


def _parent(span: dict[str, Any]) -> str:
    for reference in span.get("references", []):
        if reference.get("refType") == "CHILD_OF":
            return str(reference["spanID"])
    return ""
