"""Ask Alertmanager who is told of what, and silence it for a while."""

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.clients.http import ask
from lab.errors import UserError

NAME = "Alertmanager"
WATCHDOG = "Watchdog"
COMMENT = "just silence"
"""Tells the silences that `just unsilence` may end."""
DURATION = re.compile(r"(?=.)(?:(\d{1,3})d)?(?:(\d{1,3})h)?(?:(\d{1,4})m)?(?:(\d{1,5})s)?")
LONGEST = timedelta(days=7)


def seconds_of(duration: str) -> float:
    """Read a duration such as 30m or 1h30m."""
    found = DURATION.fullmatch(duration)
    days, hours, minutes, seconds = (
        (int(part or 0) for part in found.groups()) if found else [0] * 4
    )
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta() < length <= LONGEST:
        raise UserError(
            f"The duration is {duration!r}; expected a time up to 7d, such as 30m, 1h30m or 2d."
        )
    return length.total_seconds()


class Alertmanager:
    """The API of one Alertmanager."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/api/v2"

    def alerts(self) -> list[dict[str, Any]]:
        """List the alerts it holds, the silenced and inhibited among them."""
        alerts: list[dict[str, Any]] = self.ask("GET", "/alerts")
        return alerts

    def silences(self) -> list[dict[str, Any]]:
        """List the silences in force."""
        silences = self.ask("GET", "/silences")
        return [silence for silence in silences if silence["status"]["state"] == "active"]

    def silence(self, seconds: float, alertname: str | None) -> datetime:
        """Silence an alert, or all but the watchdog, and say until when."""
        now = datetime.now(UTC)
        ends = now + timedelta(seconds=seconds)
        matcher = {
            "name": "alertname",
            "value": alertname or WATCHDOG,
            "isEqual": alertname is not None,
            "isRegex": False,
        }
        silence = {
            "matchers": [matcher],
            "startsAt": now.isoformat(),
            "endsAt": ends.isoformat(),
            "createdBy": getpass.getuser(),
            "comment": COMMENT,
        }
        self.ask("POST", "/silences", json=silence)
        return ends

    def unsilence(self) -> list[str]:
        """End the silences that were made so, and say of what."""
        ended = []
        for silence in self.silences():
            if silence["comment"] == COMMENT:
                self.ask("DELETE", f"/silence/{silence['id']}")
                ended.append(silenced(silence))
        return ended

    def ask(self, method: str, path: str, **options: Any) -> Any:
        return ask(NAME, method, self.url + path, **options)


def silenced(silence: dict[str, Any]) -> str:
    """Say in words what a silence is of."""
    words = []
    for matcher in silence["matchers"]:
        name, value = matcher["name"], matcher["value"]
        if name == "alertname" and not matcher["isRegex"]:
            words.append(value if matcher["isEqual"] else f"Every alert but {value}")
        else:
            sign = ("=" if matcher["isEqual"] else "!") + ("~" if matcher["isRegex"] else "=")
            words.append(f"{name}{sign.replace('==', '=')}{value}")
    return ", ".join(words)
