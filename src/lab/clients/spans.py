"""Spans in one form, whichever store they come from, and the period of a run."""

from msgspec import Struct, field

from lab.promql.selectors import Interval

# All metrics of a run have arrived this many seconds after its end, whatever was slow.
LATEST_FLUSH = 120.0

Attribute = str | int | float | bool


class Period(Struct, frozen=True):
    """The start and end of a run in seconds since 1970; a running one ends with its last sample."""

    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(self.ended - self.started, 0.001)

    @property
    def read_at(self) -> float:
        """A time at which all metrics of the run have arrived."""
        return self.ended + LATEST_FLUSH

    @property
    def window(self) -> str:
        """The PromQL range from `read_at` back over the whole run."""
        return f"{int(self.read_at - self.started) + 60}s"

    @property
    def interval(self) -> Interval | None:
        """What expressions at `read_at` cover: None for the whole run."""
        return None

    @property
    def ends_with_run(self) -> bool:
        return True


class Part(Period, frozen=True):
    """A part of a run, of which what had arrived by its end counts."""

    run: Period

    @property
    def read_at(self) -> float:
        return self.run.read_at if self.ends_with_run else self.ended

    @property
    def window(self) -> str:
        return f"{int(self.read_at - self.run.started) + 60}s"

    @property
    def interval(self) -> Interval | None:
        return Interval(f"{1000 * (self.read_at - self.started):.0f}ms")

    @property
    def ends_with_run(self) -> bool:
        return self.ended >= self.run.ended


class Span(Struct, frozen=True):
    """One span of a trace: `start` in seconds since 1970, `duration` in seconds."""

    id: str
    parent: str
    name: str
    service: str
    kind: str
    start: float
    duration: float
    attributes: dict[str, Attribute]
    error: bool


class Trace(Struct, frozen=True):
    """A request of a run: what its server span says, and its spans; searches return none.

    The trace may be that of a whole iteration of k6, with other requests.
    """

    trace_id: str
    operation: str
    start: float
    duration: float
    status: int | None
    spans: list[Span] = field(default_factory=list)
    span_id: str = ""
    """The server span."""

    @property
    def key(self) -> str:
        """Tells this request from every other one."""
        return f"{self.trace_id}-{self.span_id}" if self.span_id else self.trace_id


def request_spans(spans: list[Span], span_id: str) -> list[Span]:
    """Select, of the spans of a trace, k6's of a request and those below it; all if it is absent.

    Without k6's span, the server's is the first.
    """
    parents = {span.id: span.parent for span in spans}
    top = parents.get(span_id, "") if parents.get(span_id, "") in parents else span_id

    def belongs(span: Span) -> bool:
        seen, at = set[str](), span.id
        while at in parents and at not in seen and at != top:
            seen.add(at)
            at = parents[at]
        return at == top

    return [span for span in spans if belongs(span)] if span_id in parents else spans
