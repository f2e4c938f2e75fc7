"""How values are written for people."""

import pytest

from lab.console import clock, duration, milliseconds, percent, plain, wrap_path


def test_values_are_one_line_of_printable_text() -> None:
    assert plain("a\r\n  b\tc\x07") == r"a b c\x07"
    assert plain("ñandú 犬") == "ñandú 犬"
    assert len(plain("x" * 500, limit=50)) == 50


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


def test_a_path_breaks_before_slashes_only() -> None:
    assert wrap_path("POST /owners/{owner_id}/pets", 22).splitlines() == [
        *("POST /owners", "/{owner_id}/pets")
    ]
    assert wrap_path("All", 22) == "All"
