"""Both trace stores store a span and turn it into metrics of its run."""

import secrets
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from lab.paths import OBSERVABILITY
from lab.promql import load_run
from lab.promql.selectors import RunSelector, Side
from lab.stack import services
from lab.stack.config import StackConfig
from tests.support.native_stack import until
from tests.support.programs import attributes
from tests.support.trace_stores import running_services, settings, trace_store


@pytest.mark.stack
@pytest.mark.parametrize("store", ["jaeger", "tempo"])
def test_span_is_stored_and_becomes_metrics_of_its_run(store: str, tmp_path: Path) -> None:
    config, internal = settings(tmp_path)
    service = trace_store(store, config, internal)
    services.write_prometheus_config(config, internal, store)
    gateway = services.gateway_service(config, internal, store)
    prometheus = services.prometheus_service(config, internal)
    trace_id = secrets.token_hex(16)

    with running_services(tmp_path, gateway, prometheus, service):
        sent = httpx.post(config.otlp_traces_endpoint, json=one_span(trace_id))
        assert sent.status_code == 200
        path = "/api/v2/traces/" if store == "tempo" else "/api/traces/"
        until(lambda: httpx.get(config.traces_url + path + trace_id).status_code == 200)
        labels = (
            '{clinic_operation="POST /owners",k6_test_run_id="a-run",k6_scenario="book",'
            'span_kind="SPAN_KIND_SERVER",http_response_status_code="201",'
            'db_response_status_code="P0001"}'
        )
        until(lambda: values(config, f"traces_spanmetrics_calls_total{labels}") == ["1"])
        p50 = (
            "histogram_quantile(0.5, "
            '{__name__=~"traces_spanmetrics_(latency|duration_seconds)",span_kind!=""})'
        )
        until(lambda: values(config, p50))
        assert float(values(config, p50)[0]) == pytest.approx(0.25, rel=0.1)
        until(lambda: values(config, 'up{job=~"prometheus|traces"}') == ["1", "1"])


@pytest.mark.stack
def test_spans_of_a_series_that_jaeger_dropped_and_made_anew_all_count(tmp_path: Path) -> None:
    config, internal = settings(tmp_path)
    jaeger = trace_store("jaeger", config, internal)
    delivered = OBSERVABILITY / "jaeger" / "jaeger.yaml"
    quick = tmp_path / "jaeger.yaml"
    quick.write_text(delivered.read_text().replace("expiration: 15m", "expiration: 4s"))
    command = tuple(str(quick) if word == str(delivered) else word for word in jaeger.command)
    services.write_prometheus_config(config, internal, "jaeger")
    gateway = services.gateway_service(config, internal, "jaeger")
    prometheus = services.prometheus_service(config, internal)
    run = RunSelector("a-run", "10m")

    with running_services(tmp_path, gateway, prometheus, replace(jaeger, command=command)):
        for count in ("1", "2", "3"):
            span = one_span(secrets.token_hex(16))
            assert httpx.post(config.otlp_traces_endpoint, json=span).status_code == 200
            until(partial(counts, config, load_run.spans(Side.SERVER, run), count))
            histogram = f"round(histogram_count({load_run.span_durations(Side.SERVER, run)}))"
            until(partial(counts, config, histogram, count))
            time.sleep(11)  # the next push drops the series


def counts(config: StackConfig, query: str, count: str) -> bool:
    return values(config, query) == [count]


def one_span(trace_id: str) -> object:
    """Return a server span of 250 ms in OTLP's JSON."""
    now = time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "POST /owners",
        "kind": 2,
        "startTimeUnixNano": str(now - 250_000_000),
        "endTimeUnixNano": str(now),
        "attributes": attributes(
            {
                "clinic.operation": "POST /owners",
                "k6.test_run_id": "a-run",
                "k6.scenario": "book",
                "http.response.status_code": 201,
                "db.response.status_code": "P0001",
            }
        ),
    }
    resource = {"attributes": attributes({"service.name": "clinic"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def values(config: StackConfig, query: str) -> list[str]:
    answer = httpx.get(f"{config.prometheus_url}/api/v1/query", params={"query": query})
    return [series["value"][1] for series in answer.json()["data"]["result"]]
