"""Every journey, what fails in it, and what comes before and after, by the real k6."""

import itertools
import time
from collections import Counter
from pathlib import Path

import pytest

from lab import slo
from tests.support.fake_clinic import Answer, Asked, StandIn
from tests.support.k6 import (
    BOOK,
    BROWSING,
    CANCEL,
    CANCELLING,
    SCRIPT_FAILED,
    TEST_ABORTED,
    THRESHOLD_CROSSED,
    Script,
    one_in_twenty,
    operation,
)

pytestmark = pytest.mark.stack


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


# Journeys


@pytest.mark.parametrize(
    ("journey", "steps"), [("book", BOOK), ("cancel", CANCELLING), ("browse", BROWSING)]
)
def test_a_journeys_steps_in_their_order(
    script: Script, journey: str, steps: tuple[str, ...]
) -> None:
    with StandIn() as clinic:
        outcome = script.iterations(2, clinic, JOURNEY=journey)
        asked = clinic.load

    assert outcome.status == 0
    assert [operation(request) for request in asked] == list(steps) * 2
    assert {sample["tags"]["journey"] for sample in outcome.samples("checks")} == {journey}
    assert {sample["tags"]["name"] for sample in outcome.samples("http_reqs")[2:]} == set(steps)
    assert not outcome.samples("errors")


def test_browsing_follows_the_pages_and_asks_by_day_and_veterinarian(script: Script) -> None:
    with StandIn() as clinic:
        clinic.owners = {key: {"id": key, "email": "x@example.com"} for key in range(1, 500)}
        script.iterations(1, clinic, JOURNEY="browse")
        agenda, owners = (
            [request.query for request in clinic.load if operation(request) == name]
            for name in ("GET /appointments", "GET /owners")
        )

    assert [sorted(query) for query in agenda] == [
        ["from", "limit"],
        ["from", "limit", "to"],
        ["from", "limit", "veterinarian"],
    ]
    assert [query.get("cursor") for query in owners] == [None, "450", "400"]


def test_a_mixed_run_has_all_of_them_by_the_weights_of_the_table(script: Script) -> None:
    with StandIn() as clinic:
        outcome = script.iterations(100, clinic, users=20, JOURNEY="mixed")

    journeys = Counter(sample["tags"]["journey"] for sample in outcome.samples("iterations"))
    assert outcome.status == 0
    assert set(journeys) == {"book", "browse", "cancel"}
    assert journeys["cancel"] < min(journeys["book"], journeys["browse"])


def test_each_operation_has_its_duration(script: Script) -> None:
    with StandIn() as clinic:
        outcome = script.iterations(3, clinic, JOURNEY="cancel")

    times = ("owner_creation", "pet_creation", "appointment_creation")
    counts = {name: len(outcome.samples(f"{name}_duration")) for name in times}
    assert set(counts.values()) == {3}
    assert len(outcome.samples("appointment_cancellation_duration")) == 6
    assert len(outcome.samples("appointment_reading_duration")) == 6
    assert outcome.metric("appointment_cancellation_duration")["contains"] == "time"


def test_an_appointment_that_stays_booked_is_a_failed_visit(script: Script) -> None:
    def ignore(asked: Asked) -> Answer | None:
        number = asked.path.split("/")[2] if operation(asked) == CANCEL else None
        return (200, {"id": int(number), "status": "booked"}) if number else None

    with StandIn(override=ignore) as clinic:
        outcome = script.iterations(2, clinic, JOURNEY="cancel")

    assert [error["tags"]["operation"] for error in outcome.samples("errors")] == [CANCEL] * 2
    assert [sample["value"] for sample in outcome.samples("failed_visits")] == [1, 1]
    assert not outcome.samples("appointment_cancellation_duration")


# What fails, and how


def slow(_: Asked) -> None:
    time.sleep(0.5)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((500, {}), "status"),
        ((201, {"name": "no id"}), "body"),
        ((201, None), "body"),
    ],
)
def test_an_error_says_its_operation_and_kind(script: Script, fault: Answer, kind: str) -> None:
    at_pets = BOOK[1]
    with StandIn(override=lambda a: fault if operation(a) == at_pets else None) as clinic:
        outcome = script.iterations(1, clinic)

    (error,) = outcome.samples("errors")
    assert (error["tags"]["operation"], error["tags"]["kind"]) == (at_pets, kind)
    assert [sample["value"] for sample in outcome.samples("failed_visits")] == [1]


def test_a_connection_that_breaks_is_an_error_without_an_answer(script: Script) -> None:
    def hang_up(asked: Asked) -> Answer | None:
        if operation(asked) == BOOK[1]:
            raise ConnectionResetError
        return None

    with StandIn(override=hang_up) as clinic:
        outcome = script.iterations(1, clinic)

    (error,) = outcome.samples("errors")
    assert error["tags"]["kind"] == "no answer"


def test_a_fault_crosses_the_threshold_of_its_operation_alone(script: Script) -> None:
    with StandIn(override=one_in_twenty(BOOK[4])) as clinic:
        outcome = script.iterations(60, clinic)

    assert outcome.status == THRESHOLD_CROSSED
    assert outcome.crossed() == {f"http_req_failed{{name:{BOOK[4]}}}"}
    assert len(outcome.samples("errors")) == 3


def test_an_operation_that_gets_slow_crosses_its_own_threshold_alone(script: Script) -> None:
    def slowly(asked: Asked) -> None:
        if operation(asked) == CANCEL:
            time.sleep(0.31)

    with StandIn(override=slowly) as clinic:
        outcome = script.iterations(8, clinic, JOURNEY="cancel")

    assert outcome.status == THRESHOLD_CROSSED
    assert outcome.crossed() == {f"http_req_duration{{name:{CANCEL}}}"}


def test_iterations_that_could_not_start_are_counted(script: Script) -> None:
    with StandIn(override=slow) as clinic:
        outcome = script.run(clinic.url, PROFILE="smoke", DURATION="3s", RATE="9", VUS="1")

    assert sum(sample["value"] for sample in outcome.samples("dropped_iterations")) > 10


def test_a_breakpoint_run_stops_where_the_clinic_gives_way(script: Script) -> None:
    with StandIn(
        override=lambda asked: (503, {}) if "baggage" in asked.headers else None
    ) as clinic:
        began = time.monotonic()
        outcome = script.run(clinic.url, PROFILE="breakpoint", DURATION="60s", RATE="5", VUS="5")

    assert outcome.status == THRESHOLD_CROSSED
    assert 9 < time.monotonic() - began < 40


# The target


def test_a_clinic_that_keeps_us_out_gets_no_load(script: Script) -> None:
    def closed(asked: Asked) -> Answer | None:
        return None if asked.headers.get("authorization") == "Bearer open" else (401, {})

    with StandIn(override=closed) as clinic:
        refused = script.iterations(1, clinic)
        let_in = script.iterations(1, clinic, CLINIC_API_TOKEN="open")

    assert refused.status == TEST_ABORTED
    assert "did not let us in (status 401). No load was sent. Set CLINIC_API_TOKEN" in refused.said
    assert let_in.status == 0


@pytest.mark.parametrize("answer", [(404, {}), (200, {"hello": 1}), (200, [{"id": "a"}])])
def test_what_is_no_clinic_gets_no_load(script: Script, answer: Answer) -> None:
    with StandIn(override=lambda _: answer) as other:
        outcome = script.iterations(1, other)

    assert outcome.status == TEST_ABORTED
    assert f"What answers at {other.url} is no clinic" in outcome.said
    assert not other.load


REMOTE = ("https://clinic.example.com", "http://10.1.2.3:8000", "http://127.0.0.1.evil.example:80")
LOCAL = ("http://localhost:8000", "http://127.9.9.9", "http://[::1]:8000/clinic")


@pytest.mark.parametrize("url", REMOTE)
def test_a_target_elsewhere_must_be_confirmed(script: Script, url: str) -> None:
    outcome = script.run(url)

    assert outcome.status == SCRIPT_FAILED
    assert f"BASE_URL is {url}, which is not this machine" in outcome.said
    assert script.options(BASE_URL=url, CONFIRM_TARGET="1")


@pytest.mark.parametrize("url", [*LOCAL, "http://host.docker.internal:8000"])
def test_this_machine_needs_no_confirmation(script: Script, url: str) -> None:
    assert script.options(BASE_URL=url)


# Cleaning up


def test_clean_up_removes_what_the_run_made_and_nothing_else(script: Script) -> None:
    def meanwhile(asked: Asked) -> None:
        if asked.method == "POST" and asked.path == "/owners":
            space = asked.body["email"][: len("client-") + 12]
            clinic.owners[900] = {"id": 900, "email": "someone-else@example.com"}
            for key in range(1001, 1601):  # as if by another virtual user
                clinic.owners[key] = {"id": key, "email": f"{space}{key}@example.com"}

    with StandIn(override=meanwhile) as clinic:
        clinic.owners = {key: {"id": key, "email": f"{key}@example.com"} for key in range(1, 701)}
        clinic.ids = itertools.count(701)
        outcome = script.iterations(25, clinic, CLEANUP="1")

    assert set(clinic.owners) == {*range(1, 701), 900}
    assert "Removed 625 owners with their pets and appointments." in outcome.said
    pages = [asked for asked in clinic.asked if asked.query.get("limit") == "500"]
    assert len(pages) == 2  # those before the run are not leafed through
    of_the_load = [s for s in outcome.samples("http_reqs") if "scenario" in s["tags"]]
    assert len(of_the_load) == 25 * 6
    deleted = [s for s in outcome.samples("http_req_duration") if s["tags"]["method"] == "DELETE"]
    assert len(deleted) == 625
    assert not any("scenario" in sample["tags"] for sample in deleted)
    assert {sample["tags"]["name"] for sample in deleted}.isdisjoint(slo.OPERATIONS)


def test_without_it_everything_stays(script: Script) -> None:
    with StandIn() as clinic:
        script.iterations(3, clinic)

    assert len(clinic.owners) == 3
    assert not [asked for asked in clinic.asked if asked.method == "DELETE"]
