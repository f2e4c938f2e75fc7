"""The webhook receiver: every alert becomes a line of a file of limited size."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.paths import PROJECT
from lab.stack.ports import free as free_port
from tests.support.programs import running

RECEIVER = PROJECT / "src" / "lab" / "notifications.py"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alerts" / "notifications.jsonl"


@pytest.fixture
def receiver(file: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run the file as the container does: alone, without the project."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"NOTIFICATIONS_FILE": str(file), "NOTIFICATIONS_PORT": str(port)}
    with (
        running([sys.executable, "-I", RECEIVER], tmp_path / "log", f"{url}/healthz", **settings),
        httpx.Client(base_url=url) as client,
    ):
        yield client


def webhook(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"version": "4", "status": "firing", "receiver": "notifications", "alerts": list(alerts)}


def alert(status: str = "firing", summary: str = "The clinic does not answer") -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "ClinicDown", "severity": "page", "area": "service"},
        "annotations": {"summary": summary, "description": "For 30 s …", "runbook": "README.md#x"},
        "startsAt": "2026-11-24T22:00:00.123Z",
        "endsAt": "2026-11-24T22:05:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "fingerprint": "0123456789abcdef",
    }


def test_each_alert_is_a_line_of_the_file_and_of_the_log(
    receiver: httpx.Client, file: Path, tmp_path: Path
) -> None:
    sent = receiver.post("/", json=webhook(alert(), alert("resolved")))

    assert sent.status_code == 200
    firing, resolved = map(json.loads, file.read_text().splitlines())
    assert firing.pop("time").endswith("Z")
    assert firing == alert()
    assert resolved["status"] == "resolved"
    assert "firing   ClinicDown: The clinic does not answer" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("body", ["", "[]", "{}", "no JSON", '{"alerts": [{}]}', '{"alerts": 7}'])
def test_invalid_webhook_body_is_rejected(receiver: httpx.Client, file: Path, body: str) -> None:
    assert receiver.post("/", content=body).status_code == 400
    assert not file.exists()


def test_body_over_1_mib_is_rejected(receiver: httpx.Client) -> None:
    rejected = receiver.post("/", json=webhook(alert(summary="x" * 2**20)))

    assert rejected.status_code == 413


def test_old_notifications_are_dropped(receiver: httpx.Client, file: Path) -> None:
    for number in range(20):
        body = webhook(alert(summary=f"{number} {'x' * 900_000}"))
        receiver.post("/", json=body).raise_for_status()

    files = sorted(file.parent.iterdir())
    assert [path.name for path in files] == ["notifications.jsonl", "notifications.jsonl.1"]
    assert 5 * 2**20 < sum(path.stat().st_size for path in files) < 10 * 2**20
    newest = json.loads(file.read_text().splitlines()[-1])
    assert newest["annotations"]["summary"].startswith("19 ")


def test_notification_that_cannot_be_stored_is_refused_so_that_it_is_sent_again(
    tmp_path: Path,
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"NOTIFICATIONS_FILE": "/dev/full", "NOTIFICATIONS_PORT": str(port)}
    with running([sys.executable, "-I", RECEIVER], tmp_path / "log", f"{url}/healthz", **settings):
        refused = httpx.post(url, json=webhook(alert()))

    assert refused.status_code == 507
    assert "cannot be written" in (tmp_path / "log").read_text()


def test_sigterm_ends_it_with_status_0(tmp_path: Path) -> None:
    port = free_port()
    settings = {"NOTIFICATIONS_FILE": str(tmp_path / "file"), "NOTIFICATIONS_PORT": str(port)}
    ready = f"http://127.0.0.1:{port}/healthz"
    with running([sys.executable, "-I", RECEIVER], tmp_path / "log", ready, **settings) as process:
        process.terminate()

        assert process.wait(30) == 0
