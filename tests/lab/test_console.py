"""How values are written for people."""

import pytest
from rich.table import Table
from rich.text import Text

from lab.console import (
    clock,
    duration,
    echo,
    factor,
    make_console,
    milliseconds,
    percent,
    plain,
    say,
    wrap_path,
)
from lab.errors import UserError
from lab.stack.base import ServiceError

# Colours, the title of the window, a carriage return, C1 controls, directions, separators.
STEERING = (
    "\x1b[31m \x1b]0;title\x07 \r \x08 \x7f \x9b2J \u202e \u2066 \u200f \u2028 \u2029 \U000e0041"
)


def test_values_are_one_line_of_printable_text() -> None:
    assert plain("a\r\n  b\tc\x07") == r"a b c\x07"
    assert plain("ñandú 犬") == "ñandú 犬"
    assert len(plain("x" * 500, limit=50)) == 50


def test_nothing_that_is_printed_controls_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table(STEERING)
    table.add_row(STEERING)
    table.add_row(Text(STEERING))
    console = make_console()

    echo(STEERING)
    say(STEERING)
    UserError(STEERING).show()
    ServiceError("It failed.", "a.log", [STEERING]).show()
    console.print(STEERING)
    console.print(Text(STEERING), soft_wrap=True)
    console.print(table)

    printed = "".join(capsys.readouterr())
    steering = {character for character in printed if not character.isprintable()}
    assert steering == {"\n"}
    assert printed.count(r"\u202e") >= 6


def test_colours_of_the_lab_itself_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = make_console()

    with console.capture() as capture:
        console.print(Text("bad \x1b[0m", style="red"))

    assert capture.get() == "\x1b[31mbad \\x1b[0m\x1b[0m\n"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (65, "1:05"), (3725, "1:02:05"), (59.7, "1:00")]
)
def test_a_time_since_the_start_is_written_as_on_a_clock(seconds: float, expected: str) -> None:
    assert clock(seconds) == expected


def test_numbers_have_the_digits_that_carry_information() -> None:
    assert [milliseconds(value) for value in (None, 0.00849, 0.8561, 1.5)] == [
        *("-", "8.5", "856", "1,500")
    ]
    assert [duration(value) for value in (None, 0.04, 59.6, 7205)] == [
        "-",
        "0.0 s",
        "1 min",
        "2 h 5 s",
    ]
    assert (percent(0.2213), percent(0.2213, 1)) == ("22 %", "22.1 %")


@pytest.mark.parametrize(("ratio", "text"), [(2.9, "2.9"), (9.96, "10.0"), (107.2, "107")])
def test_a_ratio_is_written_as_a_factor(ratio: float, text: str) -> None:
    assert factor(ratio) == f"{text}\N{MULTIPLICATION SIGN}"


def test_a_path_breaks_before_slashes_only() -> None:
    assert wrap_path("POST /owners/{owner_id}/pets", 22).splitlines() == [
        *("POST /owners", "/{owner_id}/pets")
    ]
    assert wrap_path("All", 22) == "All"
