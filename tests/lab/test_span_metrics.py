"""Both trace stores store a span and turn it into metrics of its run."""

import secrets
import time
from pathlib import Path

import httpx
import pytest

from lab.stack import programs, services
from lab.stack.config import StackConfig
from lab.stack.service import InternalPorts
from tests.support.native_stack import NativeStack, until
from tests.support.programs import attributes, running


@pytest.mark.stack
@pytest.mark.parametrize("store", ["jaeger", "tempo"])
def test_span_is_stored_and_becomes_metrics_of_its_run(store: str, tmp_path: Path) -> None:
    config = NativeStack(tmp_path).config
    internal = InternalPorts.free()
    if store == "tempo":
        program = programs.find_on_path("tempo")
        if program is None:
            pytest.skip("Tempo 3 is not on PATH, and cannot be built from Go modules")
        service = services.tempo_service(config, internal, program)
    else:
        service = services.jaeger_service(config, internal)
    services.write_prometheus_config(config, internal, store)
    prometheus = services.prometheus_service(config)
    trace_id = secrets.token_hex(16)

    with (
        running(
            [*prometheus.command],
            tmp_path / "prometheus.log",
            prometheus.health,
            **prometheus.environment,
        ),
        running([*service.command], tmp_path / "store.log", service.health, **service.environment),
    ):
        sent = httpx.post(config.otlp_traces_endpoint, json=one_span(trace_id))
        assert sent.status_code == 200
        path = "/api/v2/traces/" if store == "tempo" else "/api/traces/"
        until(lambda: httpx.get(config.traces_url + path + trace_id).status_code == 200)
        labels = (
            '{clinic_operation="POST /owners",k6_test_run_id="a-run",k6_scenario="book",'
            'span_kind="SPAN_KIND_SERVER",http_response_status_code="201"}'
        )
        until(lambda: values(config, f"traces_spanmetrics_calls_total{labels}") == ["1"])
        p50 = (
            "histogram_quantile(0.5, "
            '{__name__=~"traces_spanmetrics_(latency|duration_seconds)",span_kind!=""})'
        )
        until(lambda: values(config, p50))
        assert float(values(config, p50)[0]) == pytest.approx(0.25, rel=0.1)
        until(lambda: values(config, 'up{job=~"prometheus|traces"}') == ["1", "1"])


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
            }
        ),
    }
    resource = {"attributes": attributes({"service.name": "clinic"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def values(config: StackConfig, query: str) -> list[str]:
    answer = httpx.get(f"{config.prometheus_url}/api/v1/query", params={"query": query})
    return [series["value"][1] for series in answer.json()["data"]["result"]]
