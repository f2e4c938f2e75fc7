"""Read what PostgreSQL did during a run."""

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import run_postgresql
from lab.promql.request_time import STATEMENT
from lab.promql.run_postgresql import LOCK_KIND
from lab.promql.selectors import RunSelector
from lab.runs.bottleneck import load_window
from lab.runs.record import PostgreSQL, Statement

MAX_STATEMENTS = 10


def read_postgresql(prometheus: Prometheus, run: RunSelector, period: Period) -> PostgreSQL:
    """Read statements, write-ahead log and waits for locks of the PostgreSQL that a run used."""
    window = load_window(period)

    def number(query: str) -> float | None:
        return prometheus.number(query, period.read_at)

    def by(label: str, query: str) -> dict[str, float]:
        return prometheus.by_label(query, label, period.read_at)

    calls = by(STATEMENT, run_postgresql.statement_calls(run, window))
    seconds = by(STATEMENT, run_postgresql.statement_time(run, window))
    means = by(STATEMENT, run_postgresql.statement_mean(run, window))
    locks = by(STATEMENT, run_postgresql.statement_wait("lock", run, window))
    commits = by(STATEMENT, run_postgresql.statement_wait("commit", run, window))
    longest = sorted(calls, key=lambda name: -seconds.get(name, 0.0))[:MAX_STATEMENTS]
    fsyncs = number(run_postgresql.fsyncs(run, window))
    return PostgreSQL(
        statements=[
            Statement(
                name=name,
                calls=round(calls[name]),
                mean=means.get(name, 0.0),
                lock_wait=locks.get(name),
                commit=commits.get(name),
            )
            for name in longest
        ],
        wal_bytes=number(run_postgresql.wal_bytes(run, window)),
        fsyncs=None if fsyncs is None else round(fsyncs),
        fsync_mean=number(run_postgresql.fsync_mean(run, window)),
        locks=by(LOCK_KIND, run_postgresql.lock_time(run, window)),
    )
