"""Read a run over time: all operations together, and each of the busiest."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import api, load_run
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import OPERATION, RunSelector, Side
from lab.runs.record import OperationStats, Timeline, TimelinePoint

MAX_INTERVALS = 120
# Others have totals only.
MAX_OPERATIONS = 40
# Spans reach Prometheus in batches, some seconds after their requests.
SPAN_DELAY = 3.0
# A rate of the API's own metrics needs several exports.
EXPORTS_SECONDS = 15.0

QUANTILE = 0.95
Values = list[float | None]


@dataclass(frozen=True)
class Intervals:
    """The intervals that a run is divided into; each lasts one or more pushes of k6."""

    step: float
    at: list[float]
    ends: list[float]
    span_ends: list[float]
    last_seconds: float

    @classmethod
    def divide(cls, period: Period) -> "Intervals":
        pushes = math.ceil(period.seconds / PUSH_SECONDS / MAX_INTERVALS)
        step = float(PUSH_SECONDS * max(1, pushes))
        # Less than half an interval at the end has too few requests to stand alone.
        count = max(1, round(period.seconds / step))
        at = [step * number for number in range(1, count + 1)]
        ends = [period.started + seconds for seconds in at]
        return cls(
            step=step,
            at=at,
            ends=ends,
            span_ends=[end + SPAN_DELAY for end in ends],
            last_seconds=min(step, period.ended - ends[-1] + step),
        )

    def correct_last_rate(self, rates: Values) -> Values:
        """Relate the last rate to the seconds that the run lasted in its last interval."""
        last = rates[-1]
        return [*rates[:-1], None if last is None else last * self.step / self.last_seconds]


def read_timeline(prometheus: Prometheus, run_id: str, period: Period) -> Timeline:
    """Read a run over time, all operations together."""
    intervals = Intervals.divide(period)
    run = RunSelector(run_id, period.window, interval=f"{intervals.step:.0f}s")
    exports = f"{max(intervals.step, EXPORTS_SECONDS):.0f}s"

    def values(query: str, ends: list[float] = intervals.ends) -> Values:
        return prometheus.over_time(query, "", ends).get("", [None] * len(ends))

    def span_p95(side: Side) -> Values:
        return values(load_run.span_quantile(QUANTILE, side, run), intervals.span_ends)

    return Timeline(
        step=intervals.step,
        at=intervals.at,
        virtual_users=values(load_run.virtual_users(run)),
        rate=intervals.correct_last_rate(values(load_run.request_rate(run))),
        failed_rate=intervals.correct_last_rate(values(load_run.failed_rate(run))),
        client_p50=values(load_run.client_quantile(0.5, run)),
        client_p95=values(load_run.client_quantile(QUANTILE, run)),
        server_p95=span_p95(Side.SERVER),
        database_p95=span_p95(Side.DATABASE),
        connections_used=values(api.connections_used(exports)),
        connections_allowed=values(api.pool_size(exports)),
        event_loop_lag_p95=values(api.event_loop_delay(QUANTILE, exports)),
    )


def busiest(operations: Iterable[OperationStats]) -> tuple[str, ...]:
    """Name the operations with the most requests."""
    ranked = sorted(operations, key=lambda row: -row.requests)
    return tuple(row.operation for row in ranked[:MAX_OPERATIONS])


def read_points(
    prometheus: Prometheus, run_id: str, period: Period, operations: Iterable[OperationStats]
) -> list[TimelinePoint]:
    """Read the busiest operations of a run over time."""
    names = busiest(operations)
    if not names:
        return []
    intervals = Intervals.divide(period)
    run = RunSelector(run_id, period.window, operations=names, interval=f"{intervals.step:.0f}s")

    def client(query: str) -> dict[str, Values]:
        return prometheus.over_time(query, OPERATION, intervals.ends)

    def span_p95(side: Side) -> dict[str, Values]:
        query = load_run.span_quantile(QUANTILE, side, run, OPERATION)
        return prometheus.over_time(query, OPERATION, intervals.span_ends)

    columns = (
        client(load_run.request_rate(run, OPERATION)),
        client(load_run.client_mean(run, OPERATION)),
        client(load_run.client_quantile(0.5, run, OPERATION)),
        client(load_run.client_quantile(QUANTILE, run, OPERATION)),
        span_p95(Side.SERVER),
        span_p95(Side.DATABASE),
    )
    nothing: Values = [None] * len(intervals.at)
    return [
        TimelinePoint(
            operation=name,
            at=at,
            requests=round(rate * intervals.step),
            mean=mean,
            p50=p50,
            p95=p95,
            server_p95=server_p95,
            database_p95=database_p95,
        )
        for name in names
        for at, rate, mean, p50, p95, server_p95, database_p95 in zip(
            intervals.at, *(column.get(name, nothing) for column in columns), strict=True
        )
        if rate and mean is not None and p50 is not None and p95 is not None
    ]
