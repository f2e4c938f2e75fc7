"""What a request is to its telemetry: its operation, its load run, its span and its log lines."""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from litestar.types import HTTPScope, Scope
from opentelemetry import trace

RUN_ID = "k6.test_run_id"

Labels = Mapping[str, str | int]


@dataclass(slots=True)
class Call:
    """A request as its telemetry knows it."""

    scope: HTTPScope
    method: str
    route: str | None
    run: Labels
    error: Exception | None = None

    @property
    def operation(self) -> str:
        """The request in low-cardinality words, `POST /owners/{owner_id}/pets`."""
        return f"{self.method} {self.route}" if self.route else self.method


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)

ENTRY = re.compile(rb"\s*(k6\.test_run_id|k6\.scenario)\s*=\s*([A-Za-z0-9._:-]{1,64})\s*(?:;.*)?")


@lru_cache(256)
def run_of(baggage: bytes) -> Labels:
    """Read the load run that W3C baggage names; other entries and odd values are ignored."""
    entries = (ENTRY.fullmatch(entry) for entry in baggage.split(b","))
    run = {entry[1].decode(): entry[2].decode() for entry in entries if entry}
    return run if RUN_ID in run else {}


async def note_exception(error: Exception, _: Scope) -> None:
    """Keep what a request raised until its answer's status is known."""
    call = CALL.get()
    if call is not None:
        call.error = error


def add_trace(record: logging.LogRecord) -> bool:
    """Add to a log record the trace and the run that it belongs to."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = f"{context.trace_id:032x}"
        record.span_id = f"{context.span_id:016x}"
    call = CALL.get()
    if call is not None and call.run:
        record.__dict__.update({name.replace(".", "_"): value for name, value in call.run.items()})
    return True
