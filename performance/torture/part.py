"""A part of `just torture`: what it promises, how it is run, and what it found."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.console import say
from performance.stack import Stack, temporary_stack

SHORTEST_SECONDS = 2.0

Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class Result:
    """Whether the promise was kept, and the figures that show it."""

    passed: bool
    figures: Figures


@dataclass
class Context:
    """What a part runs with: a stack of its own, a folder for results, a scale of its times."""

    results: Path
    scale: float = 1.0
    """Factor of the part's lengths; `--quick` makes it smaller."""
    resources: ExitStack = field(default_factory=ExitStack)
    started: Stack | None = None

    @property
    def stack(self) -> Stack:
        """Return the native stack, which starts when it is first used and ends with the part."""
        return self.started or self.start_stack()

    def start_stack(self, **environment: str) -> Stack:
        """Start the native stack with more environment variables."""
        if self.started:
            raise RuntimeError("The part has a stack already.")
        self.say("Starting a stack of its own.")
        self.started = self.resources.enter_context(temporary_stack(self.results, **environment))
        return self.started

    def seconds(self, full: float) -> float:
        """Scale a length in seconds."""
        return max(full * self.scale, min(full, SHORTEST_SECONDS))

    def times(self, full: int) -> int:
        """Scale a number of repetitions; at least one remains."""
        return max(round(full * self.scale), 1)

    def say(self, text: str) -> None:
        say(f"    {text}")


@dataclass(frozen=True)
class Part:
    """One promise and the function that puts it to the test."""

    name: str
    promise: str
    minutes: float
    """About how long it takes, with the start of its stack."""
    run: Callable[[Context], Result]
