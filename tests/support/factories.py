"""Records of made-up runs, to report and to compare."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from lab.clients.spans import Attribute, Period, Span, Trace
from lab.runs.record import (
    Bottleneck,
    Completeness,
    DurationHistogram,
    Environment,
    ErrorCount,
    Machine,
    OperationStats,
    Record,
    SideName,
    Threshold,
    Timeline,
    TimelinePoint,
)

BEGAN = 1795562405.5
STEP = 5.0
BOOK, READ = "POST /owners", "GET /owners"
MACHINE = Machine(cores=8, cpu="a processor", platform="Linux x86_64", memory=2**34)
ENVIRONMENT = Environment(
    target="http://127.0.0.1:8000",
    machine=MACHINE,
    programs={"api": "0.1.0", "k6": "2.2.0"},
    settings={"PROFILE": "load"},
    options={"scenarios": {"load": {"executor": "ramping-arrival-rate"}}},
    other_cpu_share=0.02,
)


def make_stats(operation: str = BOOK, **changes: Any) -> OperationStats:
    stats = OperationStats(
        operation=operation,
        requests=600,
        rate=10.0,
        failed_share=0.0,
        client_p50=0.01,
        client_p95=0.05,
        client_p99=0.09,
        server_p95=0.04,
        database_p95=0.02,
        client_mean=0.02,
        postgresql_execution=0.004,
        postgresql_lock_wait=0.0,
        postgresql_commit=0.006,
        time_shares={
            "generator": 0.05,
            "network": 0.15,
            "api_working": 0.1,
            "api_event_loop": 0.2,
            "api_pool": 0.0,
            "postgresql_executing": 0.2,
            "postgresql_locks": 0.0,
            "postgresql_commit": 0.3,
            "unknown": 0.0,
        },
        limit_p95=0.3,
        limit_failed_share=0.01,
    )
    return replace(stats, **changes)


def make_histogram(
    operation: str = BOOK, slower: int = 0, side: SideName = "client"
) -> DurationHistogram:
    """Make ten segments of durations of about 20 ms, slower by so many eighths of a doubling."""
    return DurationHistogram(operation, side, slower - 45, [[20, 60, 20]] * 10)


def make_timeline(
    steps: int = 12,
    users: Callable[[int], float] = lambda _: 5.0,
    rate: Callable[[int], float] = lambda _: 20.0,
) -> Timeline:
    """Make a timeline whose users and rate follow from the number of the step."""
    level: list[float | None] = [0.05] * steps
    return Timeline(
        step=STEP,
        at=[STEP * (number + 1) for number in range(steps)],
        virtual_users=[users(number) for number in range(steps)],
        rate=[rate(number) for number in range(steps)],
        failed_rate=[0.0] * steps,
        client_p50=level,
        client_p95=level,
        server_p95=level,
        database_p95=level,
        connections_used=[3.0] * steps,
        connections_allowed=[10.0] * steps,
        event_loop_lag_p95=level,
        event_loop_busy=[0.25] * steps,
        parts={"api_working": [0.002] * steps, "postgresql_commit": [0.006] * steps},
    )


def make_points(
    operation: str = BOOK, steps: int = 12, p95: Callable[[int], float] = lambda _: 0.05
) -> list[TimelinePoint]:
    return [
        TimelinePoint(
            operation=operation,
            at=STEP * (number + 1),
            requests=50 + number,
            mean=0.01,
            p50=0.01,
            p95=p95(number),
            server_p95=p95(number) * 0.8,
            database_p95=p95(number) * 0.5,
        )
        for number in range(steps)
    ]


def make_trace(
    number: int = 1,
    operation: str = BOOK,
    attributes: dict[str, Attribute] | None = None,
    spans: int = 2,
) -> Trace:
    """Make a trace of a server span and its statements, one after the other."""
    start = BEGAN + number
    seconds = 0.05 / max(1, spans)

    def span(i: int, name: str, kind: str, duration: float) -> Span:
        parent, values = ("0", {}) if i else ("", attributes or {})
        began = start + i * seconds
        return Span(str(i), parent, name, "clinic", kind, began, duration, values, error=False)

    server = span(0, operation, "server", 0.05)
    statements = [span(i, "INSERT owner", "client", seconds) for i in range(1, spans)]
    return Trace(f"{number:032x}", operation, start, 0.05, 201, [server, *statements])


def make_record(**changes: Any) -> Record:
    """Make a run of a minute that passed in every respect, apart from the changes."""
    record = Record(
        run_id="20261124-232004-load",
        profile="load",
        journey="book",
        period=Period(BEGAN, BEGAN + 60),
        planned=60.0,
        verdict="passed",
        thresholds=[Threshold("http_req_duration{name:POST /owners}", "p(95)<300", passed=True)],
        operations=[make_stats()],
        total=make_stats("All"),
        completeness=Completeness(600, 0, 600, 600, 600),
        errors=[],
        bottleneck=Bottleneck(cause="none"),
        dropped_iterations=0,
        failed_statuses=[],
        timeline=make_timeline(),
        operation_timeline=make_points(),
        slowest_traces=[make_trace()],
        environment=ENVIRONMENT,
    )
    return replace(record, **changes)


def make_comparable(
    run_id: str, book: float = 20, failed_share: float = 0.0, **changes: Any
) -> Record:
    """Make a run in which reading takes 40 ms and booking the given 20, 25 or 40 ms.

    The hour and minute of its id are those of its start.
    """
    started = 1795000000.0 + int(run_id[9:15])
    buckets = {20: 0, 25: 2, 40: 8}

    def stats(operation: str, milliseconds: float, requests: int = 1000) -> OperationStats:
        return OperationStats(
            operation=operation,
            requests=requests,
            rate=requests / 60,
            failed_share=failed_share,
            client_p50=milliseconds / 1000,
            client_p95=1.2 * milliseconds / 1000,
            client_p99=1.4 * milliseconds / 1000,
            server_p95=milliseconds / 1000,
        )

    values = {
        "run_id": run_id,
        "period": Period(started, started + 60),
        "operations": [stats(BOOK, book), stats(READ, 40)],
        "total": stats("All", 30, 2000),
        "completeness": Completeness(2000, 0, 2000),
        "timeline": Timeline(step=STEP),
        "histograms": [make_histogram(BOOK, buckets[round(book)]), make_histogram(READ, 8)],
    }
    return make_record(**(values | changes))


def make_full_record(steps: int = 12, operations: int = 3) -> Record:
    """Make a failed run of which everything is known, losses included."""
    names = [f"GET /number/{number}" for number in range(operations)]
    points = [
        point for name in names for point in make_points(name, steps, lambda i: 0.03 * i + 0.01)
    ]
    return make_record(
        verdict="failed",
        thresholds=[
            *(
                Threshold(
                    f"http_req_duration{{name:{name}}}", "p(95)<300", passed=False, reached=400.0
                )
                for name in names
            ),
            Threshold("errors", "count<10", passed=True, reached=9.0),
        ],
        operations=[make_stats(name, failed_share=0.02, client_p95=0.4) for name in names],
        total=make_stats("All", failed_share=0.02),
        timeline=make_timeline(steps, users=lambda i: i + 1.0, rate=lambda i: 2.0 * i + 1),
        operation_timeline=points,
        completeness=Completeness(600, 2, 590, 300, 290),
        errors=[ErrorCount(name, "status", 3) for name in names],
        dropped_iterations=12,
        failed_statuses=[503],
        slowest_traces=[make_trace(number) for number in range(10)],
        failed_traces=[make_trace(number) for number in range(5, 15)],
        missing=["The traces of 8 of 600 requests are missing."],
    )
