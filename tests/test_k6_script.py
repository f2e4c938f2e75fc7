"""The load script, run by the real k6 against a stand-in for the clinic."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from observability.native.tools import find
from observability.runs.load import SCRIPT
from observability.runs.numbers import FLOW
from tests.stand_in import Answer, Asked, StandIn

pytestmark = pytest.mark.bundle

RUN = "20261123-053249-smoke"
THRESHOLD_CROSSED = 99
INTERRUPTED = 105
SCRIPT_FAILED = 107
TEST_ABORTED = 108


@dataclass
class Outcome:
    """How a run of k6 ended, and every sample it took."""

    status: int
    said: str
    lines: list[dict[str, Any]]

    def samples(self, metric: str) -> list[dict[str, Any]]:
        return [
            line["data"]
            for line in self.lines
            if line["type"] == "Point" and line["metric"] == metric
        ]

    def metric(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            line["data"]
            for line in self.lines
            if line["type"] == "Metric" and line["metric"] == name
        )
        return found


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def k6() -> Path:
    return find("k6")


@pytest.fixture
def start(k6: Path, tmp_path: Path) -> Start:
    def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        ours = ("K6_", "BASE_URL", "PROFILE", "RUN_ID", "CLINIC_API_TOKEN")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.Popen(
            [
                k6,
                "run",
                "--quiet",
                "--out",
                f"json={tmp_path / 'samples.json'}",
                *arguments,
                SCRIPT,
            ],
            env=kept | {"K6_NO_USAGE_REPORT": "true"} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def outcome_of(tmp_path: Path) -> Callable[[subprocess.Popen[str]], Outcome]:
    def outcome_of(process: subprocess.Popen[str]) -> Outcome:
        said, _ = process.communicate(timeout=60)
        file = tmp_path / "samples.json"
        lines = file.read_text().splitlines() if file.exists() else []
        return Outcome(process.returncode, said, [json.loads(line) for line in lines])

    return outcome_of


@pytest.fixture
def visits(start: Start, outcome_of: Callable[[subprocess.Popen[str]], Outcome]) -> Any:
    """Run a number of visits, one after the other."""

    def visits(count: int, stand_in: StandIn, **settings: str) -> Outcome:
        few = ("--vus", "1", "--iterations", str(count))
        return outcome_of(start(*few, BASE_URL=stand_in.url, **settings))

    return visits


Visits = Callable[..., Outcome]


def operation(asked: Asked) -> str:
    path = re.sub(r"^/owners/\d+", "/owners/{owner_id}", asked.path)
    return f"{asked.method} " + re.sub(r"^/pets/\d+", "/pets/{pet_id}", path)


@pytest.fixture
def inspected(k6: Path) -> Callable[[str], dict[str, Any]]:
    def inspected(profile: str) -> dict[str, Any]:
        answer = subprocess.run(
            [k6, "inspect", "--env", f"PROFILE={profile}", SCRIPT],
            stdout=subprocess.PIPE,
            check=True,
        )
        options: dict[str, Any] = json.loads(answer.stdout)
        return options

    return inspected


Inspected = Callable[[str], dict[str, Any]]


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
    ],
)
def test_each_profile_is_one_scenario_with_the_users_stages(
    inspected: Inspected, profile: str, scenario: dict[str, Any]
) -> None:
    scenarios = inspected(profile)["scenarios"]

    assert list(scenarios) == [profile]
    assert scenarios[profile] | scenario == scenarios[profile]


def test_thresholds_are_the_users_and_the_objective_of_each_operation(
    inspected: Inspected,
) -> None:
    thresholds = inspected("load")["thresholds"]

    assert thresholds.pop("http_req_failed") == ["rate<0.01"]
    assert thresholds.pop("http_req_duration") == ["p(95)<800"]
    assert thresholds.pop("errors") == ["count<10"]
    assert thresholds == {
        f"http_req_duration{{name:{name}}}": [
            "p(95)<300" if name.startswith("POST") else "p(95)<200"
        ]
        for name in FLOW
    }


def test_stress_keeps_the_users_thresholds_alone(inspected: Inspected) -> None:
    thresholds = inspected("stress")["thresholds"]

    latency = {name: limit for name, limit in thresholds.items() if "duration" in name}
    assert set(map(tuple, latency.values())) == {("p(95)<800",)}
    assert thresholds["http_req_failed"] == ["rate<0.01"]
    assert thresholds["errors"] == ["count<10"]


def test_a_visit_asks_for_everything_in_order_and_says_whose_it_is(
    start: Start, outcome_of: Callable[[subprocess.Popen[str]], Outcome]
) -> None:
    """Also, that Ctrl-C ends a run in its midst with k6's summary."""
    with StandIn() as clinic:
        settings = {"PROFILE": "smoke", "RUN_ID": RUN, "CLINIC_API_TOKEN": "open"}
        process = start(BASE_URL=clinic.url, **settings)
        time.sleep(4.5)
        process.send_signal(signal.SIGINT)
        outcome = outcome_of(process)
        asked = clinic.load

    assert outcome.status == INTERRUPTED
    assert "http_req_duration" in outcome.said
    assert len(asked) >= 6 * 9
    assert {request.headers.get("baggage") for request in asked} == {
        f"k6.test_run_id={RUN},k6.scenario=smoke"
    }
    assert {request.headers.get("authorization") for request in asked} == {"Bearer open"}
    assert not any("traceparent" in request.headers for request in clinic.asked)
    assert [operation(request) for request in asked[:6]] == list(FLOW)
    names = [sample["tags"]["name"] for sample in outcome.samples("http_reqs")]
    assert sorted(set(names)) == sorted([*FLOW, "GET /readyz"])
    assert {sample["tags"]["testid"] for sample in outcome.samples("http_reqs")} == {RUN}
    for trend in ("owner", "pet", "appointment"):
        assert outcome.metric(f"{trend}_creation_duration")["contains"] == "time"
        assert outcome.samples(f"{trend}_creation_duration")


def test_data_is_unique_and_realistic(visits: Visits) -> None:
    with StandIn() as clinic:
        outcome = visits(60, clinic)
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


def test_two_generators_never_meet(visits: Visits) -> None:
    emails: list[str] = []
    for _ in range(2):
        with StandIn() as clinic:
            visits(20, clinic)
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
    visits: Visits, fault: Callable[[Asked], Answer | None]
) -> None:
    with StandIn(override=fault) as clinic:
        outcome = visits(12, clinic)
        asked = [operation(request) for request in clinic.load]

    assert asked == ["POST /owners", "POST /owners/{owner_id}/pets"] * 12
    errors = outcome.samples("errors")
    assert [error["tags"]["operation"] for error in errors] == [FLOW[1]] * 12
    assert not outcome.samples("pet_creation_duration")
    assert len(outcome.samples("owner_creation_duration")) == 12
    assert outcome.status == THRESHOLD_CROSSED


def test_a_list_without_what_was_registered_is_a_failure(visits: Visits) -> None:
    with StandIn(override=lambda asked: (200, []) if asked.method == "GET" else None) as clinic:
        outcome = visits(1, clinic)

    assert [error["tags"]["operation"] for error in outcome.samples("errors")] == ["GET /owners"]
    assert operation(clinic.load[-1]) == "GET /owners"


def test_no_load_is_sent_to_a_clinic_that_is_not_ready(visits: Visits) -> None:
    with StandIn(ready=503) as clinic:
        outcome = visits(3, clinic)

    assert outcome.status == TEST_ABORTED
    assert f"GET {clinic.url}/readyz gave status 503, expected 200" in outcome.said
    assert "No load was sent" in outcome.said
    assert [asked.path for asked in clinic.asked] == ["/readyz"]


def test_no_load_is_sent_where_nobody_answers(visits: Visits) -> None:
    with StandIn() as clinic:
        pass
    outcome = visits(3, clinic)

    assert outcome.status == TEST_ABORTED
    assert "gave no answer" in outcome.said


def test_a_run_without_an_id_makes_one_and_says_it(visits: Visits) -> None:
    with StandIn() as clinic:
        outcome = visits(2, clinic)

    said = re.search(r"This run is (\d{8}-\d{6}-load)\.", outcome.said)
    assert said
    scenario = "default"  # k6's own name when a number of iterations is asked for
    assert {request.headers["baggage"] for request in clinic.load} == {
        f"k6.test_run_id={said[1]},k6.scenario={scenario}"
    }
    of_the_load = outcome.samples("http_reqs")[1:]
    assert {sample["tags"].get("testid") for sample in of_the_load} == {said[1]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PROFILE": "nope"}, "expected one of: smoke, load, stress"),
        ({"PROFILE": "toString"}, "expected one of: smoke, load, stress"),
        ({"RUN_ID": "a b"}, "expected 1 to 64 of the characters"),
        ({"RUN_ID": "x" * 65}, "expected 1 to 64 of the characters"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    visits: Visits, settings: dict[str, str], sentence: str
) -> None:
    with StandIn() as clinic:
        outcome = visits(1, clinic, **settings)

    assert outcome.status == SCRIPT_FAILED
    assert sentence in outcome.said
    assert not clinic.asked
