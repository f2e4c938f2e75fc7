"""Credentials that a run is started with are in nothing that it prints, writes or publishes."""

import json
import sys
import time
from pathlib import Path

import httpx
import pytest

from lab.addresses import shown_address, shown_outputs
from lab.clients.prometheus import Prometheus
from lab.runs import environment, k6
from lab.runs.start import TargetError, check_target
from lab.stack.config import StackConfig
from tests.support.fake_clinic import FakeClinic
from tests.support.programs import NOWHERE, ask

SECRET = "hunter2"
SECRET_ADDRESSES = [
    f"http://user:{SECRET}@host:8086/db",
    f"http://{SECRET}@host:8086",
    f"https://:{SECRET}@host:8086/",
    f"postgresql://user:a@{SECRET}@host:8086/db",
    f"http://host:8086/api/push?token={SECRET}",
    f"http://host:8086#{SECRET}",
    f"http://host:8086/hooks/{SECRET}/write",
    f"http://[::1]:8086/?a={SECRET}",
]
UNCLEAR_ADDRESSES = [
    f"http://user:12/{SECRET}@host",
    f"http://user:12?{SECRET}@host",
    f"http://user:12#{SECRET}@host",
    f"http://user/{SECRET}@host",
    f"http://user:{SECRET}/12@host",
    f"http://user:{SECRET} x@host",
    f"http://host?mail=a@b&token={SECRET}",
    f"user:{SECRET}@host",
    f"http://user:{SECRET}",
    f"http:/user:{SECRET}@host",
    f"token={SECRET}",
    SECRET,
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_an_address_is_shown_as_scheme_host_and_port(address: str) -> None:
    scheme = address.partition("://")[0]
    host = "[::1]" if "[" in address else "host"

    assert shown_address(address) == f"{scheme}://{host}:8086"


@pytest.mark.parametrize("address", UNCLEAR_ADDRESSES)
def test_what_is_unclear_of_an_address_is_not_shown(address: str) -> None:
    assert shown_address(address) == "…"


@pytest.mark.parametrize("address", [*SECRET_ADDRESSES, *UNCLEAR_ADDRESSES])
def test_outputs_are_shown_without_credentials(address: str) -> None:
    outputs = f"json=a.json,influxdb={address},experimental-prometheus-rw,xk6-a={address}"

    shown = shown_outputs(outputs)

    assert SECRET not in shown
    assert shown.startswith("json=a.json,influxdb=")
    assert shown.count(",") == 3
    for settings in (
        {"K6_OUT": outputs, "K6_PROMETHEUS_RW_SERVER_URL": address},
        {"K6_OUT": f"influxdb={address}"},
    ):
        assert SECRET not in k6.describe_output(settings)


@pytest.mark.parametrize(
    ("outputs", "shown"),
    [
        ("json=a.json", "json=a.json"),
        ("experimental-opentelemetry", "experimental-opentelemetry"),
        ("cloud, csv=results/a.csv.gz", "cloud,csv=results/a.csv.gz"),
        (f"influxdb=http://a:b,{SECRET},c@host/db", "influxdb=…,…,…"),
        (f"kafka=brokers=b:9092,password={SECRET}", "kafka=…,password=…"),
        (f"csv=file?token={SECRET}", "csv=…"),
    ],
)
def test_outputs_are_shown_by_name_file_and_address(outputs: str, shown: str) -> None:
    assert shown_outputs(outputs) == shown


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("address", [*SECRET_ADDRESSES[:6], *UNCLEAR_ADDRESSES])
def test_a_target_with_credentials_is_refused_without_repeating_them(
    address: str, *, confirmed: bool
) -> None:
    with pytest.raises(TargetError) as refused:
        check_target(address, confirmed=confirmed)

    assert "BASE_URL is not an address such as http" in refused.value.message
    assert SECRET not in refused.value.message


def test_options_of_k6_are_recorded_without_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stages = [{"duration": "1m0s", "target": 5}]
    options = {
        "scenarios": {"load": {"stages": stages, "env": {"TOKEN": SECRET}}},
        "thresholds": {"http_req_failed": ["rate<0.01"]},
        "rps": 7,
        "cloud": {"token": SECRET},
        "ext": {"loadimpact": {"token": SECRET}},
        "tlsAuth": [{"cert": SECRET, "key": SECRET, "password": SECRET}],
        "hosts": {"api": SECRET},
        "userAgent": SECRET,
        "anything new": SECRET,
    }
    inspect = [sys.executable, "-c", f"print({json.dumps(options)!r})"]
    monkeypatch.setattr(k6, "command", lambda *_: inspect)

    recorded = environment.read_environment(
        StackConfig(tmp_path), {"BASE_URL": "http://localhost:8000", "K6_OUT": ""}
    ).options

    assert recorded == {"scenarios": {"load": {"stages": stages}}, "rps": 7}


@pytest.mark.stack
def test_a_run_keeps_no_credential(prometheus: Prometheus, tmp_path: Path) -> None:
    with FakeClinic() as clinic, FakeClinic(override=lambda _: (204, None)) as influxdb:
        host = influxdb.url.removeprefix("http://")
        settings = {
            "BASE_URL": clinic.url,
            "CLINIC_RESULTS_DIR": str(tmp_path),
            "DURATION": "4s",
            "RUN": f"credentials-{time.time_ns()}",
            "NOTE": "with a note",
            "K6_TAGS": "env=qa",
            "K6_OUT": f"experimental-prometheus-rw,influxdb=http://user:{SECRET}0@{host}/db",
            "K6_INFLUXDB_PASSWORD": f"{SECRET}1",
            "K6_CLOUD_TOKEN": f"{SECRET}2",
            "K6_PROMETHEUS_RW_PASSWORD": f"{SECRET}3",
            "K6_PROMETHEUS_RW_BEARER_TOKEN": f"{SECRET}4",
            "K6_PROMETHEUS_RW_HTTP_HEADERS": f"X-Token:{SECRET}5",
            "CLINIC_API_TOKEN": f"{SECRET}6-of-sixteen",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}7",
        }
        run = ask(prometheus.url, NOWHERE, "run", "smoke", **settings)
    again = ask(prometheus.url, NOWHERE, "report", settings["RUN"], **settings)
    listed = ask(prometheus.url, NOWHERE, "runs", "--json", **settings)

    assert run.returncode == again.returncode == listed.returncode == 0, run.stderr
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(files) == {f"{settings['RUN']}.json", f"{settings['RUN']}.html"}
    series = httpx.get(
        f"{prometheus.url}/api/v1/series", params={"match[]": '{__name__=~".+"}'}
    ).text
    everything = [*files.values(), series, *(it.stdout + it.stderr for it in (run, again, listed))]
    assert all(settings["RUN"] in text for text in everything)
    assert not [text for text in everything if SECRET in text]
    record = json.loads(files[f"{settings['RUN']}.json"])
    shown = record["environment"]["settings"]["K6_OUT"]
    assert shown == f"experimental-prometheus-rw,influxdb=http://{host}"
    # They were used, so that they could have been kept.
    sent = [request.headers.get("authorization", "") for request in clinic.load]
    assert {f"Bearer {SECRET}6-of-sixteen"} == set(sent)
    assert influxdb.requests
