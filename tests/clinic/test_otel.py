"""OpenTelemetry's variables: what the API honours, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from clinic import otel
from clinic.otel import CHECKS, check_variables
from clinic.settings import Settings, SettingsError
from tests.support.native_stack import until
from tests.support.otlp import otlp_receiver
from tests.support.protected import Certificate
from tests.support.server import OTLPReceiver, serving, stop

# As services of the stack inherit them.
PROXIES = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://a", "NO_PROXY": "127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_PROPAGATORS", "tracecontext,b3multi"),
        ("OTEL_PROPAGATORS", "baggage"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_RESOURCE_ATTRIBUTES", "qa"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=blue,k6.test_run_id=mine"),
        ("OTEL_RESOURCE_ATTRIBUTES", "clinic.operation=GET /"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "5"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1.0"),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", "database"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic YTpi"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b,c"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:port"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "never"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),  # less than a batch
    ],
)
def test_values_that_cannot_be_honoured_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: expected "):
        check_variables({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "OTLP"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_PROPAGATORS", "baggage, tracecontext"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=vets, deployment.environment.name=q%20a,"),
        ("OTEL_RESOURCE_ATTRIBUTES", "note=a=b"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4096"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YTpi, X-Scope-OrgID=vets,"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic YTpiYw=="),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", __file__),
    ],
)
def test_values_that_the_api_honours_are_accepted(name: str, value: str) -> None:
    check_variables({name: value})


def test_unset_and_empty_variables_are_accepted() -> None:
    check_variables({})
    check_variables(dict.fromkeys(CHECKS, " "))


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_PROPAGATORS", "jaeger"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "few")],
)
@pytest.mark.parametrize("command", ["serve", "check"])
def test_what_the_sdk_fails_on_is_refused_in_one_line(name: str, value: str, command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "clinic", command],
        env={name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert f"error: {name}: expected " in run.stderr.splitlines()[-1]


def test_an_exporter_that_is_switched_off_exports_nothing(settings: Settings) -> None:
    received = {}
    for off in ("TRACES", "METRICS"):
        receiver = OTLPReceiver()
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, f"OTEL_{off}_EXPORTER": "none"}
        with serving(settings, **env, **PROXIES) as (server, url):
            response = httpx.get(f"{url}/owners?limit=1")
            stop(server)
        assert response.status_code == 200
        received[off] = bool(receiver.spans), bool(receiver.counts_of)
        receiver.shutdown()
        receiver.server_close()

    assert received == {"TRACES": (False, True), "METRICS": (True, False)}


def test_grpc_is_refused_where_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "find_spec", lambda _: None)

    with pytest.raises(SettingsError, match="with the extra `grpc`"):
        check_variables({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"})


def test_compression_is_what_grpc_can_do() -> None:
    grpc = {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
    check_variables({**grpc, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
    check_variables({**grpc, "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "deflate"})

    with pytest.raises(SettingsError, match="METRICS_COMPRESSION: gRPC expects gzip"):
        check_variables({**grpc, "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"})


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_telemetry_reaches_a_receiver_that_requires_a_certificate_and_a_password(
    settings: Settings, tmp_path: Path, protocol: str
) -> None:
    """And nothing does without the certificate, while the API serves nevertheless."""
    certificate = Certificate.make(tmp_path)
    given = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20YTpi,X-Scope-OrgID=vets",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate.certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate.certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificate.key),
    }
    without = {name: value for name, value in given.items() if "CLIENT" not in name}
    with otlp_receiver(protocol, certificate) as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        with serving(settings, **endpoint, **without) as (server, url):
            refused = httpx.get(f"{url}/owners?limit=1")
            stop(server)
        before = receiver.accepted("spans") | receiver.accepted("metrics")
        patient = given | {"OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        with serving(settings, **endpoint, **patient) as (server, url):
            accepted = httpx.get(f"{url}/owners?limit=1")
            until(lambda: "GET /owners" in receiver.accepted("spans"), 120)
            until(lambda: "http.server.request.duration" in receiver.accepted("metrics"), 120)
            stop(server)

    assert refused.status_code == accepted.status_code == 200
    assert before == set()
    assert receiver.accepted("tenants") == {"vets"}


def test_limits_that_are_accepted_keep_run_and_operation(settings: Settings) -> None:
    receiver = OTLPReceiver()
    limits = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "256",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "32",
        "OTEL_PROPAGATORS": "tracecontext",
    }
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    run = f"k6.test_run_id={'r' * 64},k6.scenario=smoke"
    with serving(settings, **limits) as (server, url):
        httpx.get(f"{url}/owners?limit=1", headers={"baggage": run, "traceparent": parent})
        stop(server)
    receiver.shutdown()
    receiver.server_close()

    server_span = next(it for it in receiver.attributes if it.get("http.route") == "/owners")
    assert server_span["k6.test_run_id"] == "r" * 64
    assert server_span["clinic.operation"] == "GET /owners"
    assert receiver.trace_ids == {bytes.fromhex("ab" * 16)}
    assert receiver.dropped_attributes == 0
