"""What a trace store is asked for and what it answers: a period, and spans."""

from msgspec import Struct

LATEST_FLUSH = 120.0

Attribute = str | int | float | bool


class Period(Struct, frozen=True):
    """When a run began and ended; one that is still on ends where it was read."""

    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(self.ended - self.started, 0.001)

    @property
    def read_at(self) -> float:
        """A time by which the last flush of every part is in."""
        return self.ended + LATEST_FLUSH

    @property
    def window(self) -> str:
        """The range from there back over the whole run."""
        return f"{int(self.read_at - self.started) + 60}s"


class Span(Struct, frozen=True):
    """One span of a trace; times are seconds, of the start since 1970."""

    id: str
    parent: str
    name: str
    service: str
    kind: str
    start: float
    duration: float
    attributes: dict[str, Attribute]
    error: bool
