"""Records of runs that never were, to draw and to judge."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from lab.clients.spans import Attribute, Period, Span
from lab.runs.record import (
    Completeness,
    DurationHistogram,
    Environment,
    Machine,
    OperationStats,
    Record,
    Threshold,
    Timeline,
    TimelinePoint,
    Trace,
)

BEGAN = 1795562405.5
STEP = 5.0


def a_row(operation: str = "POST /owners", **changes: Any) -> OperationStats:
    row = OperationStats(
        operation=operation,
        requests=600,
        rate=10.0,
        failed_share=0.0,
        client_p50=0.01,
        client_p95=0.05,
        client_p99=0.09,
        server_p95=0.04,
        database_p95=0.02,
        outside_server=0.2,
        in_server=0.3,
        in_database=0.5,
        limit_p95=0.3,
        limit_failed_share=0.01,
    )
    return replace(row, **changes)


def a_histogram(operation: str = "POST /owners", slower: int = 0) -> DurationHistogram:
    """Make ten parts of requests of some 20 ms, and slower by so many eighths of a doubling."""
    return DurationHistogram(operation, "client", slower - 45, [[20, 60, 20]] * 10)


def a_timeline(
    steps: int = 12,
    users: Callable[[int], float] = lambda _: 5.0,
    rate: Callable[[int], float] = lambda _: 20.0,
) -> Timeline:
    """Make a course whose users and rate follow from the number of the step."""
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
    )


def points(
    operation: str = "POST /owners", steps: int = 12, p95: Callable[[int], float] = lambda _: 0.05
) -> list[TimelinePoint]:
    return [
        TimelinePoint(
            operation=operation,
            at=STEP * (number + 1),
            requests=50,
            mean=0.01,
            p50=0.01,
            p95=p95(number),
            server_p95=p95(number) * 0.8,
            database_p95=p95(number) * 0.5,
        )
        for number in range(steps)
    ]


def a_trace(
    number: int = 1,
    operation: str = "POST /owners",
    attributes: dict[str, Attribute] | None = None,
    spans: int = 2,
) -> Trace:
    """Make a trace of a server's span and its statements, one after the other."""
    start = BEGAN + number
    each = 0.05 / max(1, spans)

    def span(at: int, name: str, kind: str, lasts: float) -> Span:
        parent, said = ("0", {}) if at else ("", attributes or {})
        began = start + at * each
        return Span(str(at), parent, name, "clinic", kind, began, lasts, said, error=False)

    server = span(0, operation, "server", 0.05)
    statements = [span(at, "INSERT owner", "client", each) for at in range(1, spans)]
    return Trace(f"{number:032x}", operation, start, 0.05, 201, [server, *statements])


def a_record(**changes: Any) -> Record:
    """Make a run of a minute that held in every way, save for what is changed."""
    made = Record(
        run_id="20261124-232004-load",
        profile="load",
        journey="book",
        period=Period(BEGAN, BEGAN + 60),
        planned=60.0,
        verdict="passed",
        thresholds=[Threshold("http_req_duration{name:POST /owners}", "p(95)<300", passed=True)],
        operations=[a_row()],
        total=a_row("All"),
        completeness=Completeness(600, 0, 600, 600, 600),
        errors=[],
        dropped_iterations=0,
        failed_statuses=[],
        timeline=a_timeline(),
        operation_timeline=points(),
        slowest_traces=[a_trace()],
        environment=Environment(
            "http://127.0.0.1:8000",
            Machine(2, "a processor", "Linux x86_64", 8_000_000_000),
            {"k6": "2.2.0"},
            {"PROFILE": "load"},
            {"scenarios": {"load": {"executor": "ramping-arrival-rate"}}},
        ),
    )
    return replace(made, **changes)
