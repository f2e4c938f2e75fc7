"""Outages of the trace store and of Prometheus, under a load that k6 sends at a steady rate.

Beside the API runs a second one, whose telemetry is never out of order. Both get the same requests
at the same time, so that whatever else happens on the machine happens to both.
"""

import asyncio
import csv
import itertools
import os
import secrets
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Thread

from lab.clients.prometheus import Prometheus
from lab.credentials import PASSWORD, USER
from lab.errors import UserError
from lab.paths import PROJECT
from lab.promql import telemetry
from lab.promql.api import CLINIC
from lab.runs import record
from lab.runs.record import Record
from lab.stack.config import HOST
from lab.stack.ports import free as free_port
from lab.stack.ports import is_taken
from lab.stack.service import StartedStack
from performance.stack import Stack
from performance.torture.fault_proxy import Fault, FaultProxy
from performance.torture.part import Context, Figures, Part, Result

OUTAGE_SECONDS = 60
HEALTHY_SECONDS = 20
"""Before and after the outage; both together are what it is compared with."""
WARM_UP_SECONDS = 10
REST_SECONDS = 5
"""Between the last measured moment and the end of the load."""
ITERATIONS_PER_SECOND = 5
PAIRS_PER_SECOND = 30
"""Requests to each of the two APIs."""
MOST_SLOWER = 1.1
MOST_MEGABYTES = 40.0
"""The queue of 8,192 spans takes half of it."""
ALERT_SECONDS = 120
"""After the load."""
ALERTS = {
    # The receiver acknowledges spans that it does not store: SpansMissing.
    Fault.GARBAGE: (),
    Fault.FULL: ("SpansLost", "SpansDiscarded", "TraceStoreDown"),
}
ARRIVAL_SECONDS = 60
DISK_MEGABYTES = 400
MEGABYTE = 2**20


@dataclass
class Period:
    began: float = 0.0
    ended: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        self.began = time.time()
        yield
        self.ended = time.time()

    def __contains__(self, moment: float) -> bool:
        return self.began <= moment < self.ended


@dataclass
class Load:
    """A run of k6 that writes each request to a file as well as to Prometheus."""

    stack: Stack
    run_id: str
    seconds: float
    file: Path
    output: Path
    process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run k6; wait at the end until it has ended and its report is written."""
        settings = {
            "DURATION": f"{self.seconds:.0f}s",
            "RATE": str(ITERATIONS_PER_SECOND),
            "RUN": self.run_id,
            "TRACE_EVERY": "0",
            "K6_OUT": f"experimental-prometheus-rw,csv={self.file}",
            "K6_CSV_TIME_FORMAT": "unix_milli",
        }
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "lab", "run", "soak"],
                cwd=PROJECT,
                env={**self.stack.environment, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + ARRIVAL_SECONDS
            while not self.requests():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise UserError(f"k6 did not start:\n{self.output.read_text()}")
                time.sleep(0.5)
            yield
            process.wait(self.seconds + 2 * ARRIVAL_SECONDS)
        finally:
            process.terminate()
            process.wait()

    def requests(self) -> list[tuple[float, float, bool]]:
        """Return when each request ended, its milliseconds, and whether it succeeded."""
        if not self.file.exists():
            return []
        with self.file.open(newline="") as file:
            return [
                (
                    float(row["timestamp"]) / 1000,
                    float(row["metric_value"]),
                    row["expected_response"] == "true",
                )
                for row in csv.DictReader(file)
                if row["metric_name"] == "http_req_duration" and row["scenario"]
            ]

    def record(self) -> Record:
        return record.load(self.stack.results / f"{self.run_id}.json")


@contextmanager
def second_api(stack: Stack) -> Iterator[int]:
    """Run another API on the same database; yield its port.

    It sends its spans to the trace store's port and its metrics to Prometheus itself.
    """
    port, prometheus = free_port(), StartedStack.load(stack.config).internal_ports.prometheus
    credentials = f"{USER}:{(stack.config.credentials / PASSWORD).read_text()}"
    environment = {
        **os.environ,
        **stack.services["api"].environment,
        "CLINIC_PORT": str(port),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": stack.config.otlp_traces_endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": (
            f"http://{HOST}:{prometheus}/api/v1/otlp/v1/metrics"
        ),
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": (
            f"authorization=Basic%20{b64encode(credentials.encode()).decode()}"
        ),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "clinic"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while not is_taken(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("The second API did not start.")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


class Pairs:
    """Sends each request to two APIs, one after the other, and notes the milliseconds of both."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.failed = 0
        self.taken: list[tuple[float, float, float]] = []
        """When, and the milliseconds of the first and of the second API."""

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = Event()
        thread = Thread(target=lambda: asyncio.run(self._send(stop)), daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    async def _send(self, stop: Event) -> None:
        connections = [await asyncio.open_connection(HOST, port) for port in self.ports]
        for number in itertools.count():
            if stop.is_set():
                break
            await asyncio.sleep(1 / PAIRS_PER_SECOND)
            order = (0, 1) if number % 4 < 2 else (1, 0)  # noqa: PLR2004 - each request in each order
            milliseconds = [0.0, 0.0]
            for which in order:
                milliseconds[which] = await self._ask(*connections[which], request(number))
            self.taken.append((time.time(), milliseconds[0], milliseconds[1]))
        for _, writer in connections:
            writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes
    ) -> float:
        began = time.perf_counter()
        writer.write(sent)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length: ")
        await reader.readexactly(int(length.partition(b"\r\n")[0]))
        self.failed += not head.startswith(b"http/1.1 20")
        return (time.perf_counter() - began) * 1000

    def ratio(self, *periods: Period) -> float:
        """Return by how much the first API is slower than the second: the median of the pairs.

        Both requests of a pair meet the same load by other programs.
        """
        return statistics.median(
            first / second
            for at, first, second in self.taken
            if any(at in period for period in periods)
        )


def request(number: int) -> bytes:
    """Return a request that reads owners or registers one."""
    if number % 2:
        return b"GET /owners?limit=10 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b'{"name":"Ana","email":"%b@example.org"}' % secrets.token_hex(8).encode()
    return (
        b"POST /owners HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


@dataclass
class Outage:
    """What an outage did to the requests and to the API's process."""

    load: Load
    pairs: Pairs
    before: Period = field(default_factory=Period)
    during: Period = field(default_factory=Period)
    after: Period = field(default_factory=Period)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Megabytes of the API's process over time."""
    restarts: int = 0

    def measure(self, context: Context, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Measure before, during and after the outage that `begin` begins and `end` ends."""
        stack = self.load.stack
        api = stack.process("api")
        stop = Event()

        def watch() -> None:
            while not stop.wait(0.5):
                self.memory.append((time.time(), api.memory_info().rss / MEGABYTE))

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        time.sleep(context.seconds(WARM_UP_SECONDS))
        with self.before.measured():
            time.sleep(context.seconds(HEALTHY_SECONDS))
        with self.during.measured():
            begin()
            time.sleep(context.seconds(OUTAGE_SECONDS))
            end()
        with self.after.measured():
            time.sleep(context.seconds(HEALTHY_SECONDS))
        stop.set()
        watcher.join()
        self.restarts = int(stack.process("api").pid != api.pid)

    def figures(self) -> Figures:
        requests = self.load.requests()
        faulty = [ms for at, ms, _ in requests if at in self.during]
        healthy = [ms for at, ms, _ in requests if at in self.before or at in self.after]
        highest_before = max(megabytes for at, megabytes in self.memory if at in self.before)
        highest = max(megabytes for _, megabytes in self.memory)
        slower = self.pairs.ratio(self.during) / self.pairs.ratio(self.before, self.after)
        return {
            "requests during it": len(faulty),
            "failed": sum(not success for _, _, success in requests) + self.pairs.failed,
            "times slower": round(slower, 3),
            "k6's median in ms": round(statistics.median(faulty), 2),
            "before and after": round(statistics.median(healthy), 2),
            "MB more memory": round(highest - highest_before, 1),
            "API restarts": self.restarts,
        }

    @staticmethod
    def passed(figures: Figures) -> bool:
        """Say whether requests and memory are as promised."""
        return (
            figures["failed"] == 0
            and float(figures["times slower"]) <= MOST_SLOWER
            and float(figures["MB more memory"]) <= MOST_MEGABYTES
            and figures["API restarts"] == 0
        )


def seconds_of_load(context: Context) -> float:
    parts = (WARM_UP_SECONDS, HEALTHY_SECONDS, OUTAGE_SECONDS, HEALTHY_SECONDS, REST_SECONDS)
    return sum(map(context.seconds, parts)) + REST_SECONDS


def begin_load(context: Context, name: str) -> Outage:
    """Prepare the load of a part and start the second API."""
    second = context.resources.enter_context(second_api(context.stack))
    return Outage(
        make_load(context, name, seconds_of_load(context)),
        Pairs(context.stack.config.clinic_port, second),
    )


def make_load(context: Context, name: str, seconds: float) -> Load:
    run_id = f"torture-{name}"
    for file in context.results.glob(f"{run_id}*"):
        file.unlink()
    file, output = (context.results / f"{run_id}.{kind}" for kind in ("csv", "log"))
    return Load(context.stack, run_id, seconds, file, output)


@contextmanager
def prometheus_itself(stack: Stack) -> Iterator[Prometheus]:
    """Ask Prometheus directly: the gateway may be part of what is out of order."""
    port = StartedStack.load(stack.config).internal_ports.prometheus
    password = (stack.config.credentials / PASSWORD).read_text()
    with Prometheus(f"http://{USER}:{password}@{HOST}:{port}") as client:
        yield client


class AlertWatch:
    """Notes when alerts began to fire."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.began = time.time()
        self.fired: dict[str, float] = {}
        """Seconds by name."""
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self.began = time.time()
        self._thread.start()

    def _watch(self) -> None:
        with prometheus_itself(self.stack) as prometheus:
            while not self._stop.wait(1):
                with suppress(UserError):
                    for alert in prometheus.active_alerts():
                        if alert.firing:
                            self.fired.setdefault(alert.name, time.time() - self.began)

    def wait_for(self, *names: str) -> dict[str, float]:
        """Wait until one of these alerts has fired; return the seconds until each that has."""
        deadline = time.time() + ALERT_SECONDS
        while names and not self.fired.keys() & set(names) and time.time() < deadline:
            time.sleep(1)
        self._stop.set()
        self._thread.join()
        return {name: self.fired[name] for name in names if name in self.fired}


@dataclass
class SpanCounts:
    """Spans of the API by what became of them."""

    created: int
    dropped: int
    failed: int
    stored: int
    discarded: int
    """Received and not stored, as the trace store counts it."""

    @classmethod
    def read(cls, stack: Stack) -> "SpanCounts":
        """Read the counters once they agree or have come to rest."""
        selectors = (
            f"{telemetry.PROCESSED}{{{CLINIC}}}",
            telemetry.QUEUE_FULL,
            telemetry.EXPORT_FAILED,
            telemetry.ACCEPTED,
            " or ".join(telemetry.SPANS_NOT_STORED),
        )
        with prometheus_itself(stack) as prometheus:

            def read() -> "SpanCounts":
                sums = (prometheus.number(f"sum({it})", time.time()) for it in selectors)
                return cls(*(round(value or 0) for value in sums))

            counts, deadline = read(), time.monotonic() + ARRIVAL_SECONDS
            while counts.unaccounted and time.monotonic() < deadline:
                time.sleep(1)
                counts = read()
        return counts

    @property
    def unaccounted(self) -> int:
        """Spans that were created and are in no other count; negative if some are in two."""
        return self.created - self.dropped - self.failed - self.stored - self.discarded

    def figures(self) -> Figures:
        return {
            "spans": self.created,
            "dropped": self.dropped,
            "failed to send": self.failed,
            "stored": self.stored,
            "discarded": self.discarded,
            "unaccounted": self.unaccounted,
        }


def spans_missing(stack: Stack) -> int:
    with prometheus_itself(stack) as prometheus:
        return round(prometheus.number(telemetry.spans_missing("10m"), time.time()) or 0)


def seconds_until_sent(stack: Stack, since: float) -> float:
    """Wait until each API has sent spans after a moment, as the receiver has acknowledged."""
    selector = f'{telemetry.EXPORTED}{{{CLINIC},error_type=""}}'
    with prometheus_itself(stack) as prometheus:
        before = prometheus.by_label(selector, "instance", since)
        while True:
            now = prometheus.by_label(selector, "instance", time.time())
            if all(now.get(instance, 0) > count for instance, count in before.items()):
                return time.time() - since
            if time.time() > since + ARRIVAL_SECONDS:
                raise UserError("No spans were sent after the outage.")
            time.sleep(0.5)


def trace_store_outage(fault: Fault, context: Context) -> Result:
    """Put the fault between the API and the trace store's receiver."""
    proxy = context.resources.enter_context(FaultProxy(0))
    stack = context.start_stack(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://{HOST}:{proxy.port}/v1/traces"
    )
    proxy.target = stack.config.otlp_port
    return measure_trace_store(
        context, fault, partial(proxy.set, fault), partial(proxy.set, Fault.NONE)
    )


def measure_trace_store(
    context: Context, fault: Fault, begin: Callable[[], None], end: Callable[[], None]
) -> Result:
    stack = context.stack
    outage = begin_load(context, f"traces-{fault}")
    alerts = AlertWatch(stack)
    arrival = 0.0

    def begin_and_watch() -> None:
        alerts.start()
        begin()

    def end_and_wait() -> None:
        nonlocal arrival
        end()
        arrival = seconds_until_sent(stack, time.time())

    with outage.load.running(), outage.pairs.running():
        outage.measure(context, begin_and_watch, end_and_wait)
    fired = alerts.wait_for(*ALERTS.get(fault, ("SpansLost",)))
    figures, counts = outage.figures(), SpanCounts.read(stack)
    figures |= counts.figures()
    figures |= {"s until spans arrive again": round(arrival, 1)}
    figures |= {f"s until {name}": round(at, 1) for name, at in fired.items()}
    alerted = bool(fired)
    match fault:
        case Fault.GARBAGE:
            accounted = counts.unaccounted > 0
            # The alert itself waits until the trace store has been there for 10 min.
            figures |= {"missing, as SpansMissing counts": (missing := spans_missing(stack))}
            alerted = missing > 0
        case Fault.SLOW:  # stored after the API has given up
            accounted = -counts.failed <= counts.unaccounted <= 0
        case Fault.FULL:  # the trace store's own counters start from zero if it has to restart
            accounted = counts.discarded > 0 or counts.failed > 0
        case _:
            accounted = counts.unaccounted == 0
    return Result(outage.passed(figures) and accounted and alerted, figures)


@contextmanager
def small_disk(stack: Stack, service: str, folder: Path) -> Iterator[Callable[[], None]]:
    """Give a service a small file system of its own; yield what fills or empties it.

    It needs root.
    """
    supervisor = stack.native.supervisor
    supervisor.stop(service)
    options = f"size={DISK_MEGABYTES}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)  # noqa: S603, S607
    try:
        supervisor.start(service)
        stack.native.wait_until_ready(stack.services[service])
        filler = folder / "filler"

        def toggle() -> None:
            if filler.exists():
                filler.unlink()
                return
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(MEGABYTE))

        yield toggle
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


def trace_store_with_full_disk(context: Context) -> Result:
    """Fill the disk of the trace store for the time of the outage."""
    if os.geteuid():
        return Result(passed=True, figures={"not run": "it needs root, for a small file system"})
    stack = context.stack
    folder = stack.config.state / "jaeger"
    toggle = context.resources.enter_context(small_disk(stack, "jaeger", folder))
    return measure_trace_store(context, Fault.FULL, toggle, toggle)


@contextmanager
def gateway_proxy(stack: Stack) -> Iterator[FaultProxy]:
    """Put a proxy between the gateway and Prometheus."""
    port = StartedStack.load(stack.config).internal_ports.prometheus
    with FaultProxy(port) as proxy:
        upstream = f"{stack.config.prometheus_port}=http://{HOST}:{proxy.port}"
        with stack.replaced("gateway", {"GATEWAY_PROMETHEUS": upstream}):
            yield proxy


def prometheus_outage(fault: Fault, context: Context) -> Result:
    """Put the fault between the gateway and Prometheus: the API and k6 send through it."""
    proxy = context.resources.enter_context(gateway_proxy(context.stack))
    return measure_prometheus(
        context, fault, partial(proxy.set, fault), partial(proxy.set, Fault.NONE)
    )


def measure_prometheus(
    context: Context, fault: Fault, begin: Callable[[], None], end: Callable[[], None]
) -> Result:
    outage = begin_load(context, f"prometheus-{fault}")
    alerts = AlertWatch(context.stack)

    def begin_and_watch() -> None:
        alerts.start()
        begin()

    with outage.load.running(), outage.pairs.running():
        outage.measure(context, begin_and_watch, end)
    figures = outage.figures()
    saved = outage.load.record()
    counted = saved.total.requests
    sent = len(outage.load.requests())
    rates = [rate for rate in saved.timeline.rate if rate is not None]
    figures |= {
        "requests sent": sent,
        "in the report": counted,
        "traced": saved.completeness.traced,
        "intervals without samples": len(saved.timeline.rate) - len(rates),
        "highest rate": round(max(rates), 1),
        "median rate": round(statistics.median(rates), 1),
    }
    figures |= {f"s until {name}": round(at, 1) for name, at in alerts.fired.items()}
    figures |= {"report says": " ".join(saved.missing) or "nothing"}
    return Result(outage.passed(figures) and counted == sent, figures)


def prometheus_away_at_the_end(context: Context) -> Result:
    """Let Prometheus be away from the middle of a run until after its end."""
    stack = context.stack
    proxy = context.resources.enter_context(gateway_proxy(stack))
    load = make_load(context, "prometheus-end", 3 * context.seconds(HEALTHY_SECONDS))
    with load.running():
        time.sleep(context.seconds(HEALTHY_SECONDS))
        proxy.set(Fault.AWAY)
    proxy.set(Fault.NONE)
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "lab", "report", load.run_id],
        cwd=PROJECT,
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    saved, sent = load.record(), len(load.requests())
    figures: Figures = {
        "requests sent": sent,
        "in the report": saved.total.requests,
        "verdict": saved.verdict,
        "report says": " ".join(saved.missing) or "nothing",
    }
    return Result(saved.total.requests == sent and saved.verdict == "passed", figures)


PROMISES = {
    Fault.AWAY: "refuses connections",
    Fault.SLOW: "answers 5 s late",
    Fault.UNAVAILABLE: "answers 503",
    Fault.GARBAGE: "answers 200 with garbage",
    Fault.BROKEN: "answers with what is not HTTP",
}
TRACES_PROMISE = (
    "The trace store {}: requests are as fast, memory is bounded, each lost span is counted, an "
    "alert fires, and spans arrive afterwards"
)
PROMETHEUS_PROMISE = (
    "Prometheus {}: requests are as fast, memory is bounded, and no request of k6 is missing from "
    "the run's totals"
)
MINUTES = 4

PARTS = [
    *(
        Part(
            f"outage-traces-{fault}",
            TRACES_PROMISE.format(text),
            MINUTES,
            partial(trace_store_outage, fault),
        )
        for fault, text in PROMISES.items()
    ),
    *(
        Part(
            f"outage-prometheus-{fault}",
            PROMETHEUS_PROMISE.format(text),
            MINUTES,
            partial(prometheus_outage, fault),
        )
        for fault, text in PROMISES.items()
    ),
    Part(
        "outage-prometheus-end",
        "Prometheus is away from the middle of a run until after its end: a report made afterwards "
        "has every request and the verdict",
        2.5,
        prometheus_away_at_the_end,
    ),
    Part(
        "outage-traces-full-disk",
        TRACES_PROMISE.format("has a full disk"),
        MINUTES,
        trace_store_with_full_disk,
    ),
]
