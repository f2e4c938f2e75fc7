"""Read a run over time: all operations together, and each of the busiest."""

from collections.abc import Iterable
from dataclasses import dataclass

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import load_run, request_time
from lab.promql.request_time import EXPORT_SECONDS, Window
from lab.promql.run_list import timeline_step
from lab.promql.selectors import OPERATION, Interval, RunSelector, Side
from lab.runs.record import OperationStats, Timeline, TimelinePoint

# Others have totals only.
MAX_OPERATIONS = 40
QUANTILE = 0.95
Values = list[float | None]


@dataclass(frozen=True)
class Intervals:
    """The intervals that a run is divided into; each lasts one or more pushes of k6."""

    step: float
    at: list[float]
    ends: list[float]

    @classmethod
    def divide(cls, period: Period) -> "Intervals":
        step = float(timeline_step(period.seconds))
        # Less than half an interval at the end has too few requests to stand alone.
        count = max(1, round(period.seconds / step))
        at = [step * number for number in range(1, count + 1)]
        return cls(step, at, [period.started + seconds for seconds in at])

    def select(self, run_id: str, period: Period, operations: tuple[str, ...] = ()) -> RunSelector:
        """Select what a run did in the interval that ends at the time of evaluation."""
        interval = Interval.of(self.step)
        return RunSelector(run_id, period.window, operations=operations, interval=interval)

    def window(self, period: Period) -> Window:
        """Select what processes reported of such an interval.

        The API reports in the middle of each interval of the clock: of these, the one that the
        run's interval ends in holds the report that covers most of it.
        """
        later = EXPORT_SECONDS - period.started % EXPORT_SECONDS
        interval = Interval.of(self.step, later)
        wider = Interval.of(self.step + EXPORT_SECONDS, later)
        return Window.of(interval, wider, f"{period.read_at:.3f}")


def read_timeline(prometheus: Prometheus, run_id: str, period: Period) -> Timeline:
    """Read a run over time, all operations together."""
    intervals = Intervals.divide(period)
    run = intervals.select(run_id, period)
    window = intervals.window(period)

    def values(query: str) -> Values:
        found = prometheus.over_time(load_run.within_run(query, run), "", intervals.ends)
        return found.get("", [None] * len(intervals.ends))

    p50, p90, p95, p99 = (
        values(load_run.client_quantile(quantile, run)) for quantile in (0.5, 0.9, QUANTILE, 0.99)
    )
    return Timeline(
        step=intervals.step,
        at=intervals.at,
        virtual_users=values(load_run.virtual_users(run)),
        rate=values(load_run.request_rate(run)),
        failed_rate=values(load_run.failed_rate(run)),
        client_p50=p50,
        client_p90=p90,
        client_p95=p95,
        client_p99=p99,
        server_p95=values(load_run.side_quantile(QUANTILE, Side.SERVER, run)),
        database_p95=values(load_run.side_quantile(QUANTILE, Side.DATABASE, run)),
        connections_used=values(request_time.connections_used(window)),
        connections_allowed=values(request_time.connections_allowed(window)),
        event_loop_lag_p95=values(request_time.event_loop_lag(QUANTILE, window)),
        event_loop_busy=values(request_time.event_loop_busy(window)),
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
    run = intervals.select(run_id, period, names)

    def values(query: str) -> dict[str, Values]:
        return prometheus.over_time(load_run.within_run(query, run), OPERATION, intervals.ends)

    columns = (
        values(load_run.requests(run, OPERATION)),
        values(load_run.client_mean(run, OPERATION)),
        values(load_run.client_quantile(0.5, run, OPERATION)),
        values(load_run.client_quantile(QUANTILE, run, OPERATION)),
        values(load_run.side_quantile(QUANTILE, Side.SERVER, run, OPERATION)),
        values(load_run.side_quantile(QUANTILE, Side.DATABASE, run, OPERATION)),
    )
    nothing: Values = [None] * len(intervals.at)
    return [
        TimelinePoint(
            operation=name,
            at=at,
            requests=round(requests),
            mean=mean,
            p50=p50,
            p95=p95,
            server_p95=server_p95,
            database_p95=database_p95,
        )
        for name in names
        for at, requests, mean, p50, p95, server_p95, database_p95 in zip(
            intervals.at, *(column.get(name, nothing) for column in columns), strict=True
        )
        if requests and mean is not None and p50 is not None and p95 is not None
    ]
