"""Connection pool: connections by state, and how long statements wait for one and use it."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from sqlalchemy import Connection
from sqlalchemy.pool import QueuePool

from clinic.database import Database
from clinic.telemetry.context import CURRENT
from clinic.telemetry.series import NO_EXEMPLAR, Series

POOL = {"db.client.connection.pool.name": "clinic"}

SPAN_SECONDS = 0.001
"""Longest wait without a span."""


class PoolMonitor:
    """Measures the pool, and adds a span to a traced request that waits for a connection.

    Measured round SQLAlchemy's `connect`, as its event `checkout` comes after the wait. A new
    connection counts as waiting for one.
    """

    def __init__(self, meter: Meter, tracer: Tracer, database: Database) -> None:
        self.tracer = tracer
        self.database = database
        self.take = database.engine.sync_engine.connect
        self.pending = 0
        wait_time = meter.create_histogram(
            "db.client.connection.wait_time", "s", "Time to get a connection from the pool."
        )
        use_time = meter.create_histogram(
            "db.client.connection.use_time", "s", "Time until a connection is back in the pool."
        )
        self.wait_time, self.use_time = Series(wait_time, POOL), Series(use_time, POOL)
        meter.create_observable_up_down_counter(
            "db.client.connection.pending_requests",
            [lambda _: [Observation(self.pending, POOL)]],
            "{request}",
            "Statements that wait for a connection.",
        )
        pool = database.engine.sync_engine.pool
        if isinstance(pool, QueuePool):
            observe_connections(meter, pool)

    def __enter__(self) -> None:
        self.database.connect = self.connect

    def __exit__(self, *_: object) -> None:
        self.database.connect = self.take

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Take a connection from the pool and return it afterwards."""
        error: BaseException | None = None
        self.pending += 1
        asked = time.perf_counter()
        try:
            connection = self.take()
        except BaseException as failure:
            error = failure
            raise
        finally:
            self.pending -= 1
            taken = time.perf_counter()
            long = taken - asked > SPAN_SECONDS
            self.wait_time.record(taken - asked, None if long else NO_EXEMPLAR)
            if long:
                self.add_span(taken - asked, error)
        try:
            with connection:
                yield connection
        finally:
            self.use_time.record(time.perf_counter() - taken, NO_EXEMPLAR)

    def add_span(self, seconds: float, error: BaseException | None) -> None:
        request = CURRENT.get()
        if request is None:
            return
        now = time.time_ns()
        span = self.tracer.start_span(
            "connection wait",
            kind=SpanKind.INTERNAL,
            attributes={**POOL, **request.run, "clinic.operation": request.operation},
            start_time=now - round(seconds * 1e9),
        )
        if error is not None:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
        span.end(now)


def observe_connections(meter: Meter, pool: QueuePool) -> None:
    """Report used, idle and maximum connections to PostgreSQL."""

    def connections(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(pool.checkedout(), {**POOL, "db.client.connection.state": "used"})
        yield Observation(pool.checkedin(), {**POOL, "db.client.connection.state": "idle"})

    meter.create_observable_up_down_counter(
        "db.client.connection.count", [connections], "{connection}", "Connections by state."
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.max",
        [lambda _: [Observation(pool.size(), POOL)]],
        "{connection}",
        "Connections allowed.",
    )
