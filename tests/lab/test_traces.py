"""Traces of a run, from real trace stores with known spans."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.clients.spans import Period
from lab.clients.tempo_or_jaeger import connect
from lab.clients.trace_store import (
    TraceSearch,
    TraceStore,
    TraceStoreError,
    complete_trace_id,
    latest_failed,
    slowest,
    with_spans,
)
from lab.reports.waterfall import in_tree_order
from lab.stack import services
from tests.support.fake_clinic import FakeClinic
from tests.support.programs import NOWHERE, ask, attributes
from tests.support.protected import PASSWORD, TENANT, Certificate, a_door, variables
from tests.support.trace_stores import running_services, settings, trace_store

stack = pytest.mark.stack


def otlp_request(
    trace: str, run: str, start: float, seconds: float, status: int = 200
) -> list[dict[str, Any]]:
    """Make the two spans of a request; the database's is half as long as the server's."""
    common = {"clinic.operation": "GET /owners", "k6.test_run_id": run, "k6.scenario": "load"}
    server = {
        "traceId": trace,
        "spanId": secrets.token_hex(8),
        "name": "GET /owners",
        "kind": 2,
        "startTimeUnixNano": f"{start * 1e9:.0f}",
        "endTimeUnixNano": f"{(start + seconds) * 1e9:.0f}",
        "attributes": attributes(common | {"http.response.status_code": status}),
        "status": {"code": 2, "message": "it failed"} if status >= 500 else {},
    }
    database = server | {
        "spanId": secrets.token_hex(8),
        "parentSpanId": server["spanId"],
        "name": "SELECT owner",
        "kind": 3,
        "endTimeUnixNano": f"{(start + seconds / 2) * 1e9:.0f}",
        "attributes": attributes(common),
        "status": {},
    }
    return [server, database]


def k6_spans(run: str, servers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make a trace of an iteration with these server spans, and return k6's spans in it."""
    trace, root, common = secrets.token_hex(16), secrets.token_hex(8), {"k6.test_run_id": run}
    whole = servers[0] | {
        "traceId": trace,
        "spanId": root,
        "name": "iteration book",
        "kind": 1,
        "attributes": attributes(common),
        "status": {},
    }
    clients = []
    for server in servers:
        client = whole | {
            "spanId": secrets.token_hex(8),
            "parentSpanId": root,
            "name": server["name"],
            "kind": 3,
            "endTimeUnixNano": server["endTimeUnixNano"],
        }
        server |= {"traceId": trace, "parentSpanId": client["spanId"]}
        clients.append(client)
    return [whole, *clients]


def send_spans(otlp: str, spans: list[dict[str, Any]], service: str = "clinic") -> None:
    resource = {"attributes": attributes({"service.name": service})}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    answer = httpx.post(otlp, json=body)
    assert answer.status_code == httpx.codes.OK, answer.text


REQUESTS = 1300
FAILED = {100: 503, 200: 500, 300: 404, 400: 409}
FAILURES = 900


@dataclass(frozen=True)
class Stored:
    """A store with a run whose n-th request took n tenths of a ms and started n ms earlier."""

    url: str
    store: TraceStore
    search: TraceSearch
    ids: list[str]
    iteration: TraceSearch
    """Another run, of one iteration in one trace: its third request took longest, and failed."""
    failures: TraceSearch
    """A third run of a minute, whose requests all failed, most of them in its first seconds."""
    failed_ids: list[str]


def until_all(store: TraceStore, search: TraceSearch, count: int) -> None:
    until = time.monotonic() + 20
    while len(store.slower_than(search, 0, 5000)[0]) < count and time.monotonic() < until:
        time.sleep(0.5)


@pytest.fixture(scope="session", params=["jaeger", "tempo"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stored]:
    run, other, now = secrets.token_hex(8), secrets.token_hex(8), time.time()
    # One id begins with zeros, which a store may strip.
    ids = ["000" + secrets.token_hex(15)[1:], *(secrets.token_hex(16) for _ in range(REQUESTS))]
    spans = []
    for number, trace in enumerate(ids):
        start = now - 10 - number / 1000
        spans += otlp_request(trace, run, start, number / 1e4, FAILED.get(number, 200))
    spans += otlp_request(secrets.token_hex(16), other, now - 5, 3.0, 500)
    search = TraceSearch(run, Period(now - 20, now - 5))
    whole = secrets.token_hex(8)
    requests = [
        otlp_request("", whole, now - 10, seconds, status)
        for seconds, status in ((0.01, 201), (0.02, 200), (0.03, 503))
    ]
    of_k6 = k6_spans(whole, [server for server, _ in requests])
    spans += [span | {"traceId": of_k6[0]["traceId"]} for pair in requests for span in pair]
    broken = secrets.token_hex(8)
    failed_ids = [secrets.token_hex(16) for _ in range(FAILURES)]
    for number, trace in enumerate(failed_ids):
        start = now - 70 + 60 * (number / FAILURES) ** 3
        spans += otlp_request(trace, broken, start, 0.01, (500, 503)[number % 2])
    folder = tmp_path_factory.mktemp("store")
    config, internal = settings(folder)
    gateway = services.gateway_service(config, internal, request.param)
    service = trace_store(request.param, config, internal)
    url = config.traces_url
    with running_services(folder, gateway, service), connect(url) as store:
        send_spans(config.otlp_traces_endpoint, spans)
        send_spans(config.otlp_traces_endpoint, of_k6, "k6")
        until_all(store, search, REQUESTS + 1)
        failures = TraceSearch(broken, Period(now - 70, now - 10))
        until_all(store, failures, FAILURES)
        yield Stored(url, store, search, ids, replace(search, run_id=whole), failures, failed_ids)


@stack
@pytest.mark.parametrize("guess", [0.0, 0.001, 0.128, 0.13, 5.0])
def test_the_slowest_are_found_whatever_the_first_guess(stored: Stored, guess: float) -> None:
    traces = slowest(stored.store, stored.search, 5, guess)

    assert [trace.trace_id for trace in traces] == stored.ids[:-6:-1]
    assert traces[0].duration == pytest.approx(REQUESTS / 1e4, abs=1e-5)
    assert traces[0].operation == "GET /owners"
    assert traces[0].status == 200


@stack
def test_the_slowest_of_one_operation_are_found(stored: Stored) -> None:
    owners = replace(stored.search, operation="GET /owners")
    pets = replace(stored.search, operation="GET /pets")

    [trace] = slowest(stored.store, owners, 1, 0.1)
    assert trace.trace_id == stored.ids[-1]
    assert slowest(stored.store, pets, 1, 0.1) == []


@stack
def test_requests_with_status_400_or_more_have_failed(stored: Stored) -> None:
    failed = latest_failed(stored.store, stored.search, [404, 409, 500, 503], 5)

    assert {request.trace_id: request.status for request in failed} == {
        stored.ids[number]: status for number, status in FAILED.items()
    }


@stack
@pytest.mark.parametrize("count", [1, 10, 30])
def test_the_latest_failed_requests_are_found_among_many(stored: Stored, count: int) -> None:
    failed = latest_failed(stored.store, stored.failures, [500, 503], count)

    assert [request.trace_id for request in failed] == stored.failed_ids[: -count - 1 : -1]


@stack
def test_the_last_failures_are_found_after_a_burst_of_others(stored: Stored) -> None:
    """Three quarters of the failures are in the 25 seconds before; none was in the last part."""
    began, ended = stored.failures.period.started, stored.failures.period.ended
    search = replace(stored.failures, window=(began - 1, ended + 200))

    [last] = latest_failed(stored.store, search, [500, 503], 1)

    assert last.trace_id == stored.failed_ids[-1]


@stack
def test_each_request_of_an_iteration_is_found_with_its_own_spans(stored: Stored) -> None:
    store = stored.store
    every = slowest(store, stored.iteration, 5, 0.0)
    over_15_ms, _ = store.slower_than(stored.iteration, 0.015, 10)
    [failed] = latest_failed(store, stored.iteration, [503], 5)
    [slow] = with_spans(store, every[:1])

    assert [round(request.duration, 3) for request in every] == [0.03, 0.02, 0.01]
    assert sorted(round(request.duration, 3) for request in over_15_ms) == [0.02, 0.03]
    assert len({request.trace_id for request in every}) == 1
    assert (failed.key, failed.status) == (every[0].key, 503)
    assert [(span.service, span.kind) for _, span in in_tree_order(slow.spans)] == [
        ("k6", "client"),
        ("clinic", "server"),
        ("clinic", "client"),
    ]
    assert slow.spans[0].duration != 0
    assert len(store.spans(slow.trace_id)) == 1 + 3 * 3


@stack
def test_an_unknown_run_has_no_traces(stored: Stored) -> None:
    other = replace(stored.search, run_id="another")

    assert slowest(stored.store, other, 5, 0.06) == []
    assert latest_failed(stored.store, other, [500], 5) == []


@stack
def test_spans_have_one_form_from_either_store(stored: Stored) -> None:
    server, database = sorted(stored.store.spans(stored.ids[200]), key=lambda span: span.parent)

    assert (server.name, server.kind, server.service) == ("GET /owners", "server", "clinic")
    assert (database.name, database.kind, database.parent) == ("SELECT owner", "client", server.id)
    assert server.duration == pytest.approx(0.02, abs=1e-5)
    assert server.start == pytest.approx(stored.search.period.started + 9.8, abs=1e-3)
    assert (server.error, database.error) == (True, False)
    assert server.attributes["http.response.status_code"] == 500
    assert server.attributes["otel.status_description"] == "it failed"
    assert server.attributes["k6.test_run_id"] == stored.search.run_id


@stack
def test_the_first_digits_of_a_trace_id_are_enough(stored: Stored) -> None:
    for trace in (stored.ids[0], stored.ids[1]):
        assert complete_trace_id(stored.store, trace[:12].upper()) == trace
    with pytest.raises(TraceStoreError, match="type more digits"):
        complete_trace_id(stored.store, stored.ids[1][0])
    with pytest.raises(TraceStoreError, match="type all 32 digits"):
        complete_trace_id(stored.store, "f" * 20)
    assert complete_trace_id(stored.store, "f" * 20, ["e" * 32, "f" * 32]) == "f" * 32
    assert stored.store.spans("f" * 32) == []


@pytest.mark.parametrize("beginning", ["", "xyz", "a" * 33, "../api", "a b"])
def test_an_invalid_trace_id_is_rejected(beginning: str) -> None:
    with pytest.raises(TraceStoreError, match="not a trace id"):
        complete_trace_id(None, beginning)  # type: ignore[arg-type]


def test_another_program_is_not_taken_for_a_trace_store() -> None:
    with (
        FakeClinic(override=lambda _: (404, "no")) as other,
        pytest.raises(TraceStoreError, match="TRACES_PORT"),
    ):
        connect(other.url).__enter__()


@stack
def test_traces_of_a_remote_store_are_read_through_tls_with_a_password(
    stored: Stored, tmp_path: Path
) -> None:
    """As those of Grafana Cloud: below a path, with a user and a tenant."""
    certificate = Certificate.make(tmp_path)
    with a_door(stored.url, certificate, "/tempo") as door:
        given = variables("TEMPO", door.url, certificate) | {"TEMPO_TENANT": TENANT}
        drawn = ask(NOWHERE, NOWHERE, "trace", stored.ids[200][:16], **given)
        wrong = ask(NOWHERE, NOWHERE, "trace", stored.ids[200], **given | {"TEMPO_TENANT": "b"})

    assert drawn.returncode == 0, drawn.stderr
    assert "✗ clinic: GET /owners" in drawn.stdout
    assert wrong.returncode == 1
    assert "refuses the credentials (status 401): check TEMPO_USERNAME" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    assert PASSWORD not in drawn.stdout + drawn.stderr + wrong.stderr


@stack
def test_the_trace_command_draws_a_stored_trace(stored: Stored) -> None:
    answer = ask(NOWHERE, stored.url, "trace", stored.ids[200][:16])

    assert answer.returncode == 0, answer.stderr
    assert "✗ clinic: GET /owners" in answer.stdout
    assert "SELECT owner" in answer.stdout
