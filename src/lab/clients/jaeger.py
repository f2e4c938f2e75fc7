"""Traces from Jaeger 2, by exact tags."""

import json
from collections.abc import Iterable
from typing import Any

from lab.clients.spans import Attribute, Span
from lab.clients.trace_store import FULL_ID, Api, Found, RunTraces, last_day
from lab.promql.selectors import SERVICE

AMONG_THE_LAST = 2000


class Jaeger:
    """The query API of Jaeger 2."""

    name = "Jaeger"

    def __init__(self, api: Api) -> None:
        self._api = api

    def over(self, of: RunTraces, seconds: float, limit: int) -> tuple[list[Found], bool]:
        longer = {"minDuration": f"{seconds * 1e6:.0f}us"} if seconds > 0 else {}
        traces = self._search(of, {}, limit, **longer)
        return _requests(traces, of.run_id), len(traces) >= limit

    def failed(self, of: RunTraces, statuses: Iterable[int], count: int) -> list[Found]:
        found: list[Found] = []
        for status in statuses:
            tags = {"http.response.status_code": str(status)}
            found += _requests(self._search(of, tags, count), of.run_id)
        failed = [request for request in found if request.status and request.status >= 400]  # noqa: PLR2004
        return sorted(failed, key=lambda request: -request.start)[:count]

    def trace(self, trace_id: str) -> list[Span]:
        traces = self._api.json(f"/api/traces/{trace_id}").get("data") or []
        return [span for trace in traces for span in _spans(trace)]

    def ids_with_prefix(self, prefix: str) -> list[str]:
        start, end = last_day()
        traces = self._traces(start, end, AMONG_THE_LAST)
        ids = (_trace_id(trace) for trace in traces)
        return [trace_id for trace_id in ids if trace_id.startswith(prefix)]

    def _search(
        self, of: RunTraces, tags: dict[str, str], limit: int, **more: str
    ) -> list[dict[str, Any]]:
        of_operation = {"clinic.operation": of.operation} if of.operation else {}
        wanted = json.dumps({"k6.test_run_id": of.run_id} | of_operation | tags)
        return self._traces(of.start, of.end, limit, tags=wanted, **more)

    def _traces(self, start: float, end: float, limit: int, **more: str) -> list[dict[str, Any]]:
        body = self._api.json(
            "/api/traces",
            service=SERVICE,
            start=f"{start * 1e6:.0f}",
            end=f"{end * 1e6:.0f}",
            limit=str(limit),
            **more,
        )
        return body.get("data") or []


def _requests(traces: list[dict[str, Any]], run: str) -> list[Found]:
    return [
        Found(
            trace_id=_trace_id(trace),
            operation=str(span.attributes.get("clinic.operation", span.name)),
            start=span.start,
            duration=span.duration,
            status=_status(span),
        )
        for trace in traces
        for span in _spans(trace)
        if span.kind == "server" and span.attributes.get("k6.test_run_id") == run
    ]


def _status(span: Span) -> int | None:
    status = span.attributes.get("http.response.status_code")
    return int(status) if status is not None else None


def _trace_id(trace: dict[str, Any]) -> str:
    return str(trace["traceID"]).rjust(FULL_ID, "0")


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
