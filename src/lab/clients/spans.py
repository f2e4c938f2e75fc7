"""Spans in one form, whichever store they come from, and the period of a run."""

from msgspec import Struct, field

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
    """A request of a run: what its server span says, and all spans; searches return none."""

    trace_id: str
    operation: str
    start: float
    duration: float
    status: int | None
    spans: list[Span] = field(default_factory=list)
