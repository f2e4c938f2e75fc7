"""A made-up run of which everything is known: a slow statement fills the API's pool."""

import math
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from lab.clients.spans import Attribute, Period, Span, Trace
from lab.runs.record import (
    Bottleneck,
    Check,
    Completeness,
    DatabaseError,
    Environment,
    ErrorCount,
    Generator,
    Heatmap,
    Iterations,
    Machine,
    OperationStats,
    PartName,
    Phase,
    PostgreSQL,
    Record,
    Resource,
    Statement,
    Threshold,
    Timeline,
    TimelinePoint,
)
from tests.support.factories import BEGAN, STEP

RUN_ID = "20261124-232004-load"
SECONDS, STEPS = 60.0, 12
OWNER, PET, APPOINTMENT = (
    "POST /owners",
    "POST /owners/{owner_id}/pets",
    "POST /pets/{pet_id}/appointments",
)
READS = ("GET /owners", "GET /owners/{owner_id}/pets", "GET /pets/{pet_id}/appointments")
OPERATIONS = (OWNER, PET, APPOINTMENT, *READS)
# The journey `mixed` has these as well.
OTHERS = (
    "GET /appointments",
    "GET /appointments/{appointment_id}",
    "POST /appointments/{appointment_id}/cancel",
)
REFUSED = "The pet already has an appointment at that time."
# The pool is full from here on.
FULL_FROM = 35.0


def make_complete_record(*others: str, **changes: Any) -> Record:
    """Make a failed run in which every field has a value, with other operations if named."""
    names = (*OPERATIONS, *others)
    operations = [_stats(number, name) for number, name in enumerate(names)]
    total = replace(
        _stats(3, "All"),
        requests=4302,
        rate=71.7,
        failed_share=0.0086,
        client_max=1.321,
        limit_p95=0.8,
    )
    record = Record(
        run_id=RUN_ID,
        name="before the index",
        note="INSERT appointment without its index",
        tags={"team": "bookings", "branch": "main"},
        profile="load",
        journey="book",
        period=Period(BEGAN, BEGAN + SECONDS),
        planned=SECONDS,
        verdict="failed",
        thresholds=_thresholds(operations, total),
        generators=[
            Generator(
                name="1", profile="load", started=0.0, ended=60.0, requests=2150, passed=False
            ),
            Generator(
                name="2", profile="load", started=0.4, ended=60.2, requests=2152, passed=True
            ),
        ],
        operations=operations,
        total=total,
        completeness=Completeness(4302, 3, 4299, 2114, 2114),
        errors=[
            ErrorCount(PET, "status", 25, 500, "Internal Server Error", 1500),
            ErrorCount(APPOINTMENT, "status", 9, 409, REFUSED, 1409),
            ErrorCount(OWNER, "timeout", 3, 0, "", 1050),
        ],
        database_errors=[DatabaseError(PET, "P0001", 25), DatabaseError(APPOINTMENT, "23505", 9)],
        checks=[
            Check("status is 201", passed=2105, failed=34),
            Check("the owner has an id", passed=717, failed=0),
        ],
        iterations=Iterations(count=717, mean=3.412, p95=5.208),
        phases={
            "blocked": Phase(mean=0.000012, p95=0.00002),
            "connecting": Phase(mean=0.000004, p95=0.0),
            "tls": Phase(mean=0.0, p95=0.0),
            "sending": Phase(mean=0.00004, p95=0.0001),
            "waiting": Phase(mean=0.2512, p95=0.6121),
            "receiving": Phase(mean=0.0003, p95=0.0009),
        },
        bytes_sent=1_734_000.0,
        bytes_received=9_412_000.0,
        resources=[
            Resource(name="api", cpu_mean=0.41, cpu_max=0.63, memory=131_400_000.0, cores=2.0),
            Resource(
                name="postgresql", cpu_mean=0.18, cpu_max=0.27, memory=92_800_000.0, cores=2.0
            ),
            Resource(name="k6", cpu_mean=0.22, cpu_max=0.31, memory=148_100_000.0, cores=2.0),
            Resource(
                name="machine", cpu_mean=1.02, cpu_max=1.44, memory=3_211_000_000.0, cores=2.0
            ),
        ],
        postgresql=PostgreSQL(
            statements=[
                Statement(
                    name="INSERT appointment",
                    calls=703,
                    mean=0.4512,
                    lock_wait=0.0012,
                    commit=0.0009,
                ),
                Statement(name="INSERT pet", calls=692, mean=0.0011, lock_wait=0.0, commit=0.0008),
                Statement(name="SELECT owner", calls=717, mean=0.0004),
            ],
            wal_bytes=2_310_000.0,
            fsyncs=1893,
            fsync_mean=0.00087,
            locks={"relation": 0.8, "tuple": 0.05},
        ),
        bottleneck=Bottleneck(
            cause="pool",
            share=0.68,
            since=FULL_FROM,
            evidence={
                "pool_wait_mean": 0.214,
                "pool_size": 10.0,
                "statement": "INSERT appointment",
                "execution_mean": 0.4512,
            },
            operations=list(names),
        ),
        other_bottlenecks=[
            Bottleneck(
                cause="postgresql_execution",
                share=0.21,
                evidence={"statement": "INSERT appointment", "execution_mean": 0.4512},
                operations=[APPOINTMENT],
            )
        ],
        dropped_iterations=43,
        failed_statuses=[409, 500],
        timeline=_timeline(),
        operation_timeline=[
            point for number, name in enumerate(names) for point in _points(number, name)
        ],
        heatmap=_heatmap(),
        slowest_traces=[
            _trace(number, OPERATIONS[(2, 0, 4, 1)[number % 4]], 1.321 - 0.04 * number)
            for number in range(10)
        ],
        failed_traces=[
            _trace(20 + number, (PET, APPOINTMENT)[number % 2], 0.41, (500, 409)[number % 2])
            for number in range(10)
        ],
        environment=Environment(
            target="http://127.0.0.1:8000",
            machine=Machine(2, "a processor", "Linux x86_64", 2**33),
            programs={"api": "0.4.0", "k6": "2.2.0", "PostgreSQL": "18.0", "Prometheus": "3.14.0"},
            settings={"PROFILE": "load", "JOURNEY": "book", "DURATION": "60s"},
            options={"scenarios": {"load": {"executor": "ramping-arrival-rate"}}},
            commit="4c4dfe1+",
            other_cpu_share=0.03,
        ),
    )
    return replace(record, **changes)


def _stats(number: int, name: str) -> OperationStats:
    slow = name == APPOINTMENT
    p95 = 0.856 if slow else 0.41 + 0.03 * number
    mean = p95 / 2
    shares: dict[PartName, float] = {
        "generator": 0.01,
        "network": 0.02,
        "api_working": 0.03,
        "api_event_loop": 0.02,
        "api_pool": 0.33 if slow else 0.88,
        "postgresql_executing": 0.56 if slow else 0.01,
        "postgresql_locks": 0.01,
        "postgresql_commit": 0.02,
        "unknown": 0.0,
    }
    write = name.startswith("POST")
    return OperationStats(
        operation=name,
        requests=717 - 7 * number,
        rate=(717 - 7 * number) / SECONDS,
        failed_share={PET: 0.0353, APPOINTMENT: 0.0128}.get(name, 0.0),
        client_min=0.0031,
        client_mean=mean,
        client_p50=mean * 0.8,
        client_p90=p95 * 0.9,
        client_p95=p95,
        client_p99=p95 * 1.2,
        client_max=1.321 if slow else p95 * 1.5,
        server_p95=p95 - 0.013,
        database_p95=0.543 if slow else 0.004,
        postgresql_execution=mean * 0.56 if slow else 0.0004,
        postgresql_lock_wait=0.0002,
        postgresql_commit=0.0009,
        time_shares=shares,
        limit_p95=0.3 if write else 0.2,
        limit_failed_share=0.01,
        over_limit_share=0.984 if slow else 0.1234,
    )


def _thresholds(operations: list[OperationStats], total: OperationStats) -> list[Threshold]:
    found = []
    for stats in (total, *operations):
        tag = "scenario:load" if stats is total else f"name:{stats.operation}"
        limit, reached = (stats.limit_p95 or 0) * 1000, (stats.client_p95 or 0) * 1000
        found += [
            Threshold(
                f"http_req_duration{{{tag}}}", f"p(95)<{limit:.0f}", reached <= limit, reached
            ),
            Threshold(
                f"http_req_failed{{{tag}}}",
                "rate<0.01",
                stats.failed_share < 0.01,
                stats.failed_share,
            ),
        ]
    return [*found, Threshold("errors", "count<10", passed=False, reached=37.0)]


def _level(before: float, after: float) -> Callable[[int], float]:
    """Make values that rise in the middle of the run, and vary by some percent."""

    def value(step: int) -> float:
        level = before if STEP * (step + 1) <= FULL_FROM else after
        return level * (1 + 0.08 * math.sin(2.3 * step))

    return value


def _timeline() -> Timeline:
    def values(before: float, after: float) -> list[float | None]:
        return [_level(before, after)(step) for step in range(STEPS)]

    return Timeline(
        step=STEP,
        at=[STEP * (step + 1) for step in range(STEPS)],
        virtual_users=values(9, 48),
        rate=values(78, 61),
        failed_rate=values(0.4, 0.9),
        client_p50=values(0.012, 0.31),
        client_p90=values(0.38, 0.52),
        client_p95=values(0.45, 0.71),
        client_p99=values(0.54, 1.1),
        server_p95=values(0.44, 0.69),
        database_p95=values(0.43, 0.54),
        connections_used=[min(10.0, value or 0) for value in values(6, 11)],
        connections_allowed=[10.0] * STEPS,
        event_loop_lag_p95=values(0.002, 0.004),
        event_loop_busy=values(0.36, 0.41),
        parts={
            "generator": values(0.001, 0.001),
            "network": values(0.002, 0.002),
            "api_working": values(0.004, 0.004),
            "api_event_loop": values(0.002, 0.003),
            "api_pool": values(0.01, 0.21),
            "postgresql_executing": values(0.07, 0.08),
            "postgresql_locks": values(0.0005, 0.0005),
            "postgresql_commit": values(0.001, 0.001),
        },
        cpu={
            "api": values(0.38, 0.43),
            "postgresql": values(0.15, 0.19),
            "k6": values(0.21, 0.23),
            "machine": values(0.9, 1.1),
        },
        memory={
            "api": values(118e6, 120e6),
            "postgresql": values(85e6, 88e6),
            "k6": values(120e6, 140e6),
        },
    )


def _points(number: int, name: str) -> list[TimelinePoint]:
    slow = name == APPOINTMENT
    p95 = _level(0.6 if slow else 0.02 + 0.004 * number, 0.9 if slow else 0.5)
    return [
        TimelinePoint(
            operation=name,
            at=STEP * (step + 1),
            requests=58 + step,
            mean=p95(step) / 2,
            p50=p95(step) / 2.5,
            p95=p95(step),
            server_p95=p95(step) * 0.97,
            database_p95=0.54 if slow else 0.003,
        )
        for step in range(STEPS)
    ]


def _heatmap() -> Heatmap:
    """Make two modes: the quick requests slow down when the pool is full, the slow ones stay."""
    counts = []
    for step in range(STEPS):
        quick = 6 if STEP * (step + 1) <= FULL_FROM else 14
        counts.append(
            [
                round(240 * math.exp(-((bucket - quick) ** 2) / 3))
                + round(60 * math.exp(-((bucket - 15) ** 2)))
                for bucket in range(18)
            ]
        )
    return Heatmap(first=-16, counts=counts)


def _trace(number: int, operation: str, duration: float, status: int = 201) -> Trace:
    """Make a trace that waits for a connection, and then for its statement."""
    start = BEGAN + 40 + number * 0.7
    statement = {OWNER: "INSERT owner", PET: "INSERT pet", APPOINTMENT: "INSERT appointment"}
    execution = 0.45 if operation == APPOINTMENT else 0.0011
    wait = max(0.0, duration - execution - 0.004)
    attributes: dict[str, Attribute] = {
        "http.response.status_code": status,
        "k6.test_run_id": RUN_ID,
        "k6.scenario": "load",
        "clinic.operation": operation,
        "url.path": "/owners/17/pets",
        "server.address": "127.0.0.1",
        "network.protocol.version": "1.1",
    }
    failed = status >= 400
    refusal: dict[str, Attribute] = {
        "db.response.status_code": {500: "P0001", 409: "23505"}.get(status, "")
    }
    query: dict[str, Attribute] = {
        "db.query.text": "INSERT INTO appointment (pet_id, scheduled_at) VALUES ($1, $2)",
        "db.system.name": "postgresql",
    }
    spans = [
        Span(
            "0", "", operation, "clinic", "server", start, duration, attributes, error=status >= 500
        ),
        Span(
            "1", "0", "connection wait", "clinic", "internal", start + 0.002, wait, {}, error=False
        ),
        Span(
            "2",
            "0",
            statement.get(operation, "SELECT owner"),
            "clinic",
            "client",
            start + 0.002 + wait,
            execution,
            query | (refusal if failed else {}),
            error=failed,
        ),
    ]
    return Trace(f"{number:032x}", operation, start, duration, status, spans)
