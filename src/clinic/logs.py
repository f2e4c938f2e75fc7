"""Logs: one JSON object per line, without the messages of exceptions."""

import logging
import sys
from collections.abc import Iterator
from traceback import format_tb
from types import TracebackType

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter


class JSONFormatter(MsgspecFormatter):
    """Writes time, level, logger, message and the record's extra fields."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
            rename_fields={
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
            },
        )

    def formatException(  # noqa: N802 logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return frames(ei[1]) if ei[1] else ""


def frames(error: BaseException) -> str:
    """Format the traceback of an exception and of its causes, without their messages.

    A message may quote what a caller sent; frames show only the program's own lines.
    """
    return "".join(
        f"{''.join(format_tb(cause.__traceback__))}{type(cause).__module__}.{type(cause).__qualname__}\n"
        for cause in causes(error)
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception, its cause, the cause's cause and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def log_as_json(level: str = "INFO") -> None:
    """Log to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
