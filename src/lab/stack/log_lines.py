"""Log lines of all services in one form, whether they are JSON, logfmt or text."""

import json
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab.clients.trace_store import TRACE_ID_DIGITS, TRACE_ID_PREFIX
from lab.console import echo, plain
from lab.errors import UserError

TIME = re.compile(
    r"(?P<date>\d{4}[-/]\d\d[-/]\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d{1,6}))?\d*"
    r" ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
)
LOGFMT = re.compile(r'(?P<key>level|msg|message|err|error)=(?P<value>"(?:[^"\\]|\\.)*"|\S+)')
# As `docker compose logs --timestamps` prints a line.
OF_CONTAINER = re.compile(r"(?P<service>[\w-]+?)-\d+ +\| (?P<time>\S+) (?P<text>.*)")
LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a service's log; its time is in seconds since 1970, 0 if it is unknown."""

    service: str
    time: float
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a line of JSON; none of any other."""
        try:
            fields = json.loads(self.text)
        except ValueError:
            return {}
        return fields if isinstance(fields, dict) else {}

    @property
    def message(self) -> str:
        """The level and the message, without time and other fields, in one line."""
        if fields := self.fields:
            words = (fields.get("level", ""), fields.get("message", ""))
        elif "level=" in self.text:
            found = {
                match["key"]: _unquoted(match["value"]) for match in LOGFMT.finditer(self.text)
            }
            message = found.get("msg", found.get("message", ""))
            reason = found.get("err", found.get("error", ""))
            words = (found.get("level", "").upper(), f"{message}: {reason}" if reason else message)
        else:
            words = ("", TIME.sub("", self.text, count=1))
        return plain(" ".join(filter(None, map(str, words))), LONGEST_LINE)

    @property
    def summary(self) -> str:
        """The line with its time in UTC and its service."""
        at = f"{datetime.fromtimestamp(self.time, UTC):%H:%M:%S}" if self.time else " " * 8
        return f"{at} {self.service}: {self.message}"


def parse(service: str, texts: Iterable[str]) -> list[LogLine]:
    """Find the time of each line; one without a time has that of the line before."""
    lines: list[LogLine] = []
    for text in texts:
        time = _time(text)
        if not time and lines:
            time = lines[-1].time
        lines.append(LogLine(service, time, text))
    return lines


def parse_container(text: str) -> LogLine | None:
    """Parse a line of `docker compose logs --timestamps`."""
    match = OF_CONTAINER.fullmatch(text)
    return LogLine(match["service"], _time(match["time"]), match["text"]) if match else None


def in_order(lines: Iterable[LogLine]) -> list[LogLine]:
    return sorted(lines, key=lambda line: line.time)


def show(lines: Iterable[LogLine]) -> None:
    """Print lines of several services, in a terminal each cut to one line of it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else LONGEST_LINE
    for line in lines:
        echo(plain(line.summary, width))


def find_trace(lines: Iterable[LogLine], digits: str) -> tuple[str, list[LogLine]]:
    """Return the id of the trace that begins with these digits, and its lines in order."""
    prefix = digits.strip().lower()
    if not TRACE_ID_PREFIX.fullmatch(prefix):
        raise UserError(
            f"{digits!r} is not a trace id. Type its {TRACE_ID_DIGITS} hex digits or the first few."
        )
    rest = TRACE_ID_DIGITS - len(prefix)
    pattern = re.compile(rf"\b{prefix}[0-9a-f]{{{rest}}}\b")
    found: dict[str, list[LogLine]] = {}
    for line in lines:
        for trace_id in {match[0] for match in pattern.finditer(line.text)}:
            found.setdefault(trace_id, []).append(line)
    if not found:
        raise UserError(
            f"No log line belongs to a trace that starts with {prefix}. Only what goes wrong is "
            "logged; `just trace ID` shows the trace."
        )
    if len(found) > 1:
        ids = ", ".join(sorted(found)[:5])
        raise UserError(f"{len(found):,} traces start with {prefix}; type more digits: {ids}")
    ((trace_id, of_trace),) = found.items()
    return trace_id, in_order(of_trace)


def _unquoted(value: str) -> str:
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value


def _time(text: str) -> float:
    match = TIME.search(text)
    if not match:
        return 0.0
    moment = datetime.fromisoformat(f"{match['date'].replace('/', '-')}T{match['time']}")
    zone = (match["zone"] or "").replace("UTC", "+00:00").replace("Z", "+00:00")
    if zone:
        moment = moment.replace(tzinfo=datetime.strptime(zone.replace(":", ""), "%z").tzinfo)
    else:  # the services' own zone
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() + float(f"0.{match['fraction'] or 0}")
