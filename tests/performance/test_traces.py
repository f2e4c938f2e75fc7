"""Traces of whole iterations: the spans that the script sends, and what they leave untouched."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.fake_clinic import FakeClinic, Request, Response
from tests.support.k6 import CREATE_PET, STEPS, THRESHOLDS_FAILED, Outcome, Script, fail

pytestmark = pytest.mark.stack

CLIENT = 3
WARNING = "were not sent"


def traced(script: Script, count: int, clinic: FakeClinic, store: str, every: str = "1") -> Outcome:
    return script.iterations(
        count,
        clinic,
        RUN_ID="a-run",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=store,
        TRACE_EVERY=every,
    )


def trace_store(*responses: Response) -> FakeClinic:
    """Return a store with these responses, the last of them also to all further requests."""
    rest = list(responses)
    return FakeClinic(override=lambda _: rest.pop(0) if len(rest) > 1 else rest[0])


def spans(store: FakeClinic) -> list[list[dict[str, Any]]]:
    """Return the spans of each trace; the first request, which has none, is the script's check."""
    assert store.requests[0].body["resourceSpans"][0]["scopeSpans"][0]["spans"] == []
    resources = [request.body["resourceSpans"][0] for request in store.requests[1:]]
    assert all(attributes(it["resource"]) == {"service.name": "k6"} for it in resources)
    return [resource["scopeSpans"][0]["spans"] for resource in resources]


def attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {it["key"]: next(iter(it["value"].values())) for it in owner["attributes"]}


@dataclass
class Times:
    """Keeps when each request reached the clinic, and when the response left it."""

    seconds: float
    log: list[tuple[float, float]]

    def __call__(self, request: Request) -> None:
        if "traceparent" in request.headers:
            started = time.time()
            time.sleep(self.seconds)
            self.log.append((started, time.time()))


def test_one_iteration_in_so_many_is_one_trace(script: Script) -> None:
    times = Times(0.02, [])
    with FakeClinic(override=times) as clinic, trace_store((200, {})) as store:
        outcome = traced(script, 4, clinic, store.url, every="2")

    assert outcome.status == 0
    sent = [request.headers.get("traceparent") for request in clinic.load]
    assert [header is not None for header in sent] == ([True] * 6 + [False] * 6) * 2
    first, second = spans(store)
    root, *requests = first
    assert root["name"] == "iteration book"
    assert "parentSpanId" not in root
    assert [span["name"] for span in requests] == list(STEPS["book"])
    assert {span["kind"] for span in requests} == {CLIENT}
    assert {span["parentSpanId"] for span in requests} == {root["spanId"]}
    assert {span["traceId"] for span in first} == {root["traceId"]}
    assert root["traceId"] != second[0]["traceId"]
    assert sent[:6] == [f"00-{span['traceId']}-{span['spanId']}-01" for span in requests]
    assert len({span["spanId"] for span in first + second}) == 14
    for span in first:
        values = attributes(span)
        assert (values["k6.test_run_id"], values["k6.scenario"]) == ("a-run", "load")
        assert "clinic.operation" not in values  # it selects the server's and database's spans
        assert span["status"] == {}
    pet = attributes(requests[1])
    assert pet["http.request.method"] == "POST"
    assert pet["url.template"] == "/owners/{owner_id}/pets"
    assert pet["http.response.status_code"] == "201"
    assert pet["server.address"] == "127.0.0.1"
    assert float(pet["k6.waiting_ms"]) >= 20


def test_spans_enclose_what_happened_within_the_scripts_clock(script: Script) -> None:
    times = Times(0.02, [])
    with FakeClinic(override=times) as clinic, trace_store((200, {})) as store:
        traced(script, 1, clinic, store.url)

    ((root, *requests),) = spans(store)
    millisecond = 1e6
    starts, ends = (
        [int(span[f"{edge}TimeUnixNano"]) for span in (root, *requests)]
        for edge in ("start", "end")
    )
    assert starts[0] <= min(starts)
    assert ends[0] >= max(ends)
    for start, end, (began, ended) in zip(starts[1:], ends[1:], times.log, strict=True):
        assert start <= began * 1e9 + millisecond
        assert end >= ended * 1e9 - millisecond


def test_sent_spans_are_in_no_number_of_the_run(script: Script) -> None:
    with FakeClinic() as clinic, trace_store((200, {})) as store:
        outcome = traced(script, 5, clinic, store.url)

    assert len(store.requests) == 6
    for metric in ("http_reqs", "http_req_duration", "http_req_failed", "checks"):
        of_the_load = [it for it in outcome.samples(metric) if it["tags"].get("scenario")]
        assert len(of_the_load) == 5 * 6, metric
        assert {it["tags"].get("name", "") for it in of_the_load} <= {*STEPS["book"], ""}
    assert len(outcome.samples("pause_lateness")) <= 5


def test_without_an_endpoint_or_with_zero_nothing_is_traced(script: Script) -> None:
    with FakeClinic() as clinic, trace_store((200, {})) as store:
        traced(script, 2, clinic, store.url, every="0")
        script.iterations(2, clinic, TRACE_EVERY="1")

    assert not store.requests
    assert not any("traceparent" in request.headers for request in clinic.load)


def test_endpoint_that_does_not_accept_spans_is_given_up_with_one_warning(script: Script) -> None:
    with FakeClinic() as clinic, trace_store((503, {})) as store:
        refused = traced(script, 3, clinic, store.url)
        unreachable = traced(script, 3, clinic, "http://127.0.0.1:1/v1/traces")

    assert len(store.requests) == 1
    for outcome in (refused, unreachable):
        assert outcome.status == 0
        assert outcome.output.count(WARNING) == 1
    assert not any("traceparent" in request.headers for request in clinic.load)


def test_endpoint_that_fails_during_the_run_is_given_up(script: Script) -> None:
    with FakeClinic() as clinic, trace_store((200, {}), (200, {}), (503, {})) as store:
        outcome = traced(script, 5, clinic, store.url)

    assert outcome.status == 0
    assert len(store.requests) == 3
    assert outcome.output.count(WARNING) == 1
    assert sum("traceparent" in request.headers for request in clinic.load) == 2 * 6


def test_failed_request_and_its_iteration_are_marked(script: Script) -> None:
    with (
        FakeClinic(override=fail(CREATE_PET, (500, {}))) as clinic,
        trace_store((200, {})) as store,
    ):
        outcome = traced(script, 1, clinic, store.url)

    assert outcome.status == THRESHOLDS_FAILED
    ((root, created, failed),) = spans(store)
    assert [span["status"].get("code") for span in (root, created, failed)] == [2, None, 2]
    assert attributes(failed)["error.type"] == "500"
