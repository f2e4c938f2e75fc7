"""The load script, run by the real k6 against a stand-in for the clinic."""

import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.runs.reader import FLOW
from tests.support.fake_clinic import Answer, Asked, StandIn
from tests.support.k6 import (
    INTERRUPTED,
    SCRIPT_FAILED,
    TEST_ABORTED,
    THRESHOLD_CROSSED,
    Outcome,
    Script,
    operation,
)

pytestmark = pytest.mark.stack

RUN = "20261123-053249-smoke"
BOOKING = FLOW[:6]

Visits = Callable[..., Outcome]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture
def iterations(script: Script) -> Visits:
    return script.iterations


@pytest.mark.parametrize(
    ("profile", "scenario"),
    [
        (
            "smoke",
            {"executor": "constant-arrival-rate", "rate": 3, "timeUnit": "1s", "duration": "20s"},
        ),
        (
            "load",
            {
                "executor": "ramping-arrival-rate",
                "startRate": 2,
                "timeUnit": "1s",
                "preAllocatedVUs": 20,
                "maxVUs": 50,
                "stages": [
                    {"target": 10, "duration": "2m0s"},
                    {"target": 30, "duration": "3m0s"},
                    {"target": 10, "duration": "2m0s"},
                ],
            },
        ),
        (
            "stress",
            {
                "executor": "ramping-vus",
                "startVUs": 0,
                "stages": [
                    {"target": 20, "duration": "1m0s"},
                    {"target": 60, "duration": "2m0s"},
                    {"target": 100, "duration": "1m0s"},
                    {"target": 0, "duration": "1m0s"},
                ],
            },
        ),
        (
            "spike",
            {
                "executor": "ramping-vus",
                "startVUs": 5,
                "stages": [
                    {"target": 5, "duration": "30s"},
                    {"target": 100, "duration": "10s"},
                    {"target": 100, "duration": "1m0s"},
                    {"target": 5, "duration": "10s"},
                    {"target": 5, "duration": "1m0s"},
                ],
            },
        ),
        (
            "soak",
            {"executor": "constant-arrival-rate", "rate": 10, "duration": "1h0m0s"},
        ),
        (
            "breakpoint",
            {
                "executor": "ramping-arrival-rate",
                "startRate": 5,
                "stages": [{"target": 150, "duration": "10m0s"}],
                "maxVUs": 400,
            },
        ),
    ],
)
def test_each_profile_is_one_scenario_with_the_users_stages(
    script: Script, profile: str, scenario: dict[str, Any]
) -> None:
    scenarios = script.options(PROFILE=profile)["scenarios"]

    assert list(scenarios) == [profile]
    assert scenarios[profile] | scenario == scenarios[profile]


def test_a_visit_asks_for_everything_in_order_and_says_whose_it_is(script: Script) -> None:
    """Also, that Ctrl-C ends a run in its midst with k6's summary."""
    with StandIn() as clinic:
        settings = {"PROFILE": "smoke", "RUN_ID": RUN, "CLINIC_API_TOKEN": "open"}
        process = script.start(BASE_URL=clinic.url, **settings)
        time.sleep(4.5)
        process.send_signal(signal.SIGINT)
        outcome = script.outcome(process)
        asked = clinic.load

    assert outcome.status == INTERRUPTED
    assert "http_req_duration" in outcome.said
    assert len(asked) >= 6 * 9
    assert {request.headers.get("baggage") for request in asked} == {
        f"k6.test_run_id={RUN},k6.scenario=smoke"
    }
    assert {request.headers.get("authorization") for request in asked} == {"Bearer open"}
    assert not any("traceparent" in request.headers for request in clinic.asked)
    assert [operation(request) for request in asked[:6]] == list(BOOKING)
    names = [sample["tags"]["name"] for sample in outcome.samples("http_reqs")]
    before = {"GET /readyz", "GET /owners before the load"}
    assert set(names) == {*BOOKING, *before}
    assert {sample["tags"]["testid"] for sample in outcome.samples("http_reqs")} == {RUN}
    for trend in ("owner", "pet", "appointment"):
        assert outcome.metric(f"{trend}_creation_duration")["contains"] == "time"
        assert outcome.samples(f"{trend}_creation_duration")


def test_data_is_unique_and_realistic(iterations: Visits) -> None:
    with StandIn() as clinic:
        outcome = iterations(60, clinic)
        bodies: dict[str, list[Any]] = {}
        for request in clinic.load:
            bodies.setdefault(operation(request), []).append(request.body)

    assert outcome.status == 0
    owners = bodies["POST /owners"]
    assert len({owner["email"] for owner in owners}) == 60
    assert all(re.fullmatch(r"client-[0-9a-f]{24}@example\.com", o["email"]) for o in owners)
    assert all(set(owner) == {"name", "email", "phone"} for owner in owners)
    pets = bodies["POST /owners/{owner_id}/pets"]
    assert {pet["species"] for pet in pets} == {"dog", "cat", "rabbit", "bird"}
    assert all(set(pet) == {"name", "species", "breed"} for pet in pets)
    times = [
        datetime.fromisoformat(booking["scheduled_at"])
        for booking in bodies["POST /pets/{pet_id}/appointments"]
    ]
    now = datetime.now(UTC)
    assert all(now < time < now + timedelta(days=93) for time in times)
    assert len({time.hour for time in times}) > 4
    booked = [request.path for request in clinic.load if request.path.endswith("/appointments")]
    assert len(set(booked)) == 60


def test_two_generators_never_meet(iterations: Visits) -> None:
    emails: list[str] = []
    for _ in range(2):
        with StandIn() as clinic:
            iterations(20, clinic)
            emails += [
                request.body["email"]
                for request in clinic.load
                if request.path == "/owners" and request.body
            ]

    assert len(set(emails)) == len(emails) == 40


def refuse_pets(asked: Asked) -> Answer | None:
    return (500, {}) if operation(asked) == "POST /owners/{owner_id}/pets" else None


def forget_the_id(asked: Asked) -> Answer | None:
    return (201, {"name": "x"}) if operation(asked) == "POST /owners/{owner_id}/pets" else None


def forget_the_body(asked: Asked) -> Answer | None:
    return (201, None) if operation(asked) == "POST /owners/{owner_id}/pets" else None


@pytest.mark.parametrize("fault", [refuse_pets, forget_the_id, forget_the_body])
def test_a_step_that_fails_counts_and_ends_the_visit(
    iterations: Visits, fault: Callable[[Asked], Answer | None]
) -> None:
    with StandIn(override=fault) as clinic:
        outcome = iterations(12, clinic)
        asked = [operation(request) for request in clinic.load]

    assert asked == ["POST /owners", "POST /owners/{owner_id}/pets"] * 12
    errors = outcome.samples("errors")
    assert [error["tags"]["operation"] for error in errors] == [BOOKING[1]] * 12
    assert not outcome.samples("pet_creation_duration")
    assert len(outcome.samples("owner_creation_duration")) == 12
    assert outcome.status == THRESHOLD_CROSSED


def test_a_list_without_what_was_registered_is_a_failure(iterations: Visits) -> None:
    with StandIn(override=lambda asked: (200, []) if asked.method == "GET" else None) as clinic:
        outcome = iterations(1, clinic)

    assert [error["tags"]["operation"] for error in outcome.samples("errors")] == ["GET /owners"]
    assert operation(clinic.load[-1]) == "GET /owners"


def test_no_load_is_sent_to_a_clinic_that_is_not_ready(iterations: Visits) -> None:
    with StandIn(ready=503) as clinic:
        outcome = iterations(3, clinic)

    assert outcome.status == TEST_ABORTED
    assert f"GET {clinic.url}/readyz gave status 503, expected 200" in outcome.said
    assert "No load was sent" in outcome.said
    assert [asked.path for asked in clinic.asked] == ["/readyz"]


def test_no_load_is_sent_where_nobody_answers(iterations: Visits) -> None:
    with StandIn() as clinic:
        pass
    outcome = iterations(3, clinic)

    assert outcome.status == TEST_ABORTED
    assert "gave no answer" in outcome.said


def test_a_run_without_an_id_makes_one_and_says_it(iterations: Visits) -> None:
    with StandIn() as clinic:
        outcome = iterations(2, clinic)

    said = re.search(r"Run (\d{8}-\d{6}-load): load, book;", outcome.said)
    assert said
    scenario = "default"  # k6's own name when a number of iterations is asked for
    assert {request.headers["baggage"] for request in clinic.load} == {
        f"k6.test_run_id={said[1]},k6.scenario={scenario}"
    }
    of_the_load = outcome.samples("http_reqs")[2:]
    assert {sample["tags"].get("testid") for sample in of_the_load} == {said[1]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PROFILE": "nope"}, "expected one of: smoke, load, soak, breakpoint, stress, spike"),
        ({"PROFILE": "toString"}, "expected one of: smoke, load"),
        ({"JOURNEY": "sing"}, "expected one of: book, browse, cancel, mixed"),
        ({"RUN_ID": "a b"}, "expected 1 to 64 of the characters"),
        ({"RUN_ID": "x" * 65}, "expected 1 to 64 of the characters"),
        ({"GENERATOR": "a b"}, "expected 1 to 64 of the characters"),
        ({"DURATION": "5"}, 'DURATION is "5"; expected a time up to 48h, such as 90s or 1h30m'),
        ({"DURATION": "0s"}, "expected a time up to 48h"),
        ({"DURATION": "49h"}, "expected a time up to 48h"),
        ({"RATE": "0"}, "expected a whole number from 1 to 10000"),
        ({"RATE": "1.5"}, "expected a whole number from 1 to 10000"),
        ({"VUS": "-3"}, "expected a whole number from 1 to 10000"),
        ({"RATE": "5", "PROFILE": "stress"}, "stress has users, not arrivals: set VUS instead"),
        ({"CLEANUP": "yes"}, 'CLEANUP is "yes"; expected 1 for yes, or 0'),
        ({"BASE_URL": "clinic:8000"}, "expected an address such as http://localhost:8000"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    script: Script, settings: dict[str, str], sentence: str
) -> None:
    with StandIn() as clinic:
        outcome = script.outcome(script.start(**{"BASE_URL": clinic.url} | settings))

    assert outcome.status == SCRIPT_FAILED
    assert sentence in outcome.said.replace('\\"', '"')
    assert not clinic.asked
