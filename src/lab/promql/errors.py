"""What failed in a run: checks of k6 by what the response said, statements by SQLSTATE."""

from lab.promql import load_run
from lab.promql.selectors import OPERATION, SPAN_CALLS, SPAN_LABEL, RunSelector, Side

# The last three are absent where the response did not have them.
KINDS = "operation, kind, status, title, error_code"
SQLSTATE = "db_response_status_code"


def errors(run: RunSelector, by: str = KINDS) -> str:
    """Number of failed checks, by what is known of the response."""
    return load_run.errors(run, by)


def database_errors(run: RunSelector, by: str = f"{OPERATION}, {SQLSTATE}") -> str:
    """Number of statements that PostgreSQL refused, by operation and SQLSTATE."""
    refused = run.spans(SPAN_CALLS, Side.DATABASE, f'{SQLSTATE}!=""')
    return load_run.sum_counters(run, refused, by, SPAN_LABEL)
