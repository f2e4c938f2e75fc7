"""Runs in a remote Prometheus with TLS and a password: sent by k6 or the stack, and read there."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lab.clients import receivers
from lab.clients.endpoint import Endpoint, remote_endpoint
from lab.clients.http import HttpClient
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.clients.tempo_or_jaeger import connect
from lab.errors import UserError
from lab.promql.published import INFO
from lab.runs.reader import read_metrics
from lab.stack import programs, services
from lab.stack.config import StackConfig
from lab.stack.docker import DockerStack
from lab.stack.service import InternalPorts
from tests.support.fake_clinic import FakeClinic
from tests.support.fake_series import a_prometheus, run_id
from tests.support.native_stack import until
from tests.support.programs import NOWHERE, ask, attributes
from tests.support.protected import PASSWORD, TENANT, Certificate, a_door, variables
from tests.support.server import OTLPReceiver
from tests.support.trace_stores import running_services, settings, trace_store

stack = pytest.mark.stack


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def remote(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    with a_prometheus(tmp_path_factory.mktemp("remote"), certificate=certificate) as client:
        yield client


# The variables


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"URL": f"https://user:{PASSWORD}@host/"}, "without a user, a password and a query"),
        ({"URL": f"https://host/?token={PASSWORD}"}, "without a user, a password and a query"),
        ({"URL": "host:9090"}, "is not an address"),
        ({"URL": "https://host", "USERNAME": "1"}, "set both, or neither"),
        ({"URL": "https://host", "PASSWORD_FILE": "/x"}, "set both, or neither"),
        (
            {"URL": "https://host", "USERNAME": "1", "PASSWORD_FILE": "/x", "TOKEN_FILE": "/y"},
            "not both",
        ),
    ],
)
def test_variables_that_cannot_be_meant_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        remote_endpoint("PROMETHEUS", {f"PROMETHEUS_{name}": it for name, it in given.items()})

    assert words in refused.value.message
    assert "PROMETHEUS_" in refused.value.message
    assert PASSWORD not in refused.value.message


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff", None])
def test_a_secret_that_cannot_be_read_is_said_with_its_variable(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    endpoint = Endpoint("https://host", "TEMPO", token_file=file)

    with pytest.raises(UserError, match=r"^TEMPO_TOKEN_FILE: "):
        HttpClient("Tempo", endpoint)


def test_without_variables_reports_read_the_stack(tmp_path: Path) -> None:
    config = StackConfig(tmp_path, prometheus_port=1, traces_port=2)

    assert config.prometheus == Endpoint("http://127.0.0.1:1")
    assert config.trace_store == Endpoint("http://127.0.0.1:2")
    assert config.published_endpoint == config.otlp_metrics_endpoint


def test_what_the_stack_does_not_forward_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StackConfig(tmp_path)
    monkeypatch.setenv("PROMETHEUS_URL", "https://host")
    assert not config.published_endpoint

    monkeypatch.setenv("REMOTE_WRITE_URL", "https://host/api/prom/push")
    assert config.published_endpoint == config.otlp_metrics_endpoint


@pytest.mark.parametrize("prefix", ["REMOTE_WRITE", "REMOTE_TRACES"])
def test_a_stack_that_does_not_forward_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv(f"{prefix}_URL", "https://host/push")

    with pytest.raises(UserError, match=f"{prefix}_URL.*only the native stack"):
        DockerStack(StackConfig(tmp_path)).up()


def test_spans_are_not_forwarded_by_tempo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REMOTE_TRACES_URL", "https://host/otlp")
    monkeypatch.setattr(programs, "find_on_path", Path)

    with pytest.raises(UserError, match="only Jaeger"):
        services.assemble(StackConfig(tmp_path), InternalPorts.free())


# Credentials


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_credentials_do_not_follow_a_redirect(tmp_path: Path, status: int) -> None:
    file = tmp_path / "token"
    file.write_text(PASSWORD)
    with FakeClinic() as elsewhere, FakeClinic(override=lambda _: (status, {})) as first:
        first.location = f"{elsewhere.url}/api/v1/query"
        endpoint = Endpoint(first.url, "PROMETHEUS", token_file=file, tenant=TENANT)
        with (
            Prometheus(endpoint) as prometheus,
            pytest.raises(PrometheusError, match="redirects to another address"),
        ):
            prometheus.check()

    assert first.requests[0].headers["authorization"] == f"Bearer {PASSWORD}"
    assert first.requests[0].headers["x-scope-orgid"] == TENANT
    assert elsewhere.requests == []


def test_another_program_is_not_taken_for_a_remote_trace_store() -> None:
    with (
        FakeClinic(override=lambda _: (404, "no")) as other,
        pytest.raises(UserError, match="TEMPO_URL must be that"),
        connect(Endpoint(other.url, "TEMPO")),
    ):
        pass


@stack
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"PROMETHEUS_USERNAME": "someone"}, "refuses the credentials (status 401)"),
        (
            {"PROMETHEUS_USERNAME": "", "PROMETHEUS_PASSWORD_FILE": ""},
            "check PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD_FILE",
        ),
        ({"PROMETHEUS_CA_FILE": ""}, "PROMETHEUS_CA_FILE must name that of the authority"),
        ({"PROMETHEUS_CA_FILE": "/dev/null"}, "PROMETHEUS_CA_FILE: /dev/null cannot be read"),
        ({"PROMETHEUS_URL": "https://127.0.0.1:1"}, "Check PROMETHEUS_URL"),
    ],
    ids=["user", "none", "authority", "no certificate", "nowhere"],
)
def test_a_remote_prometheus_that_cannot_be_read_is_one_sentence(
    remote: Prometheus, certificate: Certificate, changed: dict[str, str], words: str
) -> None:
    given = variables("PROMETHEUS", remote.url, certificate) | changed

    answer = ask(NOWHERE, NOWHERE, "report", "any", CLINIC_RESULTS_DIR="/nonexistent", **given)

    assert answer.returncode == 1
    assert words in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert PASSWORD not in answer.stdout + answer.stderr


@stack
def test_the_stack_does_not_start_if_it_could_not_forward(
    remote: Prometheus, certificate: Certificate
) -> None:
    given = variables("REMOTE_WRITE", f"{remote.url}/api/v1/write", certificate)
    accepted = remote_endpoint("REMOTE_WRITE", given)
    refused = remote_endpoint("REMOTE_WRITE", given | {"REMOTE_WRITE_USERNAME": "someone"})
    elsewhere = remote_endpoint("REMOTE_WRITE", given | {"REMOTE_WRITE_URL": remote.url})
    assert accepted
    assert refused
    assert elsewhere

    receivers.check_remote_write(accepted)
    with pytest.raises(UserError, match=r"status 401.*REMOTE_WRITE_PASSWORD_FILE"):
        receivers.check_remote_write(refused)
    with pytest.raises(UserError, match=r"cannot answer"):
        receivers.check_remote_write(elsewhere)


@stack
def test_doctor_asks_remote_services_with_their_credentials(
    remote: Prometheus, certificate: Certificate, tmp_path: Path
) -> None:
    given = variables("PROMETHEUS", remote.url, certificate)
    given |= variables("REMOTE_WRITE", f"{remote.url}/api/v1/write", certificate)
    wrong = given | {"REMOTE_WRITE_USERNAME": "someone"}
    found = [
        json.loads(
            ask(
                *(NOWHERE, NOWHERE, "doctor", "--json"),
                **shell | {"CLINIC_STATE_DIR": str(tmp_path), "STACK_BACKEND": "native"},
            ).stdout
        )
        for shell in (given, wrong)
    ]

    right, refused = (
        next(it for it in findings if it["check"] == "remote services") for findings in found
    )
    assert (right["state"], refused["state"]) == ("ok", "error")
    assert "PROMETHEUS_URL, REMOTE_WRITE_URL" in right["detail"]
    assert "REMOTE_WRITE_PASSWORD_FILE" in refused["detail"]
    assert PASSWORD not in json.dumps(found)


# Runs


@stack
def test_a_run_that_the_stack_forwards_is_reported_with_its_verdict_from_there(
    remote: Prometheus, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = variables("REMOTE_WRITE", f"{remote.url}/api/v1/write", certificate)
    for name, value in write.items():
        monkeypatch.setenv(name, value)
    run, results = run_id("smoke"), tmp_path / "results"
    read = variables("PROMETHEUS", remote.url, certificate)
    there = read | {"CLINIC_RESULTS_DIR": str(tmp_path / "there")}
    with FakeClinic() as clinic, a_prometheus(tmp_path, services.prometheus_settings()) as home:
        options = {"BASE_URL": clinic.url, "DURATION": "4s", "RUN": run, "NOTE": "a note"}
        options["CLINIC_RESULTS_DIR"] = str(results)
        made = ask(home.url, NOWHERE, "run", "smoke", **options, **read)
        info = f'last_over_time({INFO}{{testid="{run}"}}[1h])'
        until(lambda: remote.series(info, time.time()), 120)
    listed = ask(NOWHERE, NOWHERE, "runs", "--json", **there)
    report = ask(NOWHERE, NOWHERE, "report", run, **there)

    assert made.returncode == listed.returncode == report.returncode == 0, made.stderr
    assert json.loads((results / f"{run}.json").read_text())["verdict"] == "passed"
    [summary] = [it for it in json.loads(listed.stdout) if it["run_id"] == run]
    assert (summary["verdict"], summary["requests"]) == ("passed", len(clinic.load))
    assert summary["info"]["note"] == "a note"
    assert summary["client_p95"] > 0
    assert f"Run {run}  " in report.stdout
    assert "generators" not in report.stdout
    requests = f'last_over_time(k6_http_reqs_total{{testid="{run}"}}[1h])'
    assert not [it for it, _ in remote.series(requests, time.time()) if "dashboards" in it]
    assert PASSWORD not in "".join(it.stdout + it.stderr for it in (made, listed, report))


@stack
def test_a_span_is_stored_at_home_and_sent_to_a_remote_receiver(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receiver, trace_id = OTLPReceiver(), secrets.token_hex(16)
    span = {
        "traceId": trace_id,
        "spanId": "1" * 16,
        "name": "GET /owners",
        "startTimeUnixNano": str(time.time_ns()),
        "endTimeUnixNano": str(time.time_ns()),
    }
    resource = {"attributes": attributes({"service.instance.id": "1"})}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    with a_door(receiver.url, certificate, "/otlp") as door:
        given = variables("REMOTE_TRACES", door.url, certificate)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        without_tenant = remote_endpoint("REMOTE_TRACES")
        monkeypatch.setenv("REMOTE_TRACES_TENANT", TENANT)
        with_tenant = remote_endpoint("REMOTE_TRACES")
        assert without_tenant
        assert with_tenant
        with pytest.raises(UserError, match="REMOTE_TRACES_TENANT"):
            receivers.check_otlp(without_tenant)
        receivers.check_otlp(with_tenant)
        config, internal = settings(tmp_path)
        gateway = services.gateway_service(config, internal, "jaeger")
        jaeger = trace_store("jaeger", config, internal)
        assert PASSWORD not in " ".join(jaeger.command)
        with running_services(tmp_path, gateway, jaeger):
            httpx.post(config.otlp_traces_endpoint, json=body).raise_for_status()
            until(lambda: bytes.fromhex(trace_id) in receiver.trace_ids, 120)
            with connect(config.trace_store) as store:
                until(lambda: store.spans(trace_id), 120)
    receiver.shutdown()
    receiver.server_close()


@stack
def test_a_run_that_k6_sends_to_a_remote_prometheus_has_its_report_and_verdict(
    prometheus: Prometheus, certificate: Certificate, tmp_path: Path
) -> None:
    """As with Grafana Cloud: below a path, with a user and a tenant."""
    run = run_id("smoke")
    with FakeClinic() as clinic, a_door(prometheus.url, certificate) as door:
        given = variables("PROMETHEUS", door.url, certificate)
        settings = given | {
            "PROMETHEUS_TENANT": TENANT,
            "BASE_URL": clinic.url,
            "CLINIC_RESULTS_DIR": str(tmp_path),
            "DURATION": "4s",
            "RUN": run,
            "K6_PROMETHEUS_RW_SERVER_URL": f"{door.url}/api/v1/write",
            "K6_PROMETHEUS_RW_USERNAME": given["PROMETHEUS_USERNAME"],
            "K6_PROMETHEUS_RW_PASSWORD_FILE": given["PROMETHEUS_PASSWORD_FILE"],
            "K6_PROMETHEUS_RW_HTTP_HEADERS": f"X-Scope-OrgID:{TENANT}",
            "SSL_CERT_FILE": str(certificate.certificate),
        }
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong")
        refused = ask(
            *(NOWHERE, NOWHERE, "run", "smoke"),
            **settings | {"K6_PROMETHEUS_RW_PASSWORD_FILE": str(wrong)},
        )
        assert not clinic.load
        made = ask(NOWHERE, NOWHERE, "run", "smoke", **settings)
        listed = ask(NOWHERE, NOWHERE, "runs", "--json", **settings)

    assert refused.returncode == 1
    assert "K6_PROMETHEUS_RW_PASSWORD" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert made.returncode == listed.returncode == 0, made.stdout + made.stderr
    assert f"Run {run}  " in made.stdout
    assert read_metrics(prometheus, run, finished=True).verdict == "passed"
    [summary] = [it for it in json.loads(listed.stdout) if it["run_id"] == run]
    assert (summary["verdict"], summary["requests"]) == ("passed", len(clinic.load))
    files = [file.read_text() for file in tmp_path.iterdir() if file != wrong]
    everything = [*files, *(it.stdout + it.stderr for it in (refused, made, listed))]
    assert len(files) == 2
    assert not [text for text in everything if PASSWORD in text]
