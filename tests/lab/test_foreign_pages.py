"""Pages of other origins in a real browser, at the doors of the native stack.

They read nothing and change nothing, by whatever name they reach it; programs and the services' own
pages do both, without a password.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from struct import pack
from threading import Thread

import httpx
import psutil
import pytest

from lab import credentials
from lab.clients.tempo_or_jaeger import connect
from lab.stack.config import StackConfig
from lab.stack.service import InternalPorts, StartedStack
from lab.stack.services import notifications_file
from tests.support.browser import (
    FOREIGN,
    Attempt,
    hosting,
    page_that_frames,
    page_that_tries,
    rebinding,
    results_of,
    visit,
)
from tests.support.native_stack import NativeStack, temporary_stack, until
from tests.support.programs import attributes, results

pytestmark = pytest.mark.stack

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
READS = (
    "/",
    "/api/datasources/proxy/uid/prometheus/api/v1/query?query=up",
    "/api/echo",
    "/api/health",
    "/api/search?limit=1",
    "/api/services",
    "/api/v1/query?query=up",
    "/api/v1/status/config",
    "/api/v2/silences",
    "/debug/pprof/",
    "/healthz",
    "/metrics",
    "/owners",
    "/ready",
    "/status/config",
    "/v1/traces",
)
"""What each service serves, asked of every one."""


@dataclass(frozen=True)
class Write:
    """A request that changes something, and the ports that take it."""

    path: str
    ports: tuple[int, ...]
    body: bytes
    media_type: str


@dataclass
class Doors:
    """The running stack: what can be asked of it, and what it has."""

    stack: NativeStack
    internal: InternalPorts

    @property
    def config(self) -> StackConfig:
        return self.stack.config

    @property
    def gateway(self) -> tuple[int, ...]:
        config = self.config
        ports = config.prometheus_port, config.alertmanager_port
        return (*ports, config.traces_port, config.otlp_port)

    def pids(self) -> dict[str, int]:
        return {it["name"]: it["pid"] for it in self.stack.supervisor.call("getAllProcessInfo")}

    def listening(self) -> set[int]:
        """Return the ports on which the stack's processes listen, whoever chose them."""
        processes = [psutil.Process(pid) for pid in self.pids().values()]
        return {
            connection.laddr.port
            for process in processes
            for it in (process, *process.children(recursive=True))
            for connection in it.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }

    def writes(self, mark: str) -> dict[str, Write]:
        """Make a request for each thing that can be written; `written` finds it by its mark."""
        config, internal = self.config, self.internal
        prometheus = config.prometheus_port, internal.prometheus
        alertmanager = config.alertmanager_port, internal.alertmanager
        otlp = config.otlp_port, internal.otlp
        alert = {"labels": {"alertname": mark}, "annotations": {"summary": mark}}
        start, end = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
            for seconds in (0, 600)
        )
        silence = {
            "matchers": [{"name": "alertname", "value": mark, "isRegex": False}],
            "startsAt": start,
            "endsAt": end,
            "createdBy": mark,
            "comment": "a test",
        }
        metric = {
            "name": f"{mark}_metric",
            "gauge": {"dataPoints": [{"asDouble": 1, "timeUnixNano": f"{time.time() * 1e9:.0f}"}]},
        }
        span = {
            "traceId": trace_id(mark),
            "spanId": "0123456789abcdef",
            "name": mark,
            "kind": 2,
            "startTimeUnixNano": f"{time.time() * 1e9:.0f}",
            "endTimeUnixNano": f"{(time.time() + 1) * 1e9:.0f}",
        }
        resource = {"resource": {"attributes": attributes({"service.name": mark})}}
        metrics = {"resourceMetrics": [{**resource, "scopeMetrics": [{"metrics": [metric]}]}]}
        traces = {"resourceSpans": [{**resource, "scopeSpans": [{"spans": [span]}]}]}
        return {
            "sample": Write("/api/v1/write", prometheus, remote_write(f"{mark}_sample"), PROTOBUF),
            "metric": Write("/api/v1/otlp/v1/metrics", prometheus, as_json(metrics), JSON),
            "silence": Write("/api/v2/silences", alertmanager, as_json(silence), JSON),
            "alert": Write("/api/v2/alerts", alertmanager, as_json([alert]), JSON),
            "span": Write("/v1/traces", otlp, as_json(traces), JSON),
            "notification": Write(
                "/",
                (internal.notifications,),
                as_json({"alerts": [{"status": "firing", **alert}]}),
                JSON,
            ),
        }

    def written(self, mark: str) -> set[str]:
        """Say which of the marked things the services have."""
        config = self.config
        query = {"query": f'{{__name__=~"{mark}_.+"}}'}
        found = httpx.get(f"{config.prometheus_url}/api/v1/query", params=query).json()
        names = {series["metric"]["__name__"] for series in found["data"]["result"]}
        alertmanager = f"{config.alertmanager_url}/api/v2"
        silences = httpx.get(f"{alertmanager}/silences").json()
        alerts = httpx.get(f"{alertmanager}/alerts").json()
        with connect(config.traces_url) as traces:
            spans = traces.spans(trace_id(mark))
        notifications = notifications_file(config)
        text = notifications.read_text() if notifications.exists() else ""
        seen = {
            "sample": f"{mark}_sample" in names,
            "metric": f"{mark}_metric" in names,
            "silence": mark in {silence["createdBy"] for silence in silences},
            "alert": mark in {alert["labels"]["alertname"] for alert in alerts},
            "span": bool(spans),
            "notification": mark in text,
        }
        return {name for name, is_there in seen.items() if is_there}


def trace_id(mark: str) -> str:
    return sha256(mark.encode()).hexdigest()[:32]


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


def remote_write(name: str) -> bytes:
    """Encode one sample as k6 sends it: a protobuf message as a block of snappy literals."""

    def part(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    milliseconds, varint = int(time.time() * 1000), b""
    while milliseconds > 0x7F:
        varint += bytes([milliseconds & 0x7F | 0x80])
        milliseconds >>= 7
    label = part(1, part(1, b"__name__") + part(2, name.encode()))
    sample = part(2, b"\x09" + pack("<d", 1) + b"\x10" + varint + bytes([milliseconds]))
    message = part(1, label + sample)
    assert len(message) < 0x80
    return bytes([len(message), 60 << 2, len(message) - 1]) + message


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with temporary_stack() as stack:
        up = stack.run("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield Doors(stack, StartedStack.load(stack.config).internal_ports)


class Recorder(ThreadingHTTPServer):
    """A service that lets every page do everything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.bodies: list[bytes] = []


class RecorderHandler(BaseHTTPRequestHandler):
    server: Recorder

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_OPTIONS(self) -> None:
        self.send_response(200)
        for name in ("Origin", "Headers", "Methods", "Private-Network"):
            self.send_header(f"Access-Control-Allow-{name}", "true" if "P" in name else "*")
        self.end_headers()

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_OPTIONS()


def attempts_to_write(write: Write, port: int) -> list[Attempt]:
    """Return the ways in which a page of another origin can try to write."""
    url, body = f"http://127.0.0.1:{port}{write.path}", write.body.decode("latin-1")
    return [
        Attempt(url, "POST", body, "", "no-cors"),
        Attempt(url, "POST", body, "text/plain", "no-cors"),
        Attempt(url, "POST", body, write.media_type, "cors"),
    ]


@pytest.mark.parametrize("host", [FOREIGN, "127.0.0.1"])
def test_a_page_of_another_origin_reads_and_changes_nothing(
    doors: Doors, browser: str, tmp_path: Path, host: str
) -> None:
    mark = f"foreign_{host.replace('.', '_')}"
    writes = doors.writes(mark)
    reads = [
        Attempt(f"http://{name}:{port}{path}")
        for port in sorted(doors.listening())
        for name in ("127.0.0.1", FOREIGN)
        for path in READS
        if name == "127.0.0.1" or port in doors.gateway
    ]
    attempts = [
        attempt
        for write in writes.values()
        for port in write.ports
        for attempt in attempts_to_write(write, port)
    ]
    before = doors.pids()
    with Recorder() as recorder:
        Thread(target=recorder.serve_forever, daemon=True).start()
        control = attempts_to_write(writes["sample"], recorder.server_port)
        with hosting(page_that_tries([*control, *attempts, *reads])) as port:
            document = visit(browser, tmp_path, f"http://{host}:{port}/")
        recorder.shutdown()

    became = results_of(document)
    assert recorder.bodies == [writes["sample"].body] * 3
    assert became[:3] == ["opaque", "opaque", "200"]
    readable = {
        (attempt.url, result)
        for attempt, result in zip([*attempts, *reads], became[3:], strict=True)
        if result.isdecimal()
    }
    assert not readable
    assert doors.written(mark) == set()
    assert doors.pids() == before


def test_a_name_that_is_made_to_point_here_reads_and_changes_nothing(
    doors: Doors, browser: str, tmp_path: Path
) -> None:
    """Its pages have the origin of the service itself."""
    mark = "rebound"
    # Counters and readiness only: docs/security.md.
    internal = doors.internal
    open_ports = {internal.jaeger_health, internal.jaeger_metrics, internal.tempo_ready}
    ports = sorted(doors.listening() - open_ports)
    writes = doors.writes(mark).values()
    attempts = [
        *(Attempt(path) for path in READS),
        *(Attempt(it.path, "POST", it.body.decode("latin-1"), it.media_type) for it in writes),
    ]
    page = page_that_tries(attempts)
    with ExitStack() as services:
        names = [services.enter_context(rebinding(page, port)) for port in ports]
        frames = page_that_frames([f"http://{FOREIGN}:{name}/page" for name in names])
        host = services.enter_context(hosting(frames))
        document = visit(browser, tmp_path, f"http://{FOREIGN}:{host}/")

    became = dict(zip(ports, results_of(document), strict=True))
    assert set(doors.gateway) < became.keys()
    assert {result for port in doors.gateway for result in became[port]} == {"421"}
    answered = {
        (port, attempt.url, result)
        for port, those in became.items()
        for attempt, result in zip(attempts, those, strict=True)
        if result not in {"401", "403", "404", "421", "501", "TypeError"}
    }
    grafana = doors.config.grafana_port
    assert answered <= {(grafana, path, "200") for path in ("/api/health", "/healthz")}
    assert doors.written(mark) == set()


def test_no_series_names_a_secret(doors: Doors) -> None:
    """Tempo's own metrics name its routes, and with them the secret path."""
    names = credentials.PASSWORD, credentials.TRACES_PATH
    secrets = [(doors.config.credentials / name).read_text().strip() for name in names]
    series = f"{doors.config.prometheus_url}/api/v1/series"
    with connect(doors.config.traces_url):  # so that a route has been used
        until(lambda: httpx.get(series, params={"match[]": '{job="traces"}'}).json()["data"])
    time.sleep(6)  # a scrape

    found = httpx.get(series, params={"match[]": '{__name__=~".+"}'}, timeout=60).text

    assert all(secrets)
    assert 'job":"traces"' in found
    assert not [secret for secret in secrets if secret in found]


def test_programs_and_the_own_pages_need_no_password(
    doors: Doors, browser: str, tmp_path: Path
) -> None:
    """The same requests as those of foreign pages, so that these could have succeeded."""
    mark = "own_program"
    for write in doors.writes(mark).values():
        url = f"http://127.0.0.1:{write.ports[0]}{write.path}"
        sent = httpx.post(url, content=write.body, headers={"Content-Type": write.media_type})
        assert sent.status_code in (200, 204), f"{url}: {sent.status_code} {sent.text}"
    until(lambda: len(doors.written(mark)) == 6, 60)

    # Prometheus serves the folder of report pages below /user.
    page = Path(results()) / "own.html"
    page.write_text(page_that_tries([Attempt("/api/v1/query?query=up")]))
    own = f"{doors.config.prometheus_url}/user/own.html"
    with hosting(f"<!doctype html><script>location = '{own}'</script>") as port:
        linked = visit(browser, tmp_path / "link", f"http://{FOREIGN}:{port}/")
    page.unlink()
    assert results_of(linked) == ["200"]
    silences = visit(browser, tmp_path / "am", f"{doors.config.alertmanager_url}/#/silences")
    assert mark in silences
    if not shutil.which("tempo"):
        assert "Jaeger" in visit(browser, tmp_path / "jaeger", f"{doors.config.traces_url}/search")
    if shutil.which("grafana"):
        assert "Grafana" in visit(browser, tmp_path / "grafana", doors.config.grafana_url)
