"""A client span for each statement that a traced request runs."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from clinic.telemetry.calls import CALL, Labels

TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", re.IGNORECASE)


class DatabaseSpans:
    """A client span around each statement that a traced request runs."""

    def __init__(self, engine: AsyncEngine, tracer: Tracer) -> None:
        self.engine = engine.sync_engine
        self.tracer = tracer
        self.where: Labels = {
            "db.system.name": "postgresql",
            "db.namespace": engine.url.database or "",
            "server.address": engine.url.host or "",
            "server.port": engine.url.port or 5432,
            "peer.service": "postgresql",  # the service graph's name for it, else its address
        }
        self.hooks: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self.start,
            "after_cursor_execute": self.end,
            "handle_error": self.fail,
        }

    def __enter__(self) -> None:
        for name, hook in self.hooks.items():
            event.listen(self.engine, name, hook)

    def __exit__(self, *_: object) -> None:
        for name, hook in self.hooks.items():
            event.remove(self.engine, name, hook)

    def start(self, _c: Any, _cur: Any, sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 SQLAlchemy's signature
        call = CALL.get()
        if call is None:
            return
        labels = statement_labels(sql)
        context.clinic_span = self.tracer.start_span(
            str(labels["db.query.summary"]),
            kind=SpanKind.CLIENT,
            attributes={
                **self.where,
                **labels,
                **call.run,
                "clinic.operation": call.operation,
            },
        )

    def end(self, _c: Any, _cur: Any, _sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 SQLAlchemy's signature
        span: Span | None = getattr(context, "clinic_span", None)
        if span is not None:
            span.end()

    def fail(self, failure: ExceptionContext) -> None:
        span: Span | None = getattr(failure.execution_context, "clinic_span", None)
        if span is None or not span.is_recording():
            return
        error = failure.original_exception
        state = getattr(error, "sqlstate", None)
        if state:
            span.set_attribute("db.response.status_code", state)
        span.set_attribute("error.type", state or type(error).__qualname__)
        span.set_status(StatusCode.ERROR)
        span.end()


@lru_cache(256)
def statement_labels(sql: str) -> Labels:
    """Describe a statement; its text has placeholders where values go."""
    operation = sql.split(None, 1)[0].upper()
    table = TABLE.search(sql)
    labels = {
        "db.operation.name": operation,
        "db.query.summary": f"{operation} {table[1]}" if table else operation,
        "db.query.text": sql,
    }
    return {**labels, "db.collection.name": table[1]} if table else labels
