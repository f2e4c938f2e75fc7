"""PostgreSQL's own measurements, whoever runs the statements, per window.

postgres-sampler counts for the API's statements, postgres_exporter for the whole database.
"""

from lab.promql.api import total_increase
from lab.promql.selectors import joined, quoted

SAMPLER = f"job={quoted('postgres-sampler')}"
# A statement without a table is the API's check of the connection.
WITH_TABLE = 'statement=~".+ .+"'
CLINIC_DATABASE = f"job={quoted('postgres')},datname={quoted('clinic')}"


def active_backends(window: str) -> str:
    """Average number of the API's backends that were active, by what they waited for."""
    return f"{_sampled('backend_seconds', window, 'wait')} / {window}"


def mean_execution(window: str) -> str:
    """Mean seconds that executions took, by statement; without commits and locks of tables."""
    seconds, calls = (
        _sampled(f"statement_{name}", window, "statement", WITH_TABLE)
        for name in ("seconds", "calls")
    )
    return f"{seconds} / ({calls} > 0)"


def mean_wal_flush(window: str) -> str:
    """Mean seconds that a flush of the write-ahead log took."""
    return f"{_sampled('wal_fsync_seconds', window)} / ({_sampled('wal_fsyncs', window)} > 0)"


def wal_flush_rate(window: str) -> str:
    """Flushes of the write-ahead log per second."""
    return f"{_sampled('wal_fsyncs', window)} / {window}"


def transaction_rate(window: str, end: str = "commit") -> str:
    """Transactions per second that ended with `commit` or `rollback`."""
    return f"{_database(f'xact_{end}', window)} / {window}"


def deadlock_rate(window: str) -> str:
    """Deadlocks per second."""
    return f"{_database('deadlocks', window)} / {window}"


def cache_hit_share(window: str) -> str:
    """Share of the blocks that PostgreSQL found in its shared buffers, 0 to 1."""
    hit = _database("blks_hit", window)
    return f"{hit} / ({hit} + {_database('blks_read', window)} > 0)"


def connections(window: str) -> str:
    """Connections by state: the most that a scrape saw within the window."""
    counts = f"pg_stat_activity_count{{{CLINIC_DATABASE}}}"
    # The exporter has zeros for every state there is.
    return f"sum by (state) (max_over_time({counts}[{window}])) > 0"


def _sampled(name: str, window: str, by: str = "", matchers: str = "") -> str:
    counter = f"postgresql_{name}_total{{{joined(SAMPLER, matchers)}}}"
    return total_increase(counter, window, by)


def _database(name: str, window: str) -> str:
    return total_increase(f"pg_stat_database_{name}{{{CLINIC_DATABASE}}}", window)
