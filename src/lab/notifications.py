"""The webhook receiver (service `notifications`): logs each notification, appends it to a file.

The container runs this file alone, so it imports the standard library only.
"""

import json
import os
import re
import signal
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

FILE = Path(os.environ.get("NOTIFICATIONS_FILE", "/var/lib/notifications/notifications.jsonl"))
HOST = os.environ.get("NOTIFICATIONS_HOST", "127.0.0.1")
PORT = int(os.environ.get("NOTIFICATIONS_PORT", "9095"))
MAX_BODY = 2**20
MAX_FILE = 5 * 2**20
# As in postgres_sampler.py: each of the two files is mounted alone.
NAMES = {"localhost", "127.0.0.1", "[::1]", "notifications"}
PORT_OF_HOST = re.compile(r":\d{1,5}$")
# Browsers send these with requests from pages; Alertmanager sends neither.
BROWSER_HEADERS = ("Origin", "Sec-Fetch-Site")
writing = Lock()


class Receiver(BaseHTTPRequestHandler):
    """Receives Alertmanager's POST; GET /healthz is the health check."""

    timeout = 10

    def do_GET(self) -> None:
        found = HTTPStatus.OK if self.path == "/healthz" else HTTPStatus.NOT_FOUND
        self.respond(refusal(self.headers) or found)

    def do_POST(self) -> None:
        self.respond(refusal(self.headers) or self.receive())

    def receive(self) -> HTTPStatus:
        """Log and append the alerts of a notification; return the status of the response."""
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MAX_BODY:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            alerts = json.loads(self.rfile.read(length))["alerts"]
            lines = [summary(alert) for alert in alerts]
            text = encode(alerts)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return HTTPStatus.BAD_REQUEST
        try:
            append(text)
        except OSError as error:
            log(f"{FILE} cannot be written: {error.strerror}.")
            return HTTPStatus.INSUFFICIENT_STORAGE  # Alertmanager sends it again
        log("\n".join(lines))
        return HTTPStatus.OK

    def respond(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log notifications only, not requests."""


def refusal(headers: Message) -> HTTPStatus | None:
    """Return the status of a request from a web page, or for another host."""
    if any(name in headers for name in BROWSER_HEADERS):
        return HTTPStatus.FORBIDDEN
    hosts = headers.get_all("Host", [])
    # With DNS rebinding, Host has a name that is not one of this machine's.
    if len(hosts) != 1 or PORT_OF_HOST.sub("", hosts[0].strip().lower()) not in NAMES:
        return HTTPStatus.MISDIRECTED_REQUEST
    return None


def summary(alert: dict[str, Any]) -> str:
    """Describe an alert in one line, with control characters escaped."""
    text = f"{alert['status']:<8} {alert['labels']['alertname']}: {alert['annotations']['summary']}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def encode(alerts: list[dict[str, Any]]) -> str:
    """Encode each alert as a line of JSON in ASCII."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return "".join(f"{json.dumps({'time': now, **alert}, allow_nan=False)}\n" for alert in alerts)


def append(text: str) -> None:
    """Append lines; the file and its predecessor have at most 5 MiB each."""
    with writing:
        if FILE.exists() and FILE.stat().st_size + len(text) > MAX_FILE:
            FILE.replace(f"{FILE}.1")
        with FILE.open("a") as file:
            file.write(text)


def log(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its log is its output


def stop(*_: object) -> None:
    raise SystemExit


def main() -> None:
    """Serve until SIGTERM."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with ThreadingHTTPServer((HOST, PORT), Receiver) as server:
        log(f"Notifications are written to {FILE}.")
        server.serve_forever()


if __name__ == "__main__":
    main()
