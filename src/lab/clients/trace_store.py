"""What the lab needs of a trace store; lab.clients.tempo and lab.clients.jaeger provide it."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lab.clients.spans import Period, Span, Trace
from lab.errors import UserError

TRACE_ID_DIGITS = 32
TRACE_ID_PREFIX = re.compile(rf"[0-9a-f]{{1,{TRACE_ID_DIGITS}}}")
DAY = 24 * 3600.0
# The API's clock and k6's may differ a little.
MARGIN = 60.0
SEARCH_LIMIT = 500
MAX_SEARCHES = 16


class TraceStoreError(UserError):
    """The trace store cannot answer; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TraceSearch:
    """Which requests to search: those of one run, or of one operation in it."""

    run_id: str
    period: Period
    operation: str = ""

    @property
    def start(self) -> float:
        return self.period.started - MARGIN

    @property
    def end(self) -> float:
        return self.period.ended + MARGIN


class TraceStore(Protocol):
    """A trace store that can be searched for the requests of a run."""

    name: str

    def slower_than(
        self, search: TraceSearch, seconds: float, limit: int
    ) -> tuple[list[Trace], bool]:
        """Find requests that took longer, and tell whether the limit left some out."""

    def failed(self, search: TraceSearch, statuses: Iterable[int], limit: int) -> list[Trace]:
        """Find requests that ended with one of the statuses."""

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
        matches |= {match.trace_id: match for match in batch}
        if not incomplete and (len(batch) >= count or guess == 0):
            break
        if incomplete:
            low = guess
        else:
            high = guess
        guess = _between(low, high)
    return sorted(matches.values(), key=lambda match: -match.duration)[:count]


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
