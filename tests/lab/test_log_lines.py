"""Log lines of all services in the order of time, and those of one trace."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.errors import UserError
from lab.stack.inherited import base_environment
from lab.stack.log_lines import LogLine, find_trace, in_order, parse, parse_container
from lab.stack.tail import new_lines, tail

AT = datetime(2026, 11, 27, 2, 18, 30, tzinfo=UTC).timestamp()
TRACE, OTHER = "f485776e79e8bc6eada524ad424d387a", "f4" + "0" * 30
API = json.dumps(
    {
        "level": "ERROR",
        "message": "Unhandled error in POST /owners/{owner_id}/pets (RaiseError)",
        "exception": '  File "app.py", line 3, in one\nRaiseError\n',
        "trace_id": TRACE,
        "time": "2026-11-27T02:18:30.874226Z",
    }
)


@pytest.mark.parametrize(
    ("text", "seconds", "message"),
    [
        (API, 0.874226, "ERROR Unhandled error in POST /owners/{owner_id}/pets (RaiseError)"),
        (
            'time=2026-11-27T02:18:30.936Z level=WARN source=a.go:1 msg="It is \\"so\\"" err=none',
            0.936,
            'WARN It is "so": none',
        ),
        (
            "logger=plugins t=2026-11-27T03:18:30.5+01:00 level=error msg=Failed",
            0.5,
            "ERROR Failed",
        ),
        (
            "2026-11-27 02:18:30.280 UTC [10] LOG:  checkpoint starting",
            0.28,
            "[10] LOG: checkpoint",
        ),
        ("2026-11-27T02:18:30.1Z level= 3", 0.1, ""),
        ("2026-11-27T02:18:30.771Z\twarn\tui/assets.go:27\tno assets", 0.771, "warn ui/assets.go"),
    ],
)
def test_each_format_has_its_time_and_message(text: str, seconds: float, message: str) -> None:
    [line] = parse("a-service", [text])

    assert line.time - AT == pytest.approx(seconds, abs=1e-5)
    assert line.message.startswith(message)
    assert line.summary.startswith("02:18:30 a-service: ")


def test_a_time_without_a_zone_is_in_that_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Santiago")
    time.tzset()

    [line] = parse("supervisord", ["2026-11-27 02:18:30,289 INFO spawned: 'api' with pid 1"])

    assert base_environment()["TZ"] == "UTC"
    assert line.time - AT == pytest.approx(0.289, abs=1e-5)
    monkeypatch.undo()
    time.tzset()


def test_lines_are_in_the_order_of_time_and_those_without_follow_theirs() -> None:
    first = parse(
        "b", ["2026-11-27 02:18:31 UTC a", "its second line", "2026-11-27 02:18:33 UTC c"]
    )
    second = parse("a", ["2026-11-27 02:18:32 UTC b"])

    ordered = in_order([*second, *first])

    assert [line.message for line in ordered] == ["a", "its second line", "b", "c"]


def test_a_line_of_a_container_names_its_service() -> None:
    line = parse_container(
        "postgres-sampler-1  | 2026-11-27T02:18:30.500000001Z PostgreSQL answers."
    )

    assert line == LogLine("postgres-sampler", AT + 0.5, "PostgreSQL answers.")
    assert parse_container("no such container") is None


def test_a_trace_is_found_by_its_first_digits() -> None:
    lines = parse("api", [API, API.replace(TRACE, OTHER), '{"message": "no trace"}'])

    trace_id, found = find_trace(lines, "F485")

    assert trace_id == TRACE
    assert [line.text for line in found] == [API]
    with pytest.raises(UserError, match="2 traces start with f4; type more digits"):
        find_trace(lines, "f4")
    with pytest.raises(UserError, match="No log line belongs to a trace that starts with abc"):
        find_trace(lines, "abc")
    with pytest.raises(UserError, match="not a trace id"):
        find_trace(lines, "../etc")


def test_the_last_lines_are_whole_however_long_they_are(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("".join(f"{number} {'x' * 5000}\n" for number in range(10)))

    assert [line.split()[0] for line in tail(log, 3)] == ["7", "8", "9"]
    assert len(tail(log, 100)) == 10


FORGED = "firing ClinicDown"
BREAKS = ("\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("line_break", BREAKS)
def test_what_is_no_line_feed_ends_no_line_of_a_log(tmp_path: Path, line_break: str) -> None:
    log = tmp_path / "api.log"
    text = f"GET /{line_break}{FORGED}"
    log.write_bytes(f"{text}\nsecond\n".encode())

    assert tail(log, 5) == [text, "second"]
    assert new_lines(log, 0) == ([text, "second"], log.stat().st_size)


@pytest.mark.parametrize("service", ["api", None])
def test_a_line_of_a_log_controls_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str | None
) -> None:
    text = f"2026-11-27T02:18:30Z GET /\x1b[2J{''.join(BREAKS)}\u202e{FORGED}\n"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_bytes(text.encode())
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("STACK_BACKEND", "native")

    printed = CliRunner().invoke(cli, ["logs", *([service] if service else [])]).output

    assert printed.count("\n") == 1
    assert printed.removesuffix("\n").isprintable()
    assert rf"\u202e{FORGED}" in printed
