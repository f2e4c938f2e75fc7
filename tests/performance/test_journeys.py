"""Iterations of each journey: their requests, data, metrics and failures, and the clean-up."""

import itertools
import json
import re
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lab import slo
from tests.support.fake_clinic import FakeClinic, Request, Response
from tests.support.k6 import (
    CANCEL,
    CREATE_APPOINTMENT,
    CREATE_OWNER,
    CREATE_PET,
    INTERRUPTED,
    LIST_OWNERS,
    LIST_PETS,
    STEPS,
    THRESHOLDS_FAILED,
    Script,
    fail,
    fail_one_in_twenty,
)

pytestmark = pytest.mark.stack

RUN = "20261123-053249-smoke"


# Requests


@pytest.mark.parametrize("journey", ["book", "cancel", "browse"])
def test_journey_sends_its_steps_in_order(script: Script, journey: str) -> None:
    with FakeClinic() as clinic:
        outcome = script.iterations(2, clinic, JOURNEY=journey)

    assert outcome.status == 0
    assert [request.operation for request in clinic.load] == list(STEPS[journey]) * 2
    assert outcome.tags("http_reqs", "name")[2:] == list(STEPS[journey]) * 2
    assert set(outcome.tags("checks", "journey")) == {journey}
    assert not outcome.samples("errors")


def test_browsing_reads_pages_by_day_and_veterinarian(script: Script) -> None:
    with FakeClinic() as clinic:
        clinic.owners = {key: {"id": key, "email": "x@example.com"} for key in range(1, 500)}
        script.iterations(1, clinic, JOURNEY="browse")
        agenda, owners = (
            [request.query for request in clinic.load if request.operation == name]
            for name in ("GET /appointments", LIST_OWNERS)
        )

    assert [sorted(query) for query in agenda] == [
        ["from", "limit"],
        ["from", "limit", "to"],
        ["from", "limit", "veterinarian"],
    ]
    assert [query.get("cursor") for query in owners] == [None, "450", "400"]


def test_mixed_run_draws_journeys_by_weight(script: Script) -> None:
    with FakeClinic() as clinic:
        outcome = script.iterations(100, clinic, users=20, JOURNEY="mixed")

    journeys = Counter(outcome.tags("iterations", "journey"))
    assert outcome.status == 0
    assert set(journeys) == {"book", "browse", "cancel"}
    assert journeys["cancel"] < min(journeys["book"], journeys["browse"])


def test_requests_name_the_run_and_ctrl_c_ends_with_a_summary(script: Script) -> None:
    with FakeClinic() as clinic:
        settings = {"PROFILE": "smoke", "RUN_ID": RUN, "CLINIC_API_TOKEN": "open"}
        process = script.start(BASE_URL=clinic.url, **settings)
        while not {request.operation for request in clinic.load} >= {*STEPS["book"]}:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        outcome = script.finish(process)

    assert outcome.status == INTERRUPTED
    assert "http_req_duration" in outcome.output
    assert {request.headers["baggage"] for request in clinic.load} == {
        f"k6.test_run_id={RUN},k6.scenario=smoke"
    }
    assert {request.headers.get("authorization") for request in clinic.load} == {"Bearer open"}
    assert not any("traceparent" in request.headers for request in clinic.requests)
    assert set(outcome.tags("http_reqs", "name")) == {
        *STEPS["book"],
        "GET /readyz",
        "GET /owners before the load",
    }
    assert set(outcome.tags("http_reqs", "testid")) == {RUN}


def test_run_without_an_id_gets_one_from_time_and_profile(script: Script) -> None:
    with FakeClinic() as clinic:
        outcome = script.iterations(2, clinic)

    # k6's own options, here a number of iterations, replace the profile's load.
    run_id = re.search(r"Run (\d{8}-\d{6}-custom): custom, book;", outcome.output)
    assert run_id
    assert {request.headers["baggage"] for request in clinic.load} == {
        f"k6.test_run_id={run_id[1]},k6.scenario=load"
    }
    assert set(outcome.tags("http_reqs", "testid")[2:]) == {run_id[1]}


def test_data_is_unique_and_realistic(script: Script) -> None:
    with FakeClinic() as clinic:
        script.iterations(60, clinic)
        script.iterations(20, clinic)  # another generator
        bodies: dict[str, list[Any]] = {}
        for request in clinic.load:
            bodies.setdefault(request.operation, []).append(request.body)

    owners, pets = bodies[CREATE_OWNER], bodies[CREATE_PET]
    assert len({owner["email"] for owner in owners}) == len(owners) == 80
    assert all(re.fullmatch(r"client-[0-9a-f]{24}@example\.com", o["email"]) for o in owners)
    assert all(set(owner) == {"name", "email", "phone"} for owner in owners)
    assert {pet["species"] for pet in pets} == {"dog", "cat", "rabbit", "bird"}
    assert all(set(pet) == {"name", "species", "breed"} for pet in pets)
    appointments = bodies[CREATE_APPOINTMENT]
    times = [datetime.fromisoformat(booked["scheduled_at"]) for booked in appointments]
    now = datetime.now(UTC)
    assert all(now < time < now + timedelta(days=93) for time in times)
    assert len({time.hour for time in times}) > 4


# Metrics and failures


def test_each_operation_has_a_duration(script: Script) -> None:
    with FakeClinic() as clinic:
        outcome = script.iterations(3, clinic, JOURNEY="cancel")

    counts = {
        f"{name}_duration": count
        for name, count in (
            *(("owner_creation", 3), ("pet_creation", 3), ("appointment_creation", 3)),
            *(("appointment_cancellation", 6), ("appointment_reading", 6)),
        )
    }
    assert {metric: len(outcome.samples(metric)) for metric in counts} == counts


def test_how_late_pauses_return_is_measured(script: Script) -> None:
    with FakeClinic() as clinic:
        quick = script.iterations(5, clinic)
        browsing = script.iterations(1, clinic, JOURNEY="browse")
        thinking = script.iterations(1, clinic, PROFILE="stress")

    # One after each iteration, and four within one that browses.
    for outcome, count in ((quick, 5), (browsing, 5), (thinking, 1)):
        late = outcome.values("pause_lateness")
        assert len(late) == count
        assert min(late) >= 0
        assert all(milliseconds == int(milliseconds) for milliseconds in late)
    assert set(quick.tags("pause_lateness", "scenario")) == {"load"}
    assert thinking.values("iteration_duration")[0] > 500


def test_server_and_database_durations_are_those_that_the_responses_state(script: Script) -> None:
    with FakeClinic(server_timing="total;dur=12.5, db;dur=4") as clinic:
        outcome = script.iterations(3, clinic)
    with FakeClinic(server_timing="db, total;dur=?") as unclear, FakeClinic() as silent:
        others = [script.iterations(3, unclear), script.iterations(3, silent)]

    for metric, milliseconds in (("server_duration", 12.5), ("database_duration", 4)):
        assert outcome.values(metric) == [milliseconds] * 18
        assert outcome.tags(metric, "name") == outcome.tags("http_req_duration", "name")[-18:]
        assert not any(other.samples(metric) for other in others)
    assert {other.status for other in others} == {0}


def test_a_failed_request_has_a_server_duration(script: Script) -> None:
    refused = fail(CREATE_OWNER, (503, {}))
    with FakeClinic(override=refused, server_timing="total;dur=1") as clinic:
        outcome = script.iterations(3, clinic)

    assert outcome.values("server_duration") == [1] * 3


def break_off(request: Request) -> Response | None:
    if request.operation == CREATE_PET:
        raise ConnectionResetError
    return None


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        (fail(CREATE_PET, (500, {})), "status"),
        (fail(CREATE_PET, (201, {"name": "no id"})), "body"),
        (fail(CREATE_PET, (201, None)), "body"),
        (break_off, "no response"),
    ],
)
def test_failed_check_counts_once_and_ends_the_iteration(
    script: Script, override: Any, kind: str
) -> None:
    with FakeClinic(override=override) as clinic:
        outcome = script.iterations(12, clinic)

    assert [request.operation for request in clinic.load] == [CREATE_OWNER, CREATE_PET] * 12
    assert outcome.tags("errors", "operation") == [CREATE_PET] * 12
    assert outcome.tags("errors", "kind") == [kind] * 12
    assert outcome.values("failed_iterations") == [1] * 12
    assert not outcome.samples("pet_creation_duration")
    assert len(outcome.samples("owner_creation_duration")) == 12
    assert outcome.status == THRESHOLDS_FAILED


def test_an_error_has_the_status_and_the_title_of_its_problem(script: Script) -> None:
    problem = {"title": "Conflict", "detail": "ana.rojas@example.org is taken.", "status": 409}
    with FakeClinic(override=fail(CREATE_PET, (409, problem))) as clinic:
        outcome = script.iterations(2, clinic)

    for tag, value in (("status", "409"), ("title", "Conflict"), ("error_code", None)):
        assert outcome.tags("errors", tag) == [value] * 2
    assert "ana.rojas" not in str(outcome.lines)


def test_an_error_without_a_response_has_k6s_error_code(script: Script) -> None:
    with FakeClinic(override=break_off) as clinic:
        outcome = script.iterations(1, clinic)

    assert outcome.tags("errors", "status") == ["0"]
    assert outcome.tags("errors", "title") == [None]
    [code] = outcome.tags("errors", "error_code")
    assert code is not None
    assert 1000 <= int(code) < 1400


@pytest.mark.parametrize(
    ("title", "tag"),
    [
        ("x" * 200, "x" * 80),
        ("Fine\nand \u202e\u00fcber", "Fine and   ber"),
        ("4711", None),
        ("ana.rojas@example.org is taken", None),
        ("Phone +56 9 1234 5678 is taken", None),
        ("Call 912-345-678", None),
        ("", None),
        (["a list"], None),
        ({"a": "dict"}, None),
    ],
)
def test_a_title_is_short_printable_text(script: Script, title: object, tag: str | None) -> None:
    with FakeClinic(override=fail(CREATE_OWNER, (500, {"title": title}))) as clinic:
        outcome = script.iterations(1, clinic)

    assert outcome.tags("errors", "title") == [tag]


@pytest.mark.parametrize(
    ("status", "kind"), [(201, "body"), (409, "title"), (422, "detail"), (500, "body")]
)
def test_what_the_load_sends_is_neither_printed_nor_measured(
    script: Script, status: int, kind: str
) -> None:
    def echo(request: Request) -> Response | None:
        if request.operation != CREATE_OWNER:
            return None
        sent = json.dumps(request.body)
        return status, {"body": {"sent": sent}, "title": {"title": sent}}.get(
            kind, {"title": "Unprocessable Content", "detail": sent}
        )

    with FakeClinic(override=echo) as clinic:
        outcome = script.iterations(3, clinic)
        bodies = [request.body for request in clinic.load]

    assert len(bodies) == 3
    assert outcome.tags("errors", "status") == [str(status)] * 3
    for value in (value for body in bodies for value in body.values()):
        assert value not in outcome.output
        assert value not in json.dumps(outcome.lines, ensure_ascii=False)


def test_titles_are_few_whatever_the_server_answers(script: Script) -> None:
    numbers = itertools.count()

    def override(request: Request) -> Response | None:
        named = request.operation == CREATE_OWNER
        return (500, {"title": f"Error {next(numbers)}"}) if named else None

    with FakeClinic(override=override) as clinic:
        outcome = script.iterations(30, clinic)

    titles = Counter(outcome.tags("errors", "title"))
    assert len(titles) == 21
    assert titles["other"] == 10


def test_empty_list_after_registration_is_an_error(script: Script) -> None:
    with FakeClinic(override=fail(LIST_OWNERS, (200, []))) as clinic:
        outcome = script.iterations(1, clinic)

    assert outcome.tags("errors", "operation") == [LIST_OWNERS]
    assert clinic.load[-1].operation == LIST_OWNERS


def test_appointment_that_stays_booked_is_an_error(script: Script) -> None:
    def ignore(request: Request) -> Response | None:
        number = request.path.split("/")[2] if request.operation == CANCEL else None
        return (200, {"id": int(number), "status": "booked"}) if number else None

    with FakeClinic(override=ignore) as clinic:
        outcome = script.iterations(2, clinic, JOURNEY="cancel")

    assert outcome.tags("errors", "operation") == [CANCEL] * 2
    assert outcome.values("failed_iterations") == [1, 1]
    assert not outcome.samples("appointment_cancellation_duration")


def test_failures_fail_the_threshold_of_their_operation_only(script: Script) -> None:
    with FakeClinic(override=fail_one_in_twenty(LIST_PETS)) as clinic:
        outcome = script.iterations(60, clinic)

    assert outcome.status == THRESHOLDS_FAILED
    assert outcome.failed_thresholds() == {f"http_req_failed{{name:{LIST_PETS}}}"}
    assert len(outcome.samples("errors")) == 3


def test_slowness_fails_the_threshold_of_its_operation_only(script: Script) -> None:
    def delay(request: Request) -> None:
        if request.operation == CANCEL:
            time.sleep(0.31)

    with FakeClinic(override=delay) as clinic:
        outcome = script.iterations(8, clinic, JOURNEY="cancel")

    assert outcome.status == THRESHOLDS_FAILED
    assert outcome.failed_thresholds() == {f"http_req_duration{{name:{CANCEL}}}"}


def test_iterations_without_a_free_user_are_dropped(script: Script) -> None:
    with FakeClinic(override=lambda _: time.sleep(0.5)) as clinic:
        outcome = script.run(clinic.url, PROFILE="smoke", DURATION="3s", RATE="9", VUS="1")

    assert sum(outcome.values("dropped_iterations")) > 10


def test_breakpoint_aborts_at_the_first_failed_threshold(script: Script) -> None:
    with FakeClinic(
        override=lambda request: (503, {}) if "baggage" in request.headers else None
    ) as clinic:
        started = time.monotonic()
        outcome = script.run(clinic.url, PROFILE="breakpoint", DURATION="60s", RATE="5", VUS="5")

    assert outcome.status == THRESHOLDS_FAILED
    assert time.monotonic() - started < 50


# Clean-up


def test_clean_up_deletes_what_the_run_created_and_nothing_else(script: Script) -> None:
    def meanwhile(request: Request) -> None:
        if request.operation == CREATE_OWNER:
            prefix = request.body["email"][: len("client-") + 12]
            clinic.owners[900] = {"id": 900, "email": "someone-else@example.com"}
            for key in range(1001, 1601):  # as another virtual user of the run would
                clinic.owners[key] = {"id": key, "email": f"{prefix}{key}@example.com"}

    with FakeClinic(override=meanwhile) as clinic:
        clinic.owners = {key: {"id": key, "email": f"{key}@example.com"} for key in range(1, 701)}
        clinic.ids = itertools.count(701)
        outcome = script.iterations(25, clinic, CLEANUP="1")

    assert set(clinic.owners) == {*range(1, 701), 900}
    assert "Deleted 625 owners" in outcome.output
    # Pages of owners that are older than the run are not read.
    assert [request.query.get("limit") for request in clinic.requests].count("500") == 2
    assert sum("scenario" in sample["tags"] for sample in outcome.samples("http_reqs")) == 25 * 6
    deletes = [s["tags"] for s in outcome.samples("http_reqs") if s["tags"]["method"] == "DELETE"]
    assert len(deletes) == 625
    assert not any("scenario" in tags for tags in deletes)
    assert {tags["name"] for tags in deletes}.isdisjoint(slo.OPERATIONS)


def test_without_clean_up_everything_stays(script: Script) -> None:
    with FakeClinic() as clinic:
        script.iterations(3, clinic)

    assert len(clinic.owners) == 3
    assert not [request for request in clinic.requests if request.method == "DELETE"]
