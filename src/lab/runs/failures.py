"""Read what failed in a run."""

from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import errors
from lab.promql.selectors import OPERATION, RunSelector
from lab.runs.record import DatabaseError, ErrorCount


def read_errors(prometheus: Prometheus, run: RunSelector, period: Period) -> list[ErrorCount]:
    """Read the failed checks by what the response said, the most frequent first."""
    found = [
        ErrorCount(
            operation=labels.get("operation", ""),
            kind=labels.get("kind", ""),
            count=round(count),
            status=_number(labels.get("status")),
            title=labels.get("title", ""),
            error_code=_number(labels.get("error_code")),
        )
        for labels, count in prometheus.series(errors.errors(run), period.read_at)
    ]
    return sorted(found, key=lambda error: (-error.count, error.operation, error.kind))


def read_database_errors(
    prometheus: Prometheus, run: RunSelector, period: Period
) -> list[DatabaseError]:
    """Read the statements that PostgreSQL refused, the most frequent first."""
    found = [
        DatabaseError(labels.get(OPERATION, ""), labels.get(errors.SQLSTATE, ""), round(count))
        for labels, count in prometheus.series(errors.database_errors(run), period.read_at)
    ]
    return sorted(found, key=lambda error: (-error.count, error.operation, error.sqlstate))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
