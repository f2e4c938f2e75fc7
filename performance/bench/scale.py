"""Measure every list and filter, and writes, on small and on large tables, request by request."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import httpx

from lab.console import say
from performance.bench.servers import SERVERS, database, running
from tests.support.rows import execute, fill

SIZES = (1_000, 1_000_000)
REQUESTS = 100
MID, LATE = "2090-01-02T00:00:00Z", "2999-01-01T00:00:00Z"
CURSOR = "3786998400000000_1"
READS = {
    "owners, first page": "/owners",
    "owners, deep page": "/owners?cursor={half}",
    "owner with few pets": "/owners/{last}/pets",
    "owner with many pets": "/owners/1/pets",
    "pet with few appointments": "/pets/{last}/appointments",
    "pet with many appointments": "/pets/1/appointments",
    "owner": "/owners/{half}",
    "agenda": "/appointments",
    "agenda, 500 rows": "/appointments?limit=500",
    "agenda, deep page": f"/appointments?cursor={CURSOR}",
    "agenda of a day": f"/appointments?from={MID}&to=2090-01-02T08:00:00Z",
    "agenda without rows": f"/appointments?from={LATE}",
    "booked": "/appointments?status=booked",
    "cancelled": "/appointments?status=cancelled",
    "cancelled, no rows": f"/appointments?status=cancelled&from={LATE}",
    "veterinarian": "/appointments?veterinarian=Dr. 3&limit=50",
    "veterinarian, a day": f"/appointments?veterinarian=Dr. 3&from={MID}&to=2090-01-03T00:00:00Z",
    "veterinarian, booked, no rows": "/appointments?veterinarian=Dr. 9&status=booked",
    "veterinarian, cancelled, no rows": "/appointments?veterinarian=Dr. 8&status=cancelled",
    "unknown veterinarian": "/appointments?veterinarian=nobody",
}
WRITES = ("create owner", "create pet", "create appointment", "cancel", "delete owner")


Times = dict[str, list[tuple[float, float]]]
"""The median milliseconds on small and on large tables, in each round."""


class Clinic:
    """An API on tables of one size."""

    def __init__(self, url: str, rows: int) -> None:
        self.client = httpx.Client(base_url=url)
        self.rows = rows
        self.names = count()

    def read(self, path: str) -> tuple[float, int]:
        path = path.format(half=self.rows // 2, last=self.rows)
        began = time.perf_counter()
        response = self.client.get(path)
        seconds = time.perf_counter() - began
        body = response.raise_for_status().json()
        return seconds, len(body) if isinstance(body, list) else 1

    def write(self) -> Iterator[float]:
        """Return the seconds of each of WRITES."""
        client = f"bench{next(self.names)}"

        def timed(method: str, path: str, body: object = None) -> tuple[float, str]:
            began = time.perf_counter()
            response = self.client.request(method, path, json=body)
            seconds = time.perf_counter() - began
            return seconds, str(response.raise_for_status().headers.get("Location", ""))

        visit = {"scheduled_at": "2080-01-01T09:00:00Z", "reason": "check-up", "veterinarian": "Dr"}
        seconds, owner = timed("POST", "/owners", {"name": "Ana", "email": f"{client}@b.example"})
        yield seconds
        seconds, pet = timed("POST", f"{owner}/pets", {"name": "Luna", "species": "dog"})
        yield seconds
        seconds, appointment = timed("POST", f"{pet}/appointments", visit)
        yield seconds
        yield timed("POST", f"{appointment}/cancel")[0]
        yield timed("DELETE", owner)[0]


def measure(rounds: int) -> Times:
    with ExitStack() as stack:
        clinics = []
        for rows in SIZES:
            say(f"Filling the tables with {rows:,} rows each.")
            settings = stack.enter_context(database())
            asyncio.run(fill(settings, 1, rows, rows))
            asyncio.run(execute(settings, "VACUUM (ANALYZE)"))
            url, _ = stack.enter_context(
                running(SERVERS["clinic"], CLINIC_DATABASE_URL=settings.database_url)
            )
            clinics.append(Clinic(url, rows))
        result: Times = {}
        for number in range(rounds + 1):
            say(f"Round {number} of {rounds}." if number else "Warming up.")
            for name, medians in measure_round(clinics):
                if number:
                    result.setdefault(name, []).append(medians)
        return result


def measure_round(clinics: list[Clinic]) -> Iterator[tuple[str, tuple[float, float]]]:
    for name, path in READS.items():
        times: tuple[list[float], ...] = ([], [])
        for number in range(REQUESTS):
            rows = set()
            for index in (0, 1) if number % 2 else (1, 0):
                seconds, found = clinics[index].read(path)
                times[index].append(seconds)
                rows.add(found)
            if len(rows) > 1:
                raise RuntimeError(f"{name}: the answers have {rows} rows; they cannot be compared")
        yield name, medians_of(times)
    written: list[tuple[list[float], ...]] = [([], []) for _ in WRITES]
    for number in range(REQUESTS):
        for index in (0, 1) if number % 2 else (1, 0):
            for times, seconds in zip(written, clinics[index].write(), strict=True):
                times[index].append(seconds)
    for name, times in zip(WRITES, written, strict=True):
        yield name, medians_of(times)


def medians_of(times: tuple[list[float], ...]) -> tuple[float, float]:
    small, large = (statistics.median(each) * 1000 for each in times)
    return small, large
