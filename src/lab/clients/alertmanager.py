"""The HTTP API of Alertmanager: alerts and silences."""

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.clients.http import HttpClient
from lab.errors import UserError

WATCHDOG = "Watchdog"
# The comment by which `just unsilence` knows the silences of `just silence`.
COMMENT = "just silence"
DURATION = re.compile(
    r"(?=.)(?:(?P<days>\d{1,3})d)?(?:(?P<hours>\d{1,3})h)?"
    r"(?:(?P<minutes>\d{1,4})m)?(?:(?P<seconds>\d{1,5})s)?"
)
MAX_DURATION = timedelta(days=7)


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 30m or 1h30m."""
    match = DURATION.fullmatch(text)
    units = match.groupdict(default="0") if match else {}
    duration = timedelta(**{unit: int(number) for unit, number in units.items()})
    if not timedelta() < duration <= MAX_DURATION:
        raise UserError(f"{text!r} is not a duration of up to 7d, such as 30m, 1h30m or 2d.")
    return duration


class Alertmanager(HttpClient):
    def __init__(self, url: str) -> None:
        super().__init__("Alertmanager", f"{url}/api/v2")

    def alerts(self) -> list[dict[str, Any]]:
        """List all alerts, including silenced and inhibited ones."""
        return self.json("GET", "/alerts") or []

    def silences(self) -> list[dict[str, Any]]:
        """List the active silences."""
        silences = self.json("GET", "/silences") or []
        return [silence for silence in silences if silence["status"]["state"] == "active"]

    def silence(self, duration: timedelta, alertname: str | None) -> datetime:
        """Silence one alert, or all except the watchdog, and return when the silence ends."""
        now = datetime.now(UTC)
        matcher = {
            "name": "alertname",
            "value": alertname or WATCHDOG,
            "isEqual": alertname is not None,
            "isRegex": False,
        }
        silence = {
            "matchers": [matcher],
            "startsAt": now.isoformat(),
            "endsAt": (now + duration).isoformat(),
            "createdBy": getpass.getuser(),
            "comment": COMMENT,
        }
        self.json("POST", "/silences", json=silence)
        return now + duration

    def unsilence(self) -> list[str]:
        """End the silences of `just silence` and return what they silenced."""
        silences = [silence for silence in self.silences() if silence["comment"] == COMMENT]
        for silence in silences:
            self.json("DELETE", f"/silence/{silence['id']}")
        return [describe_silence(silence) for silence in silences]


def describe_silence(silence: dict[str, Any]) -> str:
    """Name the alerts that a silence matches."""
    names = []
    for matcher in silence["matchers"]:
        name, value = matcher["name"], matcher["value"]
        if name == "alertname" and not matcher["isRegex"]:
            names.append(value if matcher["isEqual"] else f"Every alert except {value}")
        else:
            equal, regex = matcher["isEqual"], matcher["isRegex"]
            operator = ("=~" if regex else "=") if equal else ("!~" if regex else "!=")
            names.append(f"{name}{operator}{value}")
    return ", ".join(names)
