"""What both ways to run the stack have in common: what they do, and what they say of it."""

from dataclasses import dataclass
from typing import Protocol

from lab.errors import UserError

UP = "up"
NEXT = (
    "Next: `just load` puts a load on it, `just report` reads the run back, `just down` stops it."
)


class ServiceError(UserError):
    """A service that did not start; the message ends with the last lines of its log."""

    def __init__(self, message: str, log: str, lines: list[str]) -> None:
        end = [f"The last lines of {log}:", *(f"  {line}" for line in lines)] if lines else []
        super().__init__("\n".join([message, *end]))


@dataclass(frozen=True)
class ServiceStatus:
    """What a person is told of one part."""

    name: str
    version: str
    state: str
    uptime: str
    address: str


class Stack(Protocol):
    """One way to run the stack: in containers, or as processes of this machine."""

    def up(self) -> None:
        """Start whatever does not run, in order, and say where everything is."""

    def down(self) -> None:
        """Stop all of it; the data stays."""

    def states(self) -> list[ServiceStatus]:
        """Tell of each part, or of none where nothing runs."""

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last lines of a part's log, or of all, and what is added."""

    def data(self) -> str:
        """Say where the data is that destroy removes; nothing where there is none."""

    def destroy(self) -> None:
        """Stop all of it and remove the data."""


def line_ready(name: str, version: str, seconds: float, address: str) -> str:
    return f"{name:<13} {version:<8} ready in {seconds:>4.1f} s  {address}"


def line_migrated(seconds: float) -> str:
    return f"{'migrations':<13} {'':<8} done in {seconds:>5.1f} s"


def links(addresses: dict[str, str], database: str, logs: str) -> str:
    """Say where everything is and what to type next."""
    rows = {
        **addresses,
        "database": f"clinic, user clinic, password {database}",
        "logs": f"{logs}`just logs [part] [-f]`",
    }
    lines = [f"  {name:<13} {where}" for name, where in rows.items()]
    return "\n".join(
        [
            "\nThe stack is up:",
            *lines,
            NEXT,
        ]
    )
