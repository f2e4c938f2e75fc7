"""The receiver of notifications: each is kept as a line, for as long as there is room."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.stack.ports import free as free_port
from tests.support.programs import PROJECT, running

RECEIVER = PROJECT / "src" / "lab" / "notifications.py"
PIECE_OF_LINE = "x" * 900_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alerts" / "notifications.jsonl"


@pytest.fixture
def receiver(file: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run it as a container does: the file alone, without the project around it."""
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


def test_each_alert_of_a_notice_is_a_line_of_the_file_and_of_the_log(
    receiver: httpx.Client, file: Path, tmp_path: Path
) -> None:
    sent = receiver.post("/", json=webhook(alert(), alert("resolved")))

    assert sent.status_code == 200
    firing, resolved = map(json.loads, file.read_text().splitlines())
    assert firing.pop("time")
    assert firing == {
        "status": "firing",
        "alertname": "ClinicDown",
        "severity": "page",
        "summary": "The clinic does not answer",
        "description": "For 30 s …",
        "runbook": "README.md#x",
        "starts": "2026-11-24T22:00:00.123Z",
        "labels": {"area": "service"},
    }
    assert resolved["ends"] == "2026-11-24T22:05:00Z"
    assert "firing   ClinicDown: The clinic does not answer" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("body", ["", "[]", "{}", "no JSON", '{"alerts": [{}]}', '{"alerts": 7}'])
def test_what_is_no_notice_is_refused(receiver: httpx.Client, file: Path, body: str) -> None:
    refused = receiver.post("/", content=body)

    assert refused.status_code == 400
    assert "Alertmanager" in refused.text
    assert file.read_text() == ""


def test_a_body_beyond_a_mebibyte_is_refused(receiver: httpx.Client) -> None:
    refused = receiver.post("/", json=webhook(alert(summary="x" * 2**20)))

    assert refused.status_code == 413


def test_old_notices_make_room(receiver: httpx.Client, file: Path) -> None:
    for _ in range(25):
        receiver.post("/", json=webhook(alert(summary=PIECE_OF_LINE))).raise_for_status()

    kept = sorted(file.parent.iterdir())
    assert [path.name for path in kept] == [
        "notifications.jsonl",
        "notifications.jsonl.1",
        "notifications.jsonl.2",
    ]
    assert 10 * 2**20 < sum(path.stat().st_size for path in kept) < 16 * 2**20


def test_it_says_how_much_room_is_left(receiver: httpx.Client) -> None:
    said = dict(
        line.split() for line in receiver.get("/metrics").text.splitlines() if "#" not in line
    )

    assert (
        0 < int(said["notifications_disk_free_bytes"]) < int(said["notifications_disk_size_bytes"])
    )


def test_a_notice_that_cannot_be_written_is_asked_for_again(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"NOTIFICATIONS_FILE": "/dev/full", "NOTIFICATIONS_PORT": str(port)}
    with running([sys.executable, "-I", RECEIVER], tmp_path / "log", f"{url}/healthz", **settings):
        refused = httpx.post(url, json=webhook(alert()))

    assert refused.status_code == 507
    assert "cannot be written" in (tmp_path / "log").read_text()


def test_it_stops_by_itself_when_told_to(file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", RECEIVER],
        env={"NOTIFICATIONS_FILE": str(file), "NOTIFICATIONS_PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Notifications are written to {file}.\n"

        process.terminate()

        assert process.stdout.read() == ""
        assert process.wait(5) == 0
