"""What the lab needs of a trace store; lab.clients.tempo and lab.clients.jaeger provide it."""

import dataclasses
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from lab.clients.spans import Period, Span, Trace, request_spans
from lab.errors import UserError

TRACE_ID_DIGITS = 32
TRACE_ID_PREFIX = re.compile(rf"[0-9a-f]{{1,{TRACE_ID_DIGITS}}}")
DAY = 24 * 3600.0
# The API's clock and k6's may differ a little.
MARGIN = 60.0
SEARCH_LIMIT = 500
MAX_SEARCHES = 16
FAILED_LIMIT = 100
# Tempo's searches begin and end at whole seconds.
SHORTEST_WINDOW = 1.0


class TraceStoreError(UserError):
    """The trace store cannot answer; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TraceSearch:
    """Which requests to search: those of one run, or of one operation in it."""

    run_id: str
    period: Period
    operation: str = ""
    window: tuple[float, float] | None = None
    """Its start and end in seconds since 1970, if only a part of the run is searched."""

    @property
    def start(self) -> float:
        return self.window[0] if self.window else self.period.started - MARGIN

    @property
    def end(self) -> float:
        return self.window[1] if self.window else self.period.ended + MARGIN


class TraceStore(Protocol):
    """A trace store that can be searched for the requests of a run, several in a trace."""

    name: str

    def slower_than(
        self, search: TraceSearch, seconds: float, limit: int
    ) -> tuple[list[Trace], bool]:
        """Find requests that took longer, and tell whether the limit of traces left some out."""

    def failed(
        self, search: TraceSearch, statuses: Iterable[int], limit: int
    ) -> tuple[list[Trace], bool]:
        """Find requests that ended with one of the statuses, as `slower_than` does."""

    def spans(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace; none if there is no such trace."""

    def ids_with_prefix(self, prefix: str) -> list[str]:
        """List the ids of the last day's traces that start with a prefix."""


def slowest(store: TraceStore, search: TraceSearch, count: int, guess: float) -> list[Trace]:
    """Find the slowest requests, starting with a guess at the seconds that few of them exceed.

    Neither store sorts by duration: each returns any matches up to the limit. So the threshold is
    lowered while too few match, and raised while the limit leaves some out.
    """
    low, high = 0.0, float("inf")
    matches: dict[str, Trace] = {}
    for _ in range(MAX_SEARCHES):
        batch, incomplete = store.slower_than(search, guess, SEARCH_LIMIT)
        matches |= {match.key: match for match in batch}
        if not incomplete and (len(batch) >= count or guess == 0):
            break
        if incomplete:
            low = guess
        else:
            high = guess
        guess = _between(low, high)
    return sorted(matches.values(), key=lambda match: -match.duration)[:count]


def latest_failed(
    store: TraceStore, search: TraceSearch, statuses: Collection[int], count: int
) -> list[Trace]:
    """Find the failed requests that started last, the last one first.

    Neither store sorts by time, either. So windows are searched from the end backwards, each made
    shorter until the limit leaves nothing out.
    """
    matches: dict[str, Trace] = {}
    complete: set[str] = set()
    end = min(search.end, time.time())  # Tempo answers for a time to come with any traces
    length = end - search.start
    for _ in range(MAX_SEARCHES):
        start = max(search.start, end - length)
        window = dataclasses.replace(search, window=(start, end))
        batch, incomplete = store.failed(window, statuses, FAILED_LIMIT)
        matches |= {match.key: match for match in batch}
        if incomplete and length > SHORTEST_WINDOW:
            length = max(length / 4, SHORTEST_WINDOW)
            continue
        complete |= {match.key for match in batch}
        if len(complete) >= count or start <= search.start:
            break
        end, length = start, 2 * length
    return sorted(matches.values(), key=lambda match: -match.start)[:count]


def with_spans(store: TraceStore, traces: list[Trace]) -> list[Trace]:
    """Add the spans of each request."""
    return [
        replace(trace, spans=request_spans(store.spans(trace.trace_id), trace.span_id))
        for trace in traces
    ]


def _between(low: float, high: float) -> float:
    """Step by a factor of four until both bounds are known, then halve."""
    if high == float("inf"):
        return low * 4 or 0.001
    if low == 0:
        return high / 4 if high > 0.001 else 0.0  # noqa: PLR2004 - a millisecond
    return (low + high) / 2


def complete_trace_id(store: TraceStore, text: str, saved: Iterable[str] = ()) -> str:
    """Complete the first digits of a trace id from the store's newest traces and saved ids."""
    prefix = text.strip().lower()
    if not TRACE_ID_PREFIX.fullmatch(prefix):
        raise TraceStoreError(
            f"{text!r} is not a trace id. Type its {TRACE_ID_DIGITS} hex digits or the first few."
        )
    if len(prefix) == TRACE_ID_DIGITS:
        return prefix
    ids = sorted(
        {*store.ids_with_prefix(prefix), *(one for one in saved if one.startswith(prefix))}
    )
    if not ids:
        raise TraceStoreError(
            f"No trace among the newest in {store.name} or in saved runs starts with {prefix}: "
            f"type all {TRACE_ID_DIGITS} digits."
        )
    if len(ids) > 1:
        raise TraceStoreError(
            f"{len(ids):,} traces start with {prefix}; type more digits: {', '.join(ids[:5])}"
        )
    return ids[0]


def last_day() -> tuple[float, float]:
    now = time.time()
    return now - DAY, now + MARGIN
