"""The sentences about what limited a run."""

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from lab.findings.names import ADVICE, CAUSES, UNJUDGED
from lab.findings.preconditions import changes
from lab.reports import bottleneck_text
from lab.runs.record import Bottleneck, CauseName, Record, Resource
from tests.support.factories import make_comparable, make_record, make_stats

# Every number that a sentence can hold.
EVIDENCE: dict[str, float | str] = {
    "pause_lateness_mean": 0.0083,
    "pause_lateness_p95": 0.041,
    "dropped_share": 0.48,
    "virtual_users": 2.0,
    "other_cpu_share": 0.71,
    "event_loop_run_queue_share": 0.4,
    "network_mean": 0.0402,
    "event_loop_cpu_cores": 0.834,
    "event_loop_delay_mean": 0.025,
    "event_loop_stalled_share": 0.45,
    "event_loop_halted_share": 0.33,
    "pool_wait_mean": 0.105,
    "pool_size": 1.0,
    "statement": "INSERT owner",
    "execution_mean": 0.0212,
    "lock_wait_mean": 0.24,
    "lock": "relation",
    "commit_mean": 0.024,
    "wal_fsync_mean": 0.0203,
}
BOOK, READ = "POST /owners", "GET /owners"


def limited(cause: CauseName, **changes: Any) -> Record:
    given: dict[str, Any] = {"share": 0.72, "since": 0.0, "evidence": EVIDENCE} | changes
    operations = [make_stats(BOOK), make_stats(READ), make_stats("GET /pets/{pet_id}")]
    return make_record(operations=operations, bottleneck=Bottleneck(cause=cause, **given))


@pytest.mark.parametrize("cause", [it for it in get_args(CauseName) if it in ADVICE])
def test_every_cause_has_a_sentence_with_its_numbers(cause: CauseName) -> None:
    sentence = bottleneck_text.sentence(limited(cause))

    head = "The run cannot be judged: " if cause in UNJUDGED else "Bottleneck: "
    assert sentence.startswith(head + CAUSES[cause])
    assert "?" not in sentence
    assert sentence.endswith(f"Try: {ADVICE[cause]}.")


@pytest.mark.parametrize(
    ("cause", "phrases"),
    [
        ("postgresql_locks", ["INSERT owner waited 240 ms on average for locks (relation)"]),
        ("postgresql_commit", ["24.0 ms on average for its commit", "took the disk 20.3 ms"]),
        ("pool", ["waited 105 ms on average for one of 1 connections", "INSERT owner (21.2 ms)"]),
        ("api_cpu", ["0.83 of a core", "25.0 ms late on average", "up to 2 virtual users"]),
        ("machine", ["71 % of the machine's CPU time", "40 % of the time"]),
        ("generator_too_small", ["48 % of the iterations were dropped", "all 2 virtual users"]),
    ],
)
def test_the_numbers_show_the_cause(cause: CauseName, phrases: list[str]) -> None:
    sentence = bottleneck_text.sentence(limited(cause))

    assert [phrase for phrase in phrases if phrase not in sentence] == []


def test_a_sentence_says_since_when_and_in_which_operations() -> None:
    late = bottleneck_text.sentence(limited("network", since=75.0, operations=[BOOK]))
    whole = bottleneck_text.sentence(
        limited("network", operations=[BOOK, READ, "GET /pets/{pet_id}"])
    )

    assert "It took 72 % of the requests' time, from 1:15 on, most of it in POST /owners." in late
    assert "It took 72 % of the requests' time, in every operation." in whole


def test_a_number_that_is_not_known_is_marked() -> None:
    assert "? of the machine's CPU time" in bottleneck_text.sentence(
        limited("machine", evidence={"event_loop_run_queue_share": 0.4})
    )


def test_the_other_causes_follow() -> None:
    others = [Bottleneck(cause="network", share=0.2, evidence=EVIDENCE)]
    record = make_record(
        bottleneck=Bottleneck(cause="postgresql_locks", share=0.6, evidence=EVIDENCE),
        other_bottlenecks=others,
    )

    [text] = bottleneck_text.other_sentences(record)
    assert text.startswith("Also a bottleneck: the network between k6 and the API, or a proxy")


def test_a_run_without_a_cause_says_so() -> None:
    quiet = bottleneck_text.sentence(make_record())
    slow = bottleneck_text.sentence(make_record(operations=[make_stats(client_p95=0.4)]))
    unknown = bottleneck_text.sentence(limited("unknown", share=0.8))

    assert quiet == (
        "Bottleneck: none. The limit was not reached: the API's event loop was busy 25 % of the "
        "time at most."
    )
    assert slow.startswith("Bottleneck: none found.")
    assert "80 % of the requests' time" in unknown


def test_a_comparison_says_that_the_bottleneck_changed() -> None:
    before = make_comparable("20261123-100000-load")
    after = make_comparable("20261123-110000-load", bottleneck=Bottleneck(cause="pool"))

    assert changes(before, after)[0] == ("bottleneck", "none", "the API's connection pool")
    assert changes(before, before) == []


@pytest.mark.parametrize(
    ("cause", "share", "said"),
    [
        ("postgresql_execution", 0.51, True),
        ("postgresql_locks", 0.51, True),
        ("postgresql_execution", 0.05, False),
        ("pool", 0.51, False),
        ("api_cpu", 0.51, False),
    ],
)
def test_what_keeps_the_connections_busy_explains_the_wait_for_them(
    cause: CauseName,
    share: float,
    said: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    shares = {"api_pool": share, "postgresql_executing": 0.2, "postgresql_locks": 0.2}
    run = replace(limited(cause), total=make_stats("All", time_shares=shares))

    explanation = (
        "It took 20 % of the requests' time, and kept the API's connections busy: requests of all "
        "operations waited for one, which took 51 % of their time."
    )
    assert (explanation in bottleneck_text.sentence(run)) is said


@pytest.mark.parametrize(("cpu", "said"), [(0.03, True), (0.9, False), (None, False)])
def test_statements_that_hardly_use_a_cpu_are_told_to_wait(
    cpu: float | None,
    said: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    total = make_stats("All", rate=40.0, client_mean=0.1, time_shares={"postgresql_executing": 0.5})
    postgresql = Resource(name="postgresql", cpu_mean=cpu, cores=2.0)
    run = replace(limited("postgresql_execution"), total=total, resources=[postgresql])

    sentence = bottleneck_text.sentence(run)
    explanation = "PostgreSQL used 0.03 of a core while 2.0 statements executed on average"
    assert (explanation in sentence) is said
