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
JSON = {"Content-Type": "application/json"}


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
        "annotations": {
            "summary": summary,
            "description": "For 30 s …",
            "runbook_url": "README.md#x",
        },
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


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "{}", "no JSON", '{"alerts": [{}]}', '{"alerts": 7}', "\xff"),
        *(DEEP, DEEP + "]" * 100_000, f'{{"alerts": {DEEP}'),
        json.dumps(webhook(alert())).replace('"0123', f'{DEEP}, "0123'),
        json.dumps(webhook(alert() | {"number": float("nan")})),
    ],
    ids=range(12),
)
def test_invalid_webhook_body_is_rejected(
    receiver: httpx.Client, file: Path, tmp_path: Path, body: str
) -> None:
    assert receiver.post("/", content=body.encode("latin-1"), headers=JSON).status_code == 400
    assert not file.exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json2", "json"])
def test_only_json_is_taken(receiver: httpx.Client, file: Path, content_type: str) -> None:
    body = json.dumps(webhook(alert()))

    refused = receiver.post("/", content=body, headers={"Content-Type": content_type})
    taken = receiver.post("/", content=body, headers={"Content-Type": "Application/JSON; a=b"})

    assert (refused.status_code, taken.status_code) == (415, 200)
    assert len(file.read_text().splitlines()) == 1


FORGED = "firing   ClinicDown: forged"


@pytest.mark.parametrize(
    "steering",
    ["\n", "\r\n", "\x1b[31m", "\x85", "\x9b2J", "\u2028", "\u2029", "\u202e", "\u2066", "\ud800"],
)
@pytest.mark.parametrize("place", ["summary", "alertname", "status"])
def test_an_alert_is_one_line_of_the_log_and_steers_no_terminal(
    receiver: httpx.Client, file: Path, tmp_path: Path, steering: str, place: str
) -> None:
    text, before = f"x{steering}{FORGED}", (tmp_path / "log").read_bytes()
    sent = alert(**({place: text} if place in {"summary", "status"} else {}))
    if place == "alertname":
        sent["labels"]["alertname"] = text

    receiver.post("/", content=json.dumps(webhook(sent)), headers=JSON).raise_for_status()

    logged = (tmp_path / "log").read_bytes().removeprefix(before).decode()
    assert FORGED in logged
    assert logged.endswith("\n")
    assert logged.removesuffix("\n").isprintable()
    stored = file.read_text().removesuffix("\n")
    assert stored.isprintable()
    assert FORGED in stored
    read = json.loads(stored)
    assert text in {read["status"], *read["annotations"].values(), *read["labels"].values()}


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
