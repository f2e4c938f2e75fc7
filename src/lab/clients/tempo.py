"""Traces from Tempo, by TraceQL."""

import base64
from collections.abc import Iterable
from typing import Any

from lab.clients.spans import Attribute, Span
from lab.clients.trace_store import AT_ONCE, FULL_ID, Api, Found, RunTraces, last_day
from lab.promql import traceql


class Tempo:
    """The query API of Tempo 3."""

    name = "Tempo"

    def __init__(self, api: Api) -> None:
        self._api = api

    def over(self, of: RunTraces, seconds: float, limit: int) -> tuple[list[Found], bool]:
        query = traceql.requests(
            of.run_id, operation=of.operation, longer_than=f"{seconds * 1e6:.0f}us"
        )
        found = self._search(query, of.start, of.end, limit)
        return found, len(found) >= limit

    def failed(self, of: RunTraces, statuses: Iterable[int], count: int) -> list[Found]:
        del statuses  # TraceQL compares numbers, it need not be told them
        return self._search(
            traceql.requests(of.run_id, condition=traceql.FAILED), of.start, of.end, count
        )

    def trace(self, trace_id: str) -> list[Span]:
        body = self._api.json(f"/api/v2/traces/{trace_id}")
        return [
            _span(span, _attributes(resource.get("resource", {})).get("service.name", ""))
            for resource in body.get("trace", {}).get("resourceSpans", [])
            for scope in resource.get("scopeSpans", [])
            for span in scope.get("spans", [])
        ]

    def ids_with_prefix(self, prefix: str) -> list[str]:
        # Tempo also finds ids that begin so once their leading zeros are stripped.
        query = traceql.traces(prefix)
        ids = (request.trace_id for request in self._search(query, *last_day(), AT_ONCE))
        return [trace_id for trace_id in ids if trace_id.startswith(prefix)]

    def _search(self, query: str, start: float, end: float, limit: int) -> list[Found]:
        body = self._api.json(
            "/api/search",
            q=query,
            start=f"{start:.0f}",
            end=f"{end:.0f}",
            limit=str(limit),
            spss="1",
        )
        return [_found(trace) for trace in body.get("traces") or []]


def _found(trace: dict[str, Any]) -> Found:
    span = trace["spanSets"][0]["spans"][0]
    attributes = _attributes(span)
    status = attributes.get("http.response.status_code")
    return Found(
        trace_id=str(trace["traceID"]).rjust(FULL_ID, "0"),
        operation=str(attributes.get("clinic.operation") or trace.get("rootTraceName", "")),
        start=int(span["startTimeUnixNano"]) / 1e9,
        duration=int(span.get("durationNanos", 0)) / 1e9,
        status=int(status) if status is not None else None,
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


def _attributes(holder: dict[str, Any]) -> dict[str, Attribute]:
    return {item["key"]: _value(item.get("value", {})) for item in holder.get("attributes", [])}


def _value(value: dict[str, Any]) -> Attribute:
    for kind, plain in value.items():
        if kind == "intValue":
            return int(plain)
        return plain if isinstance(plain, str | bool | float) else str(plain)
    return ""
