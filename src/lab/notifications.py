"""Receive Alertmanager's notifications and append each to a file: what calls somebody until more is set.

It needs nothing but Python, and says by /metrics how much room is left where the data is.
"""

import json
import logging
import os
import shutil
import signal
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

FILE = Path(os.environ.get("NOTIFICATIONS_FILE", "/var/lib/notifications/notifications.jsonl"))
HOST = os.environ.get("NOTIFICATIONS_HOST", "127.0.0.1")
PORT = int(os.environ.get("NOTIFICATIONS_PORT", "9095"))
LARGEST_BODY = 2**20
LARGEST_FILE = 5 * 2**20
OLD_FILES = 2

notifications = logging.getLogger("notifications")


class NotificationsFile(RotatingFileHandler):
    """Says when a notice cannot be written, so that Alertmanager sends it again."""

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise  # noqa: PLE0704 - called while the failure is handled


class Receiver(BaseHTTPRequestHandler):
    """Takes a webhook's POST; answers /healthz and /metrics."""

    timeout = 10

    def do_POST(self) -> None:
        try:
            size = int(self.headers.get("Content-Length", ""))
            if not 0 <= size <= LARGEST_BODY:
                self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Expected at most 1 MiB.\n")
                return
            lines = [line(alert) for alert in json.loads(self.rfile.read(size))["alerts"]]
        except (ValueError, LookupError, TypeError, AttributeError):
            self.answer(HTTPStatus.BAD_REQUEST, "Expected a webhook's JSON of Alertmanager.\n")
            return
        try:
            for notice in lines:
                say("{time} {status:<8} {alertname}: {summary}".format_map(notice))
                notifications.info(json.dumps(notice, ensure_ascii=False))
        except OSError as error:
            say(f"{FILE} cannot be written: {error.strerror}.")
            self.answer(HTTPStatus.INSUFFICIENT_STORAGE, "Not kept: send it again.\n")
            return
        self.answer(HTTPStatus.OK, "")

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(HTTPStatus.OK, "ok\n")
        elif self.path == "/metrics":
            self.answer(HTTPStatus.OK, metrics())
        else:
            self.answer(
                HTTPStatus.NOT_FOUND, "Expected /healthz, /metrics or a POST of notifications.\n"
            )

    def answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet: the log is for notifications."""


def line(alert: dict[str, Any]) -> dict[str, Any]:
    """Make the line of one alert, the most telling first."""
    labels = dict(alert["labels"])
    resolved = alert["status"] == "resolved"
    return {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "status": alert["status"],
        "alertname": labels.pop("alertname"),
        "severity": labels.pop("severity", ""),
        "summary": alert["annotations"].get("summary", ""),
        "description": alert["annotations"].get("description", ""),
        "runbook": alert["annotations"].get("runbook", ""),
        "starts": alert["startsAt"],
        **({"ends": alert["endsAt"]} if resolved else {}),
        "labels": labels,
    }


def metrics() -> str:
    disk = shutil.disk_usage(FILE.parent)
    return (
        "# TYPE notifications_disk_free_bytes gauge\n"
        f"notifications_disk_free_bytes {disk.free}\n"
        "# TYPE notifications_disk_size_bytes gauge\n"
        f"notifications_disk_size_bytes {disk.total}\n"
    )


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its log is its output


def stop(*_: object) -> None:
    raise SystemExit


def main() -> None:
    """Serve until SIGTERM."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    notifications.addHandler(NotificationsFile(FILE, maxBytes=LARGEST_FILE, backupCount=OLD_FILES))
    notifications.setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with ThreadingHTTPServer((HOST, PORT), Receiver) as server:
        say(f"Notifications are written to {FILE}.")
        server.serve_forever()


if __name__ == "__main__":
    main()
