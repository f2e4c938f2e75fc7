"""The webhook receiver (service `notifications`): logs each notification, appends it to a file.

The container runs this file alone, so it imports the standard library only.
"""

import json
import os
import signal
from datetime import UTC, datetime
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
writing = Lock()


class Receiver(BaseHTTPRequestHandler):
    """Receives Alertmanager's POST; GET /healthz is the health check."""

    timeout = 10

    def do_GET(self) -> None:
        found = self.path == "/healthz"
        self.respond(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MAX_BODY:
                self.respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            alerts = json.loads(self.rfile.read(length))["alerts"]
            lines = [summary(alert) for alert in alerts]
        except (ValueError, LookupError, TypeError, AttributeError):
            self.respond(HTTPStatus.BAD_REQUEST)
            return
        try:
            append(alerts)
        except OSError as error:
            log(f"{FILE} cannot be written: {error.strerror}.")
            self.respond(HTTPStatus.INSUFFICIENT_STORAGE)  # Alertmanager sends it again
            return
        log("\n".join(lines))
        self.respond(HTTPStatus.OK)

    def respond(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log notifications only, not requests."""


def summary(alert: dict[str, Any]) -> str:
    return f"{alert['status']:<8} {alert['labels']['alertname']}: {alert['annotations']['summary']}"


def append(alerts: list[dict[str, Any]]) -> None:
    """Append a line for each alert; the file and its predecessor have at most 5 MiB each."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    lines = (json.dumps({"time": now, **alert}, ensure_ascii=False) for alert in alerts)
    text = "".join(f"{line}\n" for line in lines)
    with writing:
        if FILE.exists() and FILE.stat().st_size + len(text.encode()) > MAX_FILE:
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
