"""What the Docker and the native backend have in common."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from lab.console import printable
from lab.errors import UserError
from lab.stack.config import OWNER_ROLE
from lab.stack.log_lines import LogLine

UP = "up"
NEXT = (
    "Next: `just load` runs a load test, `just report` shows its results again, `just down` stops "
    "the stack."
)


class ServiceError(UserError):
    """A service did not start; shown with the last lines of its log."""

    def __init__(self, message: str, log: str, lines: list[str]) -> None:
        super().__init__(message)
        self.log = log
        self.lines = lines

    def format_message(self) -> str:
        lines = "".join(f"\n  {line}" for line in self.lines)
        return printable(f"{self.message}\n\nThe end of {self.log}:{lines or ' (empty)'}")


@dataclass(frozen=True)
class ServiceStatus:
    """A row of `just status`."""

    name: str
    version: str
    state: str
    uptime: str
    address: str


class Stack(Protocol):
    """The stack in one backend."""

    def up(self) -> None:
        """Start what is not running, restart what has changed, and print all addresses."""

    def down(self) -> None:
        """Stop every service; the data stays."""

    def restart(self, service: str) -> None:
        """Restart one service and wait until it is ready."""

    def states(self) -> list[ServiceStatus]:
        """Return the state of each service; an empty list if the stack is down."""

    def logs(self, service: str | None, lines: int, *, follow: bool) -> None:
        """Print the last log lines of one service, or of all, and optionally new ones."""

    def log_lines(self, service: str | None = None) -> list[LogLine]:
        """Return all log lines that are kept of one service, or of all."""

    def database_url(self, role: str = OWNER_ROLE) -> str:
        """Return a role's URL, with its password, for programs on this machine."""

    def without_api(self) -> AbstractContextManager[None]:
        """Stop the API during a block; then migrate the database and start the API again."""

    def data(self) -> str:
        """Describe the data that `destroy` removes; empty if there is none."""

    def destroy(self) -> None:
        """Stop every service and remove the data."""


def overview(addresses: dict[str, str], password: str, logs: str) -> str:
    """List where everything is, and the next commands."""
    rows = {
        **addresses,
        "database": f"clinic, user clinic, password {password}",
        "logs": f"{logs}`just logs [SERVICE] [-f]`",
    }
    return "\n".join(
        [
            "\nThe stack is up:",
            *(f"  {name:<17} {where}" for name, where in rows.items()),
            NEXT,
        ]
    )


def unknown_service(name: str, known: list[str]) -> UserError:
    return UserError(f"There is no service {name!r}; expected one of {', '.join(known)}.")


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM while the stack is being stopped."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
