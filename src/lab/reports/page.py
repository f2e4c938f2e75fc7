"""Make HTML pages that need nothing else: one style, one script, no network."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from lab.console import clock, duration, factor, milliseconds, percent, plain
from lab.findings.names import verdict_text
from lab.reports import resource_text, sentences

TEMPLATES = Path(__file__).parent / "templates"
# Longer pieces of a path may break anywhere, else one of them could make a table too wide.
MAX_PIECE = 32
# After these the name of a setting, a metric or a program may break, but not inside a number.
IN_NAME = re.compile(r"(?<=[_,/])(?=\S)|(?<=[^\d\s]\.)(?=\S)")
# Paths, units such as req/s and intervals of time; and the space between a number and its unit.
UNBROKEN = re.compile(r"(\d+:\d\d-\d+:\d\d|\S*/\S*)")
BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms\b|s\b|min\b|req/s|[kMG]i?B\b))")


def template(name: str) -> Template:
    """Load a template that escapes every value, with the formatters of the terminal reports."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "clock": clock,
        "condition": sentences.condition_text,
        "count": "{:,}".format,
        "day": lambda at: f"{datetime.fromtimestamp(at, UTC):%A, %d %B %Y, %H:%M:%S} UTC",
        "duration": duration,
        "factor": factor,
        "fine_ms": fine_milliseconds,
        "memory": resource_text.memory,
        "ms": milliseconds,
        "name": separable,
        "path": path,
        "percent": percent,
        "plain": plain,
        "pretty": partial(json.dumps, indent=2),
        "prose": prose,
        "rate": "{:,.1f}".format,
        "reached": sentences.reached_text,
        "verdict_text": verdict_text,
    }
    environment.globals |= {"script": Markup(_script()), "script_hash": _script_hash()}  # noqa: S704 - a file of the project
    return environment.get_template(name)


@cache
def _script() -> str:
    return (TEMPLATES / "script.js").read_text().strip()


@cache
def _script_hash() -> str:
    """Return what a Content Security Policy allows the script by."""
    digest = hashlib.sha256(f"\n{_script()}\n".encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def fine_milliseconds(seconds: float | None) -> str:
    """Write milliseconds, with microseconds where there is less than one."""
    if seconds is None or not 0 < seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return milliseconds(seconds)
    return f"{seconds * 1000:.3f}"


def path(operation: str) -> Markup:
    """Let an operation's name break before a slash only, not inside a word."""
    pieces = re.findall(r"[^/\s]+\s?|/[^/\s]*\s?", plain(operation))
    return Markup("<wbr>").join(map(_piece, pieces))


def separable(text: object, limit: int = 200) -> Markup:
    """Let a name break after a separator only: `K6_`, `http.`, `status,`."""
    words = (
        Markup("<wbr>").join(map(_name_piece, IN_NAME.split(word)))
        for word in plain(text, limit).split(" ")
    )
    return Markup(" ").join(words)


def prose(text: str, limit: int = 500) -> Markup:
    """Let the paths in a sentence break before a slash only, and numbers stay with their units."""
    pieces = UNBROKEN.split(BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", plain(text, limit)))
    return Markup().join(
        path(piece) if piece.startswith("/") else _piece(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )


def _piece(text: str) -> Markup:
    if len(text) > MAX_PIECE:
        return Markup('<span class="anywhere">{}</span>').format(text)
    return Markup('<span class="nowrap">{}</span>').format(text)


def _name_piece(text: str) -> Markup:
    return _piece(text) if "-" in text or len(text) > MAX_PIECE else escape(text)
