"""Read how a run went over its time: all of it, and each operation."""

import math
from collections.abc import Iterable

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import load_run, service
from lab.promql.selectors import OPERATION, RunSelector, Side
from lab.runs.record import OperationStats, Timeline, TimelinePoint

PUSH_INTERVAL = 5.0
MOST_STEPS = 120
# Of each the course is read; the others are in the table alone.
MOST_OPERATIONS = 40
# A span reaches Prometheus some seconds after its request: in batches, then with the next flush.
SPANS_LATE = 3.0
# A rate of the service's own metrics needs some exports.
SEVERAL_EXPORTS = 15.0

QUANTILE = 0.95
Values = list[float | None]


class Clock:
    """The moments at which the steps of a run end; each is as long as some pushes of k6."""

    def __init__(self, period: Period) -> None:
        pushes = math.ceil(period.seconds / PUSH_INTERVAL / MOST_STEPS)
        self.step = PUSH_INTERVAL * max(1, pushes)
        # A last step of which less than half was run says too little.
        steps = max(1, round(period.seconds / self.step))
        self.at = [self.step * number for number in range(1, steps + 1)]
        self.moments = [period.started + at for at in self.at]
        self.spans_in = [moment + SPANS_LATE for moment in self.moments]
        self.lasts = [self.step] * steps
        self.lasts[-1] = min(self.step, period.ended - self.moments[-1] + self.step)

    @property
    def window(self) -> str:
        return f"{self.step:.0f}s"

    def per_second(self, values: Values) -> Values:
        """Mend the rate of the last step, which the run's end may have cut short."""
        return [
            None if value is None else value * self.step / lasts
            for value, lasts in zip(values, self.lasts, strict=True)
        ]


def read_timeline(prometheus: Prometheus, run: str, period: Period) -> Timeline:
    """Read a run over time, all operations together."""
    clock = Clock(period)
    of = RunSelector(run, period.window, step=clock.window)
    exports = f"{max(clock.step, SEVERAL_EXPORTS):.0f}s"

    def values(query: str, moments: list[float] = clock.moments) -> Values:
        found = prometheus.over_time(query, "", moments)
        return found.get("", [None] * len(moments))

    return Timeline(
        step=clock.step,
        at=clock.at,
        virtual_users=values(load_run.virtual_users(of)),
        rate=clock.per_second(values(load_run.request_rate(of))),
        failed_rate=clock.per_second(values(load_run.failed_rate(of))),
        client_p50=values(load_run.client_quantile(0.5, of)),
        client_p95=values(load_run.client_quantile(QUANTILE, of)),
        server_p95=values(load_run.span_quantile(QUANTILE, Side.SERVER, of), clock.spans_in),
        database_p95=values(load_run.span_quantile(QUANTILE, Side.DATABASE, of), clock.spans_in),
        connections_used=values(service.connections_used(exports)),
        connections_allowed=values(service.connections_allowed(exports)),
        event_loop_lag_p95=values(service.event_loop_lag(QUANTILE, exports)),
    )


def busiest(rows: Iterable[OperationStats]) -> list[OperationStats]:
    """Choose the operations that made the most requests."""
    return sorted(rows, key=lambda row: -row.requests)[:MOST_OPERATIONS]


def read_points(
    prometheus: Prometheus, run: str, period: Period, rows: Iterable[OperationStats]
) -> list[TimelinePoint]:
    """Read over time the operations of a run that made the most requests."""
    followed = busiest(rows)
    if not followed:
        return []
    clock = Clock(period)
    operations = tuple(row.operation for row in followed)
    of = RunSelector(run, period.window, operations=operations, step=clock.window)
    nothing: Values = [None] * len(clock.at)

    def client(query: str) -> dict[str, Values]:
        return prometheus.over_time(query, OPERATION, clock.moments)

    def spans(side: Side) -> dict[str, Values]:
        query = load_run.span_quantile(QUANTILE, side, of, OPERATION)
        return prometheus.over_time(query, OPERATION, clock.spans_in)

    rate = client(load_run.request_rate(of, OPERATION))
    mean = client(load_run.client_mean(of, OPERATION))
    p50 = client(load_run.client_quantile(0.5, of, OPERATION))
    p95 = client(load_run.client_quantile(QUANTILE, of, OPERATION))
    server, database = spans(Side.SERVER), spans(Side.DATABASE)
    columns = (rate, mean, p50, p95, server, database)
    points = []
    for row in followed:
        sides = [column.get(row.operation, nothing) for column in columns]
        for at, *values in zip(clock.at, *sides, strict=True):
            a_rate, a_mean, a_p50, a_p95, a_server, a_database = values
            if a_rate and a_mean is not None and a_p50 is not None and a_p95 is not None:
                points.append(
                    TimelinePoint(
                        operation=row.operation,
                        at=at,
                        requests=round(a_rate * clock.step),
                        mean=a_mean,
                        p50=a_p50,
                        p95=a_p95,
                        server_p95=a_server,
                        database_p95=a_database,
                    )
                )
    return points
