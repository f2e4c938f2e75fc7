"""Every profile and journey, the objective, and what a run says of itself, by the real k6."""

import itertools
import json
import re
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from observability import queries, slo
from observability.native.tools import find
from observability.runs import load, numbers
from observability.runs.prometheus import Prometheus
from tests.k6 import SCRIPT_FAILED, TEST_ABORTED, THRESHOLD_CROSSED, Script, operation
from tests.programs import free_port, running
from tests.stand_in import Answer, Asked, StandIn

pytestmark = pytest.mark.bundle

BOOK = slo.OPERATIONS[:6]
READ, CANCEL = slo.OPERATIONS[7:]
CANCELLING = (*BOOK[:3], READ, CANCEL, CANCEL, READ)
BROWSING = ("GET /appointments",) * 3 + ("GET /owners",)
OPERATIONS = {
    "book": set(BOOK),
    "cancel": set(CANCELLING),
    "browse": set(BROWSING),
    "mixed": set(slo.OPERATIONS),
}


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


# The objective, stated once


def bare(thresholds: dict[str, list[Any]]) -> dict[str, list[str]]:
    """Leave out when a threshold stops the run."""
    return {
        metric: [limit if isinstance(limit, str) else limit["threshold"] for limit in limits]
        for metric, limits in thresholds.items()
    }


def limits_on(requests: str, objective: slo.Objective) -> dict[str, list[str]]:
    return {
        f"http_req_duration{{{requests}}}": [f"p(95)<{objective.p95 * 1000:g}"],
        f"http_req_failed{{{requests}}}": [f"rate<{objective.failed_share:g}"],
    }


def stated(profile: str, journey: str) -> dict[str, list[str]]:
    """Make the thresholds that the objective asks for, from Python's reading of it."""
    thresholds = limits_on(f"scenario:{profile}", slo.of_every_request())
    if errors := slo.most_errors(profile):
        thresholds["errors"] = [f"count<{errors}"]
    for name in OPERATIONS[journey]:
        thresholds |= limits_on(f"name:{name}", slo.objective(name, profile))
    return thresholds


@pytest.mark.parametrize("journey", load.JOURNEYS)
@pytest.mark.parametrize("profile", load.PROFILES)
def test_k6s_thresholds_are_the_objective(script: Script, profile: str, journey: str) -> None:
    options = script.options(PROFILE=profile, JOURNEY=journey)

    assert bare(options["thresholds"]) == stated(profile, journey)
    assert list(options["scenarios"]) == [profile]


def test_the_users_own_limits_stand() -> None:
    assert slo.of_every_request() == slo.Objective(0.8, 0.01)
    assert {slo.most_errors(profile) for profile in ("smoke", "load", "stress")} == {10}
    assert slo.objective("POST /owners").p95 == 0.3
    assert slo.objective("GET /appointments").p95 == 0.2
    assert {slo.objective(name, "stress").p95 for name in slo.OPERATIONS} == {0.8}


def test_only_breakpoint_stops_when_a_limit_is_crossed(script: Script) -> None:
    for profile in load.PROFILES:
        limits = script.options(PROFILE=profile)["thresholds"].values()
        stops = {
            isinstance(limit, dict) and limit["abortOnFail"] for all_ in limits for limit in all_
        }
        assert stops == {profile == "breakpoint"}


# Overrides


def shape(options: dict[str, Any]) -> Any:
    (scenario,) = options["scenarios"].values()
    if "stages" in scenario:
        first = scenario.get("startRate", scenario.get("startVUs"))
        return first, [(stage["target"], stage["duration"]) for stage in scenario["stages"]]
    return scenario["rate"], scenario["duration"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"PROFILE": "smoke", "DURATION": "5s", "RATE": "7"}, (7, "5s")),
        ({"DURATION": "70s"}, (2, [(10, "20s"), (30, "30s"), (10, "20s")])),
        ({"RATE": "60"}, (4, [(20, "2m0s"), (60, "3m0s"), (20, "2m0s")])),
        ({"RATE": "1"}, (1, "7m0s")),
        (
            {"PROFILE": "stress", "DURATION": "10s", "VUS": "10"},
            (0, [(2, "2s"), (6, "4s"), (10, "2s"), (0, "2s")]),
        ),
        ({"PROFILE": "soak", "DURATION": "8h"}, (10, "8h0m0s")),
        ({"PROFILE": "breakpoint", "RATE": "300", "DURATION": "1h"}, (10, [(300, "1h0m0s")])),
        (
            {"PROFILE": "spike", "VUS": "40", "DURATION": "17s"},
            (2, [(2, "3s"), (40, "1s"), (40, "6s"), (2, "1s"), (2, "6s")]),
        ),
    ],
)
def test_duration_rate_and_users_scale_a_profile(
    script: Script, settings: dict[str, str], expected: Any
) -> None:
    assert shape(script.options(**settings)) == expected


def virtual(script: Script, **settings: str) -> tuple[int, int]:
    (scenario,) = script.options(**settings)["scenarios"].values()
    return scenario["preAllocatedVUs"], scenario["maxVUs"]


def test_virtual_users_suffice_for_more_visits_and_for_pauses(script: Script) -> None:
    assert virtual(script) == (20, 50)
    assert virtual(script, RATE="60") == (20, 100)
    assert virtual(script, JOURNEY="browse") == (80, 170)
    assert virtual(script, VUS="12") == (12, 12)


# Journeys


@pytest.mark.parametrize(
    ("journey", "steps"), [("book", BOOK), ("cancel", CANCELLING), ("browse", BROWSING)]
)
def test_a_journeys_steps_in_their_order(
    script: Script, journey: str, steps: tuple[str, ...]
) -> None:
    with StandIn() as clinic:
        outcome = script.visits(2, clinic, JOURNEY=journey)
        asked = clinic.load

    assert outcome.status == 0
    assert [operation(request) for request in asked] == list(steps) * 2
    assert {sample["tags"]["journey"] for sample in outcome.samples("checks")} == {journey}
    assert {sample["tags"]["name"] for sample in outcome.samples("http_reqs")[2:]} == set(steps)
    assert not outcome.samples("errors")


def test_browsing_follows_the_pages_and_asks_by_day_and_veterinarian(script: Script) -> None:
    with StandIn() as clinic:
        clinic.owners = {key: {"id": key, "email": "x@example.com"} for key in range(1, 500)}
        script.visits(1, clinic, JOURNEY="browse")
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
        outcome = script.visits(60, clinic, JOURNEY="mixed", VUS="1", RATE="1", PROFILE="load")

    journeys = Counter(sample["tags"]["journey"] for sample in outcome.samples("iterations"))
    assert outcome.status == 0
    assert set(journeys) == {"book", "browse", "cancel"}
    assert journeys["cancel"] < min(journeys["book"], journeys["browse"])


def test_each_operation_has_its_duration(script: Script) -> None:
    with StandIn() as clinic:
        outcome = script.visits(3, clinic, JOURNEY="cancel")

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
        outcome = script.visits(2, clinic, JOURNEY="cancel")

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
        outcome = script.visits(1, clinic)

    (error,) = outcome.samples("errors")
    assert (error["tags"]["operation"], error["tags"]["kind"]) == (at_pets, kind)
    assert [sample["value"] for sample in outcome.samples("failed_visits")] == [1]


def test_a_connection_that_breaks_is_an_error_without_an_answer(script: Script) -> None:
    def hang_up(asked: Asked) -> Answer | None:
        if operation(asked) == BOOK[1]:
            raise ConnectionResetError
        return None

    with StandIn(override=hang_up) as clinic:
        outcome = script.visits(1, clinic)

    (error,) = outcome.samples("errors")
    assert error["tags"]["kind"] == "no answer"


def one_in_twenty(name: str) -> Any:
    """Refuse every twentieth request of an operation."""
    seen = Counter[str]()

    def refuse(asked: Asked) -> Answer | None:
        seen[operation(asked)] += 1
        ours = operation(asked) == name and seen[name] % 20 == 0
        return (500, {}) if ours else None

    return refuse


def test_a_fault_crosses_the_threshold_of_its_operation_alone(script: Script) -> None:
    with StandIn(override=one_in_twenty(BOOK[4])) as clinic:
        outcome = script.visits(60, clinic)

    assert outcome.status == THRESHOLD_CROSSED
    assert outcome.crossed() == {f"http_req_failed{{name:{BOOK[4]}}}"}
    assert len(outcome.samples("errors")) == 3


def test_an_operation_that_gets_slow_crosses_its_own_threshold_alone(script: Script) -> None:
    def slowly(asked: Asked) -> None:
        if operation(asked) == CANCEL:
            time.sleep(0.31)

    with StandIn(override=slowly) as clinic:
        outcome = script.visits(8, clinic, JOURNEY="cancel")

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
        refused = script.visits(1, clinic)
        let_in = script.visits(1, clinic, CLINIC_API_TOKEN="open")

    assert refused.status == TEST_ABORTED
    assert "did not let us in (status 401). No load was sent. Set CLINIC_API_TOKEN" in refused.said
    assert let_in.status == 0


@pytest.mark.parametrize("answer", [(404, {}), (200, {"hello": 1}), (200, [{"id": "a"}])])
def test_what_is_no_clinic_gets_no_load(script: Script, answer: Answer) -> None:
    with StandIn(override=lambda _: answer) as other:
        outcome = script.visits(1, other)

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
        outcome = script.visits(25, clinic, CLEANUP="1")

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
        script.visits(3, clinic)

    assert len(clinic.owners) == 3
    assert not [asked for asked in clinic.asked if asked.method == "DELETE"]


# What a run says of itself in Prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").touch()
    url = f"http://127.0.0.1:{free_port()}"
    words: list[str | Path] = [
        find("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--web.enable-remote-write-receiver",
    ]
    with running(words, folder / "log", f"{url}/-/ready"), Prometheus(url) as client:
        yield client


def run_id(profile: str = "smoke") -> str:
    return f"20261123-{secrets.randbelow(10**6):06d}-{profile}-{secrets.token_hex(4)}"


def told(prometheus: Prometheus, run: str, url: str, **settings: str) -> dict[str, str]:
    """Make k6's environment as the wrapper does."""
    write = f"{prometheus.url}/api/v1/write"
    short = {"DURATION": "4s", "PROFILE": "smoke"} | settings
    return short | load.variables(run, short["PROFILE"], url, write, settings)


def run_k6(settings: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [find("k6"), "run", "--quiet", load.SCRIPT],
        env={"PATH": "/usr/bin:/bin", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_k6_itself_says_when_a_run_was_and_that_it_held(prometheus: Prometheus) -> None:
    run = run_id()
    began = time.time()
    with StandIn() as clinic:
        tags = {"K6_TAGS": "env=qa,owner=me", "JOURNEY": "cancel", "CLEANUP": "1"}
        process = run_k6(told(prometheus, run, clinic.url, **tags))
        said, _ = process.communicate(timeout=60)
    now = time.time() + 5

    assert process.returncode == 0, said
    period = numbers.period_of(prometheus, run)
    assert began < period.started < period.ended < now
    assert 3.5 < period.seconds < 6
    for label, value in (("profile", "smoke"), ("journey", "cancel"), ("testid", run)):
        only = f"{queries.runs_held('10m')}"
        assert prometheus.by_label(only, label, now)[value] == 1
    assert not prometheus.by_label(queries.runs_broken_off("10m"), "testid", now)
    assert (
        prometheus.number(f'count(last_over_time({{testid="{run}",env!="qa"}}[10m]))', now) is None
    )
    assert (
        prometheus.number(f'count(last_over_time({{testid="{run}",owner!="me"}}[10m]))', now)
        is None
    )
    every = f'count(last_over_time({queries.THRESHOLD_HELD}{{testid="{run}"}}[10m]))'
    assert prometheus.number(every, now) == len(stated("smoke", "cancel"))


def test_the_verdict_names_what_was_crossed(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn(override=one_in_twenty(BOOK[4])) as clinic:
        process = run_k6(told(prometheus, run, clinic.url, RATE="10"))
        said, _ = process.communicate(timeout=60)
    now = time.time() + 5

    assert process.returncode == THRESHOLD_CROSSED, said
    assert prometheus.by_label(queries.runs_held("10m"), "testid", now)[run] == 0
    crossed = prometheus.by_label(queries.crossed_thresholds(run, "10m"), "metric", now)
    assert set(crossed) == {f"http_req_failed{{name:{BOOK[4]}}}"}


def test_a_run_that_is_broken_off_says_so(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn() as clinic:
        process = run_k6(told(prometheus, run, clinic.url, DURATION="60s"))
        time.sleep(4)
        process.send_signal(2)
        process.communicate(timeout=60)
    now = time.time() + 5

    missing = prometheus.by_label(queries.runs_broken_off("10m"), "testid", now)
    assert 50 < missing[run] < 60


def test_a_verdict_that_cannot_be_written_is_said_and_changes_nothing(script: Script) -> None:
    with StandIn() as clinic:
        nowhere = "http://127.0.0.1:1/api/v1/write"
        outcome = script.visits(
            1, clinic, K6_OUT="experimental-prometheus-rw", K6_PROMETHEUS_RW_SERVER_URL=nowhere
        )

    assert outcome.status == 0
    assert "The run's verdict is not in Prometheus" in outcome.said


def test_two_generators_of_one_run_add_up(prometheus: Prometheus) -> None:
    run = run_id("load")

    def slower(_: Asked) -> None:
        time.sleep(0.1)

    with StandIn() as quick, StandIn(override=slower) as slow_one:
        processes = [
            run_k6(told(prometheus, run, clinic.url, GENERATOR=name, RATE=rate))
            for clinic, name, rate in ((quick, "a", "6"), (slow_one, "b", "2"))
        ]
        for process in processes:
            said, _ = process.communicate(timeout=60)
            assert process.returncode in {0, THRESHOLD_CROSSED}, said
        sent = len(quick.load) + len(slow_one.load)
        emails = [
            a.body["email"]
            for c in (quick, slow_one)
            for a in c.load
            if a.path == "/owners" and a.body
        ]

    period = numbers.period_of(prometheus, run)
    of_run = numbers.read_numbers(prometheus, run, period)
    assert of_run.total.requests == sent
    assert len(set(emails)) == len(emails)
    # A quarter of the requests takes 100 ms, so the 95th of 100 does, and the median does not.
    median = prometheus.number(queries.all_client_quantile(0.5, run, period.window), period.read_at)
    assert of_run.total.client_p95 is not None
    assert 0.095 < of_run.total.client_p95 < 0.13
    assert median is not None
    assert median < 0.05


def test_remote_write_carries_a_password(prometheus: Prometheus) -> None:
    run = run_id()
    with StandIn() as clinic, StandIn(override=lambda _: (200, {})) as cloud:
        settings = {
            "K6_OUT": "experimental-prometheus-rw",
            "K6_PROMETHEUS_RW_SERVER_URL": f"{cloud.url}/api/prom/push",
            "K6_PROMETHEUS_RW_USERNAME": "123",
            "K6_PROMETHEUS_RW_PASSWORD": "glc_secret",
        }
        process = run_k6(told(prometheus, run, clinic.url, **settings))
        said, _ = process.communicate(timeout=60)
        pushes = [asked for asked in cloud.asked if asked.path == "/api/prom/push"]

    assert process.returncode == 0, said
    assert len(pushes) >= 2
    assert {push.headers["authorization"] for push in pushes} == {"Basic MTIzOmdsY19zZWNyZXQ="}
    assert re.search(r"thresholds|THRESHOLDS", said)
    assert json.dumps(settings)
