"""Load a server with k6 and measure what it serves and uses."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from lab.errors import UserError
from lab.stack import programs
from performance.bench.servers import (
    HERE,
    LOAD_CORE,
    SINK,
    OtherCpu,
    Server,
    cpu_seconds,
    on_cores,
    resident_megabytes,
    running,
)

REQUESTS_OF_ITERATION = 6
WARM_UP = "2s"


@dataclass(frozen=True)
class Sample:
    rate: float
    cpu: float
    """Microseconds of the server's CPU time for a request."""
    p50: float
    p95: float
    p99: float
    rss: float
    spans: float
    """Received for each request."""
    lost: int
    """Requests whose spans were not received; of servers that are not traced, 0."""
    other: float
    """Percent of the machine's CPU time that other programs used."""


@dataclass(frozen=True)
class Bench:
    database_url: str
    users: int

    def measure(self, server: Server, duration: str) -> Sample:
        with self.started(server) as (url, process, sink):
            warm = self.load(url, "--duration", WARM_UP)
            used, others = cpu_seconds(process), OtherCpu()
            load = self.load(url, "--duration", duration)
            used, other = cpu_seconds(process) - used, others.share()
            rss = resident_megabytes(process)
        requests = warm["count"] + load["count"]
        return Sample(
            rate=load["rate"],
            cpu=used / load["count"] * 1e6,
            p50=load["p50"],
            p95=load["p95"],
            p99=load["p99"],
            rss=rss,
            spans=sink["spans"] / requests,
            lost=requests - sink["requests"] if server.traced else 0,
            other=other * 100,
        )

    def memory(self, server: Server, first: int, last: int) -> tuple[float, float]:
        """Return the megabytes of memory in use after so many requests."""
        with self.started(server) as (url, process, _):
            used = []
            for requests in (first, last - first):
                iterations = -(-requests // REQUESTS_OF_ITERATION)
                self.load(url, "--iterations", str(iterations), "--duration", "10h")
                used.append(resident_megabytes(process))
        return used[0], used[1]

    @contextmanager
    def started(self, server: Server) -> Iterator[tuple[str, psutil.Process, dict[str, int]]]:
        """Run a server; when it has stopped, the dictionary holds what the sink received."""
        received: dict[str, int] = {}
        with (
            tempfile.TemporaryDirectory(prefix="clinic-bench-") as folder,
            running(SINK) as (sink, _),
        ):
            environment = {
                "CLINIC_DATABASE_URL": self.database_url,
                "REFERENCE_DATABASE": f"{folder}/reference.db",
                "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            }
            with running(server, **environment) as (url, process):
                yield url, process, received
            received |= httpx.get(f"{sink}/received", trust_env=False).json()

    def load(self, url: str, *options: str) -> dict[str, Any]:
        k6 = [str(programs.find("k6")), "run", "--quiet", "--vus", str(self.users), *options]
        with on_cores(LOAD_CORE):
            finished = subprocess.run(  # noqa: S603 our own script
                [*k6, str(HERE / "load.js")],
                env={**os.environ, "BASE_URL": url, "K6_NO_USAGE_REPORT": "true"},
                capture_output=True,
                text=True,
                check=False,
            )
        if finished.returncode:
            raise UserError(f"k6 failed:\n{finished.stderr}")
        summary: dict[str, Any] = json.loads(finished.stdout)
        return summary
