"""Database spans: one span of kind CLIENT for each SQL statement."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from clinic.telemetry.context import CURRENT, Attributes

TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", re.IGNORECASE)


class DatabaseSpans:
    """Adds a database span for each statement of a traced request."""

    def __init__(self, engine: AsyncEngine, tracer: Tracer) -> None:
        self.engine = engine.sync_engine
        self.tracer = tracer
        self.server_attributes: Attributes = {
            "db.system.name": "postgresql",
            "db.namespace": engine.url.database or "",
            "server.address": engine.url.host or "",
            "server.port": engine.url.port or 5432,
            "peer.service": "postgresql",  # the service graph would show the address instead
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
        request = CURRENT.get()
        if request is None:
            return
        attributes = statement_attributes(sql)
        context.clinic_span = self.tracer.start_span(
            str(attributes["db.query.summary"]),
            kind=SpanKind.CLIENT,
            attributes={
                **self.server_attributes,
                **attributes,
                **request.run,
                "clinic.operation": request.operation,
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
def statement_attributes(sql: str) -> Attributes:
    """Describe a statement; its text has placeholders instead of values."""
    operation = sql.split(None, 1)[0].upper()
    table = TABLE.search(sql)
    attributes = {
        "db.operation.name": operation,
        "db.query.summary": f"{operation} {table[1]}" if table else operation,
        "db.query.text": sql,
    }
    return {**attributes, "db.collection.name": table[1]} if table else attributes
