"""What telemetry knows of the current request: its operation, load run, span and error."""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from litestar.types import HTTPScope, Scope
from opentelemetry import trace

RUN_ID = "k6.test_run_id"

Attributes = Mapping[str, str | int]
NO_RUN: Attributes = {}


@dataclass(slots=True)
class RequestContext:
    scope: HTTPScope
    method: str
    route: str | None
    run: Attributes
    """`k6.test_run_id` and `k6.scenario`; empty for a request that belongs to no load run."""
    error: Exception | None = None
    database_seconds: float = 0.0
    """What the statements took so far; counted for load runs only."""

    @property
    def operation(self) -> str:
        """Method and route, `POST /owners/{owner_id}/pets`: a name of low cardinality."""
        return f"{self.method} {self.route}" if self.route else self.method


CURRENT: ContextVar[RequestContext | None] = ContextVar("CURRENT", default=None)

BAGGAGE_ENTRY = re.compile(
    rb"\s*(k6\.test_run_id|k6\.scenario)\s*=\s*([A-Za-z0-9._:-]{1,64})\s*(?:;.*)?"
)


MAX_BAGGAGE = 8192
"""Bytes of baggage that W3C asks to be passed on; more is ignored."""
USUAL_BAGGAGE = 256
"""Bytes of baggage that is parsed once for all requests of a run."""


def parse_run(baggage: bytes) -> Attributes:
    """Read the load run from W3C baggage; ignore other entries and malformed values."""
    if len(baggage) <= USUAL_BAGGAGE:
        return parse_usual_run(baggage)
    return read_run(baggage) if len(baggage) <= MAX_BAGGAGE else {}


def read_run(baggage: bytes) -> Attributes:
    entries = (BAGGAGE_ENTRY.fullmatch(entry) for entry in baggage.split(b","))
    run = {entry[1].decode(): entry[2].decode() for entry in entries if entry}
    return run if RUN_ID in run else {}


parse_usual_run = lru_cache(16)(read_run)


def add_created_id(kind: str, key: int) -> None:
    """Add the ID of a new resource to the server span; other IDs come from the request's path."""
    trace.get_current_span().set_attribute(f"clinic.{kind}.id", key)


async def store_exception(error: Exception, _: Scope) -> None:
    """Keep the exception until the status of the response is known."""
    context = CURRENT.get()
    if context is not None:
        context.error = error


def add_trace_fields(record: logging.LogRecord) -> bool:
    """Add the trace and the load run of the current request to a log record."""
    span_context = trace.get_current_span().get_span_context()
    if span_context.is_valid:
        record.trace_id = f"{span_context.trace_id:032x}"
        record.span_id = f"{span_context.span_id:016x}"
    context = CURRENT.get()
    if context is not None:
        record.__dict__.update(
            {name.replace(".", "_"): value for name, value in context.run.items()}
        )
    return True
