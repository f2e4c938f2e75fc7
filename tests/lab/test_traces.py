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
    slowest,
)
from lab.stack.ports import free as free_port
from lab.stack.programs import find, find_on_path
from tests.support.fake_clinic import FakeClinic
from tests.support.programs import NOWHERE, PROJECT, ask, attributes, running

stack = pytest.mark.stack


NOWHERE_OTLP = f"{NOWHERE}/none"


def jaeger(folder: Path, query: int, otlp: int) -> tuple[list[str | Path], str, dict[str, str]]:
    """Return Jaeger's command, a path that answers when it is ready, and its settings."""
    config = PROJECT / "observability/jaeger/jaeger.yaml"
    settings = {
        "JAEGER_QUERY_PORT": str(query),
        "JAEGER_OTLP_PORT": str(otlp),
        "JAEGER_HEALTH_PORT": str(free_port()),
        "JAEGER_METRICS_PORT": str(free_port()),
        "JAEGER_DATA": str(folder),
        "PROMETHEUS_OTLP_URL": NOWHERE_OTLP,
    }
    return [find("jaeger"), f"--config={config}"], "/api/services", settings


def tempo(folder: Path, query: int, otlp: int) -> tuple[list[str | Path], str, dict[str, str]]:
    """Return Tempo's command, a path that answers when it is ready, and its settings."""
    program = find_on_path("tempo")
    if program is None:
        pytest.skip("Tempo is not on PATH, and cannot be built: only Jaeger is tried here")
    config = PROJECT / "observability/tempo/tempo.yaml"
    settings = {
        "TEMPO_HOST": "127.0.0.1",
        "TEMPO_PORT": str(query),
        "TEMPO_GRPC_PORT": str(free_port()),
        "TEMPO_OTLP_PORT": str(otlp),
        "TEMPO_DATA": str(folder),
        "PROMETHEUS_WRITE_URL": NOWHERE_OTLP,
    }
    return [program, "-config.expand-env=true", f"-config.file={config}"], "/ready", settings


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


def send_spans(otlp: str, spans: list[dict[str, Any]]) -> None:
    resource = {"attributes": attributes({"service.name": "clinic"})}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    answer = httpx.post(otlp, json=body)
    assert answer.status_code == httpx.codes.OK, answer.text


REQUESTS = 1300
FAILED = {100: 503, 200: 500, 300: 404, 400: 409}


@dataclass(frozen=True)
class Stored:
    """A store with a run whose n-th request took n tenths of a ms and started n ms earlier."""

    url: str
    store: TraceStore
    search: TraceSearch
    ids: list[str]


@pytest.fixture(scope="session", params=[jaeger, tempo], ids=["jaeger", "tempo"])
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
    folder, query, otlp = tmp_path_factory.mktemp("store"), free_port(), free_port()
    words, ready, settings = request.param(folder, query, otlp)
    url = f"http://127.0.0.1:{query}"
    with running(words, folder / "log", url + ready, **settings), connect(url) as store:
        send_spans(f"http://127.0.0.1:{otlp}/v1/traces", spans)
        until = time.monotonic() + 20
        while len(store.slower_than(search, 0, 5000)[0]) <= REQUESTS and time.monotonic() < until:
            time.sleep(0.5)
        yield Stored(url, store, search, ids)


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
    failed = stored.store.failed(stored.search, [404, 409, 500, 503], 5)

    assert {request.trace_id: request.status for request in failed} == {
        stored.ids[number]: status for number, status in FAILED.items()
    }


@stack
def test_an_unknown_run_has_no_traces(stored: Stored) -> None:
    other = replace(stored.search, run_id="another")

    assert slowest(stored.store, other, 5, 0.06) == []
    assert stored.store.failed(other, [500], 5) == []


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
def test_the_trace_command_draws_a_stored_trace(stored: Stored) -> None:
    answer = ask(NOWHERE, stored.url, "trace", stored.ids[200][:16])

    assert answer.returncode == 0, answer.stderr
    assert "✗ clinic: GET /owners" in answer.stdout
    assert "SELECT owner" in answer.stdout
