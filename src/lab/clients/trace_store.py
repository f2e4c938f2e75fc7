"""Read traces in one form from whichever store the stack runs, Tempo or Jaeger."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Never, Protocol

import httpx

from lab.clients.spans import Period, Span
from lab.errors import UserError

HEX = re.compile(r"[0-9a-f]{1,32}")
FULL_ID = 32
A_DAY = 24 * 3600.0
# A request's spans may be stamped a little before k6's first or after its last sample.
MARGIN = 60.0
AT_ONCE = 500
TRIES = 16


class TraceStoreError(UserError):
    """The trace store cannot answer; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A request that a search found: its trace, and what its server span says."""

    trace_id: str
    operation: str
    start: float
    duration: float
    status: int | None


@dataclass(frozen=True, slots=True)
class RunTraces:
    """Which traces to search: those of one run, or of one operation in it."""

    run_id: str
    period: Period
    operation: str = ""

    @property
    def start(self) -> float:
        return self.period.started - MARGIN

    @property
    def end(self) -> float:
        return self.period.ended + MARGIN


class Store(Protocol):
    """What either trace store can do for a run."""

    name: str

    def over(self, of: RunTraces, seconds: float, limit: int) -> tuple[list[Found], bool]:
        """Find requests that took longer, and say whether some were left out for the limit."""

    def failed(self, of: RunTraces, statuses: Iterable[int], count: int) -> list[Found]:
        """Find requests that ended with one of the statuses."""

    def trace(self, trace_id: str) -> list[Span]:
        """Give the spans of a trace; none when there is no such trace."""

    def ids_with_prefix(self, prefix: str) -> list[str]:
        """Complete the beginning of a trace id, among the last day's traces."""


class Api:
    """GET on a trace store, each fault as one sentence."""

    def __init__(self, client: httpx.Client) -> None:
        self.url = str(client.base_url).rstrip("/")
        self._http = client

    def get(self, path: str, **parameters: str) -> httpx.Response:
        try:
            return self._http.get(path, params=parameters, headers={"Accept": "application/json"})
        except httpx.TimeoutException:
            raise TraceStoreError(
                f"The trace store at {self.url} did not answer within 20 s: see `just status`."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise TraceStoreError(
                f"The trace store does not answer at {self.url}: is the stack up? `just up`"
            ) from None

    def json(self, path: str, **parameters: str) -> Any:
        """Give the body of an answer; nothing for what the store does not have."""
        answer = self.get(path, **parameters)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if answer.status_code != httpx.codes.OK:
            raise TraceStoreError(
                f"The trace store at {self.url} refused a query (status {answer.status_code}): "
                f"{answer.text[:200].strip()}"
            )
        try:
            return answer.json()
        except ValueError:
            raise TraceStoreError(
                f"What answers at {self.url}{path} is no trace store: its answer is not JSON."
            ) from None


@contextmanager
def store_at(url: str) -> Iterator[Store]:
    """Find out which trace store answers there, and give it."""
    from lab.clients.jaeger import Jaeger  # noqa: PLC0415 - both stores import this module
    from lab.clients.tempo import Tempo  # noqa: PLC0415

    with httpx.Client(base_url=url, timeout=20.0) as client:
        api = Api(client)
        if api.get("/api/echo").text.strip() == "echo":
            yield Tempo(api)
        elif '"data"' in api.get("/api/services").text:
            yield Jaeger(api)
        else:
            raise_no_store(api)


def raise_no_store(api: Api) -> Never:
    raise TraceStoreError(
        f"What answers at {api.url} is neither Tempo nor Jaeger: TRACES_PORT must be the port of "
        "the store's query API."
    )


def slowest(store: Store, of: RunTraces, count: int, over: float) -> list[Found]:
    """Find the slowest requests of a run, starting at a duration that few should exceed.

    Neither store sorts by duration: both return the newest matches. So the threshold is lowered
    while it finds too few, and raised while it finds so many that some were left out.
    """
    too_low, too_high = 0.0, float("inf")
    found: dict[str, Found] = {}
    for _ in range(TRIES):
        batch, left_out = store.over(of, over, AT_ONCE)
        found |= {request.trace_id: request for request in batch}
        if not left_out and (len(batch) >= count or over == 0):
            break
        if left_out:
            too_low = over
        else:
            too_high = over
        over = _between(too_low, too_high)
    return sorted(found.values(), key=lambda request: -request.duration)[:count]


def _between(low: float, high: float) -> float:
    """Step by a factor of four until both bounds are known, then halve."""
    if high == float("inf"):
        return low * 4 or 0.001
    if low == 0:
        return high / 4 if high > 0.001 else 0.0  # noqa: PLR2004 - a millisecond
    return (low + high) / 2


def full_id(store: Store, beginning: str, known: Iterable[str] = ()) -> str:
    """Complete a trace id from its first digits, among the newest traces and the known ids."""
    prefix = beginning.strip().lower()
    if not HEX.fullmatch(prefix):
        raise TraceStoreError(
            f"{beginning!r} is no trace id: expected 32 hexadecimal digits, or the first of them."
        )
    if len(prefix) == FULL_ID:
        return prefix
    of_known = (one for one in known if one.startswith(prefix))
    ids = sorted({*store.ids_with_prefix(prefix), *of_known})
    if not ids:
        raise TraceStoreError(
            f"No trace begins {prefix} among the newest of {store.name}, or those that a run's "
            "record names: give all 32 digits."
        )
    if len(ids) > 1:
        raise TraceStoreError(
            f"{len(ids):,} traces begin {prefix}, give more digits: {', '.join(ids[:5])}"
        )
    return ids[0]


def last_day() -> tuple[float, float]:
    now = time.time()
    return now - A_DAY, now + 60
