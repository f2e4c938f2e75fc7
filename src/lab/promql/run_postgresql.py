"""What PostgreSQL did during a run: its statements, its write-ahead log, waits for locks.

It counts for every caller of the API's database, so there is a value only for a run whose requests
the stack's API has served. `window` is the time of the load, or an interval.
"""

from lab.promql import request_time
from lab.promql.postgresql import SAMPLER
from lab.promql.request_time import CALLS, EXECUTION_TIME, STATEMENT, Window
from lab.promql.resources import served
from lab.promql.selectors import RunSelector

LOCK_KIND = "lock"


def statement_calls(run: RunSelector, window: Window) -> str:
    """Number of executions, by statement: its verb and its table."""
    return served(f"({window.total(CALLS, STATEMENT)} > 0)", run)


def statement_mean(run: RunSelector, window: Window) -> str:
    """Mean seconds of an execution as PostgreSQL counts them, row locks included, by statement."""
    return served(request_time.execution_mean(window, STATEMENT), run)


def statement_wait(wait: str, run: RunSelector, window: Window) -> str:
    """Mean seconds of an execution in which its backend was seen to wait, by statement.

    `wait` is `lock` or `commit`.
    """
    return served(request_time.backend_mean(wait, window, STATEMENT), run)


def statement_time(run: RunSelector, window: Window) -> str:
    """Seconds that all executions took, their commits included, by statement."""
    commit = request_time.statement_time("commit", window)
    return served(f"({window.total(EXECUTION_TIME, STATEMENT)} + {commit})", run)


def wal_bytes(run: RunSelector, window: Window) -> str:
    """Bytes of the write-ahead log."""
    return served(window.total(f"postgresql_wal_bytes_total{{{SAMPLER}}}"), run)


def fsyncs(run: RunSelector, window: Window) -> str:
    """Number of flushes of the write-ahead log."""
    return served(window.total(f"postgresql_wal_fsyncs_total{{{SAMPLER}}}"), run)


def fsync_mean(run: RunSelector, window: Window) -> str:
    """Seconds that a flush of the write-ahead log took the disk."""
    return served(request_time.fsync_mean(window), run)


def lock_time(run: RunSelector, window: Window) -> str:
    """Seconds that backends were seen to wait for a lock, by its kind; those that occurred."""
    return served(f"({request_time.lock_time(window)} > 0)", run)
