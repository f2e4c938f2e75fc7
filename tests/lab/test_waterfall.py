"""A trace as a waterfall in the terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from lab.clients.spans import Span
from lab.reports import waterfall


def span(name: str, start: float = 0.0, duration: float = 0.01, **more: Any) -> Span:
    values: dict[str, Any] = {
        "id": name,
        "parent": "",
        "service": "clinic",
        "kind": "server",
        "attributes": {},
        "error": False,
    }
    return Span(name=name, start=start, duration=duration, **(values | more))


def draw(spans: list[Span], width: int = 100) -> str:
    output = io.StringIO()
    console = Console(
        file=output,
        width=width,
        markup=False,
        highlight=False,
        force_terminal=True,
        color_system=None,
    )
    waterfall.show(console, "ab" * 16, spans)
    return output.getvalue()


def test_a_waterfall_puts_each_span_below_its_parent_at_its_time() -> None:
    lines = draw(
        [
            span("INSERT owner", 0.005, 0.005, parent="POST /owners", kind="client"),
            span("POST /owners", 0.0, 0.010, attributes={"http.response.status_code": 201}),
        ]
    ).splitlines()

    assert "10.0 ms, 2 spans" in lines[0]
    assert lines[2].startswith("clinic: POST /owners ")
    assert lines[3].strip() == "http.response.status_code = 201"
    assert lines[4].startswith("  database: INSERT owner")
    whole, half = lines[2], lines[4]
    assert half.index("█") - whole.index("█") == pytest.approx(whole.count("█") / 2, abs=1)
    assert half.count("█") == pytest.approx(whole.count("█") / 2, abs=1)
    assert half.rstrip().endswith("5.0 ms")


def test_programs_of_a_whole_iteration_can_be_told_apart() -> None:
    lines = draw(
        [
            span("iteration book", service="k6", kind="internal", id="a"),
            span("POST /owners", service="k6", kind="client", id="b", parent="a"),
            span("POST /owners", id="c", parent="b"),
            span(
                "INSERT owner",
                id="d",
                parent="c",
                kind="client",
                attributes={"db.system.name": "postgresql"},
            ),
        ]
    ).splitlines()

    assert [re.split("  |█", line.strip())[0].strip() for line in lines[2:]] == [
        "k6: iteration book",
        "POST /owners",
        "clinic: POST /owners",
        "postgresql: INSERT owner",
    ]


def test_attributes_shared_with_the_parent_are_shown_once() -> None:
    shared = {"k6.test_run_id": "run-1", "db.query.text": "SELECT 1"}
    text = draw(
        [
            span("GET /owners", attributes={"k6.test_run_id": "run-1", "http.route": "/owners"}),
            span("SELECT owner", parent="GET /owners", attributes=shared),
        ]
    )

    assert text.count("run-1") == 1
    assert "db.query.text = SELECT 1" in text
    assert "http.route" not in text


def test_an_error_is_marked() -> None:
    text = draw([span("POST /owners", error=True, attributes={"error.type": "Timeout"})])

    assert "✗ clinic: POST /owners" in text
    assert "1 with an error" in text
    assert "error.type = Timeout" in text


HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/red] \r\n\x9b31m\u202e\u200b:smile: \ud800 [/]"


def test_a_hostile_trace_cannot_control_the_terminal() -> None:
    text = draw([span(HOSTILE, service=HOSTILE, attributes={HOSTILE: HOSTILE, "long": "y" * 9999})])

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u200b\ud800]", text)
    assert r"\x1b]0;owned\x07\x1b[2J[red]x[/red] \x9b31m\u202e\u200b:smile: \ud800 [/]" in text
    assert text.count("y") < 250


def test_orphans_and_cycles_are_shown_once() -> None:
    text = draw(
        [
            span("orphan", parent="gone"),
            span("egg", parent="hen"),
            span("hen", parent="egg"),
            span("self", parent="self"),
        ]
    )

    for name in ("orphan", "egg", "hen", "self"):
        assert len(re.findall(rf"\b{name}\b", text)) == 1


def test_empty_and_huge_traces_can_be_draw() -> None:
    assert "0.0 ms" in draw([span("instant", duration=0.0)])

    assert "and 800 more spans" in draw([span(f"s{number}") for number in range(1000)], width=40)
