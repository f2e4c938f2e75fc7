"""Database spans: one span of kind CLIENT for each SQL statement."""

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec
from zlib import crc32

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from sqlalchemy import event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from clinic.telemetry.context import CURRENT, Attributes

TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", re.IGNORECASE)

Parameters = ParamSpec("Parameters")

log = logging.getLogger(__name__)


def harmless(
    function: Callable[Parameters, Span | None],
) -> Callable[Parameters, Span | None]:
    """Log errors of the telemetry, so that they do not reach the statement."""

    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Span | None:
        try:
            return function(*arguments, **options)
        except Exception:
            log.exception("A statement cannot be traced")
            return None

    return call


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

    def __enter__(self) -> None:
        event.listen(self.engine, "do_execute", self.execute)

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "do_execute", self.execute)

    def execute(self, cursor: Any, sql: str, parameters: Any, context: ExecutionContext) -> bool:
        """Execute a statement within a span; return False to leave it to SQLAlchemy.

        This is one hook instead of one before and one after a statement: with those, SQLAlchemy
        checks for hooks at a dozen places in each statement.
        """
        span = self.start(sql)
        if span is None:
            return False
        try:
            context.dialect.do_execute(cursor, sql, parameters, context)
        except BaseException as error:
            fail(span, error)
            raise
        end(span)
        return True

    @harmless
    def start(self, sql: str) -> Span | None:
        """Start a span if the request has one."""
        request = CURRENT.get()
        if request is None or not trace.get_current_span().is_recording():
            return None
        attributes = statement_attributes(sql)
        return self.tracer.start_span(
            str(attributes["db.query.summary"]),
            kind=SpanKind.CLIENT,
            attributes={
                **self.server_attributes,
                **attributes,
                **request.run,
                "clinic.operation": request.operation,
            },
        )


@harmless
def end(span: Span) -> None:
    """End a statement's span; in a load run, add its duration to that of the request."""
    span.end()
    request = CURRENT.get()
    if request is None or not request.run or not isinstance(span, ReadableSpan):
        return
    if span.start_time is not None and span.end_time is not None:
        request.database_seconds += (span.end_time - span.start_time) / 1e9


@harmless
def fail(span: Span, error: BaseException) -> None:
    state = getattr(error, "sqlstate", None)
    if state:
        span.set_attribute("db.response.status_code", state)
    span.set_attribute("error.type", state or type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
    end(span)


@lru_cache(256)
def statement_attributes(sql: str) -> Attributes:
    """Describe a statement; its text has placeholders instead of values."""
    operation = sql.split(None, 1)[0].upper()
    table = TABLE.search(sql)
    attributes = {
        # Joins the span with PostgreSQL's statistics of the statement.
        "clinic.statement_id": f"{crc32(sql.encode()):08x}",
        "db.operation.name": operation,
        "db.query.summary": f"{operation} {table[1]}" if table else operation,
        "db.query.text": sql,
    }
    return {**attributes, "db.collection.name": table[1]} if table else attributes
