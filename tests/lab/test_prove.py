"""`just prove` without a stack: which results are right, and what it prints of them."""

import pytest

from lab.runs.record import Bottleneck, CauseName
from performance.prove.__main__ import seconds, status
from performance.prove.causes import CAUSES
from performance.prove.results import markdown
from performance.prove.trial import Result, Trial, read_result
from tests.support.factories import make_record


def result(name: str, *named: CauseName, repetition: int = 1, in_grafana: str = "") -> Result:
    """Return what a run with a planted cause names, the largest share first."""
    first, *others = [Bottleneck(cause=cause, share=0.6) for cause in named]
    record = make_record(bottleneck=first, other_bottlenecks=others)
    trial = Trial(CAUSES[name], 20, repetition, "30s")
    return read_result(trial, record, in_grafana or first.cause)


@pytest.mark.parametrize(
    ("name", "named", "right"),
    [
        ("nothing", ("none",), True),
        ("nothing", ("network",), False),
        ("table-lock", ("postgresql_locks", "network"), True),
        ("table-lock", ("network", "postgresql_locks"), False),
        ("lock-and-network", ("postgresql_locks", "network"), True),
        ("lock-and-network", ("postgresql_locks",), False),
    ],
)
def test_a_result_is_right_if_the_run_names_what_was_planted(
    name: str, named: tuple[CauseName, ...], *, right: bool
) -> None:
    assert result(name, *named).right is right


def test_a_result_is_wrong_if_grafana_names_another_cause() -> None:
    assert result("small-pool", "pool", in_grafana="pool").right
    assert not result("small-pool", "pool", in_grafana="network").right


def test_the_status_is_1_if_a_repetition_has_more_wrong_answers_than_allowed() -> None:
    wrong = result("small-pool", "network")
    again = result("table-lock", "network", repetition=2)
    with_nothing = result("nothing", "network")

    assert status([wrong, again], 1) == 0
    assert status([wrong, again], 0) == 1
    assert status([with_nothing], 1) == 1
    assert status([], 1) == 1


def test_markdown_has_a_row_for_each_cause_and_a_column_for_each_repetition() -> None:
    results = [
        result("busy-machine", "machine"),
        result("busy-machine", "pool", repetition=2),
        result("saturated-api", "api_cpu"),
    ]

    assert markdown(results).splitlines() == [
        "| planted | users | expected | run 1 | run 2 |",
        "| --- | --- | --- | --- | --- |",
        "| Two busy programs for each CPU | 20 | `machine` | `machine` 60 % | **`pool` 60 %** |",
        "| 160 users or more | 160 | `api_cpu` | `api_cpu` 60 % |  |",
    ]


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("2m", 120), ("1m30s", 90)])
def test_the_length_of_a_load_is_read_as_k6_does(text: str, expected: float) -> None:
    assert seconds(text) == expected
