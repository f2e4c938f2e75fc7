"""Read where the time of a run's requests went, and what limited the run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import bottleneck, load_run, request_time, resources
from lab.promql.bottleneck import CAUSE
from lab.promql.request_time import PART, STATE, STATEMENT, Window
from lab.promql.resources import Resource
from lab.promql.run_list import LAST_EXPORT
from lab.promql.selectors import RunSelector
from lab.runs.record import Bottleneck, CauseName, OperationStats, PartName, Timeline
from lab.runs.timeline import Intervals

# The part of the time in which a cause shows.
CAUSE_PARTS: dict[CauseName, tuple[PartName, ...]] = {
    "generator_starved": ("generator",),
    "generator_too_small": (),
    "machine": ("generator", "network", "api_event_loop", "postgresql_executing"),
    "network": ("network",),
    "api_cpu": ("api_working", "api_event_loop", "api_pool"),
    "api_blocked": ("api_event_loop", "api_pool"),
    "api_halted": ("api_event_loop", "api_pool"),
    "pool": ("api_pool",),
    "postgresql_execution": ("postgresql_executing", "api_pool"),
    "postgresql_locks": ("postgresql_locks", "api_pool"),
    "postgresql_commit": ("postgresql_commit", "api_pool"),
}
# An operation belongs to a cause that costs it at least this share of what it costs the operation
# that it costs most; a cause begins where it takes this share of its mean over the run.
HALF = 0.5
# A run without a cause is inconclusive if this share of its time is unknown.
MAX_UNKNOWN = 0.3

Evidence = dict[str, float | str | None]


def load_window(period: Period) -> Window:
    """Return the time in which a run's metrics of processes count, its last exports included."""
    end = period.ended + (LAST_EXPORT if period.ends_with_run else 0)
    return Window(f"{1000 * (end - period.started):.0f}ms", f"{period.started:.3f}", f"{end:.3f}")


def add_parts(
    prometheus: Prometheus,
    run: RunSelector,
    period: Period,
    stats: list[OperationStats],
    by: str = "",
) -> list[OperationStats]:
    """Add where the time went to the stats of each operation, or to those of all together."""

    def values(query: str) -> dict[str, float]:
        return prometheus.by_label(query, by, period.read_at)

    window = load_window(period)
    means = values(load_run.client_mean(run, by))
    execution = values(request_time.execution(run, window, by))
    seconds: dict[str, dict[PartName, float]] = {}
    query = request_time.union(request_time.parts(run, window, by))
    for labels, value in prometheus.series(query, period.read_at):
        part = msgspec.convert(labels[PART], PartName)
        seconds.setdefault(labels.get(by, ""), {})[part] = value

    def with_parts(row: OperationStats) -> OperationStats:
        name = row.operation if by else ""
        parts = seconds.get(name, {})
        return replace(
            row,
            client_mean=means.get(name),
            postgresql_execution=execution.get(name),
            postgresql_lock_wait=parts.get("postgresql_locks"),
            postgresql_commit=parts.get("postgresql_commit"),
            time_shares=_shares(parts),
        )

    return [with_parts(row) for row in stats]


def _shares(seconds: dict[PartName, float]) -> dict[PartName, float]:
    total = sum(seconds.values())
    return {part: value / total for part, value in seconds.items()} if total else {}


def add_parts_over_time(
    prometheus: Prometheus, run_id: str, period: Period, timeline: Timeline
) -> Timeline:
    """Add where the time went to the timeline."""
    intervals = Intervals.divide(period)
    run, window = intervals.select(run_id, period), intervals.window(period)
    query = request_time.union(request_time.parts_over_time(run, window))
    parts = prometheus.over_time(query, PART, intervals.ends)
    return replace(timeline, parts=msgspec.convert(parts, dict[PartName, list[float | None]]))


def read_bottlenecks(
    prometheus: Prometheus,
    run: RunSelector,
    period: Period,
    stats: tuple[OperationStats, list[OperationStats]],
    timeline: Timeline,
) -> list[Bottleneck]:
    """Read what limited a run, the bottleneck first; `none` or `unknown` if nothing did.

    `stats` are those of all requests and of each operation.
    """
    total, operations = stats
    window = load_window(period)
    evidence = EvidenceReader(prometheus, run, window, period.read_at, total, timeline)
    shares = prometheus.by_label(bottleneck.causes(run, window), CAUSE, period.read_at)
    found = [
        Bottleneck(
            cause=(cause := msgspec.convert(name, CauseName)),
            share=shares[name],
            since=_since(cause, timeline),
            evidence=evidence.read(cause),
            operations=_operations(cause, operations),
        )
        for name in bottleneck.rank(shares)
    ]
    if found:
        return found
    unknown = total.time_shares.get("unknown", 1.0)
    if unknown > MAX_UNKNOWN:
        return [Bottleneck(cause="unknown", share=unknown)]
    return [Bottleneck(cause="none")]


def part_seconds(stats: OperationStats, parts: Iterable[PartName]) -> float:
    """Return the seconds of the mean request in these parts."""
    return (stats.client_mean or 0.0) * sum(stats.time_shares.get(part, 0.0) for part in parts)


def _operations(cause: CauseName, operations: Iterable[OperationStats]) -> list[str]:
    parts = CAUSE_PARTS[cause]
    costs = {stats.operation: part_seconds(stats, parts) for stats in operations}
    most = max(costs.values(), default=0.0)
    return [
        name
        for name, cost in sorted(costs.items(), key=lambda item: -item[1])
        if cost and cost >= HALF * most
    ]


def _since(cause: CauseName, timeline: Timeline) -> float | None:
    """Return when a cause began to take at least half of its mean."""
    columns = [timeline.parts.get(part, []) for part in CAUSE_PARTS[cause]]
    values = [sum(value or 0.0 for value in point) for point in zip(*columns, strict=False)]
    if not any(values):
        return None
    mean = sum(values) / len(values)
    first = next(i for i, value in enumerate(values) if value >= HALF * mean)
    return timeline.at[first] - timeline.step


@dataclass(frozen=True)
class EvidenceReader:
    """Reads the numbers that show a cause; those that are not known are left out."""

    prometheus: Prometheus
    run: RunSelector
    window: Window
    read_at: float
    total: OperationStats
    timeline: Timeline

    def read(self, cause: CauseName) -> dict[str, float | str]:
        readers: dict[CauseName, Callable[[], Evidence]] = {
            "generator_starved": self._generator_starved,
            "generator_too_small": self._generator_too_small,
            "machine": self._machine,
            "network": lambda: {"network_mean": part_seconds(self.total, ["network"])},
            "api_cpu": lambda: self._event_loop("working", "event_loop_cpu_cores"),
            "api_blocked": lambda: self._event_loop("stalled", "event_loop_stalled_share"),
            "api_halted": lambda: self._event_loop("halted", "event_loop_halted_share"),
            "pool": self._pool,
            "postgresql_execution": lambda: self._statement("executing", "execution_mean"),
            "postgresql_locks": self._locks,
            "postgresql_commit": self._commit,
        }
        return {name: value for name, value in readers[cause]().items() if value is not None}

    def _generator_starved(self) -> Evidence:
        return {
            "pause_lateness_mean": self._number(f"vector({request_time.lateness(self.run)})"),
            "pause_lateness_p95": self._number(request_time.lateness_quantile(0.95, self.run)),
            "generator_cpu_cores": self._number(resources.cpu(Resource.K6, self.run, self.window)),
            "generator_run_queue": self._number(bottleneck.k6_run_queue(self.run)),
        }

    def _generator_too_small(self) -> Evidence:
        return {
            "dropped_share": self._number(bottleneck.dropped_share(self.run)),
            "virtual_users": self._most_users(),
        }

    def _machine(self) -> Evidence:
        return {
            "other_cpu_share": self._number(bottleneck.other_cpu_share(self.run)),
            "event_loop_run_queue_share": self._loop_share("run_queue"),
            "cpu_pressure": self._number(bottleneck.cpu_pressure(self.run, self.window)),
            "cpu_steal": self._number(bottleneck.cpu_steal(self.window)),
        }

    def _event_loop(self, state: str, name: str) -> Evidence:
        delay = f"vector({request_time.loop_delay(self.run, self.window)})"
        return {
            name: self._loop_share(state),
            "event_loop_delay_mean": self._number(delay),
            "virtual_users": self._most_users(),
        }

    def _pool(self) -> Evidence:
        return {
            "pool_wait_mean": part_seconds(self.total, ["api_pool"]),
            "pool_size": self._number(bottleneck.pool_size(self.window)),
            **self._statement("executing", "execution_mean"),
        }

    def _locks(self) -> Evidence:
        lock = self._largest(request_time.lock_time(self.window), "lock")
        return {**self._statement("lock", "lock_wait_mean"), "lock": lock}

    def _commit(self) -> Evidence:
        fsync = self._number(request_time.fsync_mean(self.window))
        return {**self._statement("commit", "commit_mean"), "wal_fsync_mean": fsync}

    def _loop_share(self, state: str) -> float | None:
        """Return the share of the time that the event loop's thread spent in a state."""
        query = request_time.event_loop_time(self.run, self.window)
        return self.prometheus.by_label(query, STATE, self.read_at).get(state)

    def _number(self, query: str) -> float | None:
        return self.prometheus.number(query, self.read_at)

    def _most_users(self) -> float:
        return max((users or 0 for users in self.timeline.virtual_users), default=0)

    def _largest(self, query: str, label: str) -> str | None:
        values = self.prometheus.by_label(query, label, self.read_at)
        return max(values, key=lambda name: values[name], default=None)

    def _statement(self, wait: str, name: str) -> Evidence:
        """Name the statement that spent most time in a state, and its mean."""
        statement = self._largest(request_time.statement_time(wait, self.window), STATEMENT)
        means = self.prometheus.by_label(
            request_time.backend_mean(wait, self.window, STATEMENT), STATEMENT, self.read_at
        )
        return {"statement": statement, name: means.get(statement or "")}
