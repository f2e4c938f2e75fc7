"""What failed in a run: checks of k6 by what the response said, statements by SQLSTATE."""

from lab.promql import load_run
from lab.promql.needs import or_none
from lab.promql.selectors import OPERATION, SPAN_CALLS, SPAN_LABEL, RunSelector, Side

# The last three are absent where the response did not have them.
KINDS = "operation, kind, status, title, error_code"
SQLSTATE = "db_response_status_code"


def errors(run: RunSelector, by: str = KINDS) -> str:
    """Number of failed checks, by what is known of the response."""
    return load_run.errors(run, by)


def errors_or_none(run: RunSelector) -> str:
    """As `errors`; a row that says so, if the run reported none."""
    return or_none(errors(run), load_run.started(run), OPERATION, "No errors in this run")


def database_errors(run: RunSelector, by: str = f"{OPERATION}, {SQLSTATE}") -> str:
    """Number of statements that PostgreSQL refused, by operation and SQLSTATE."""
    refused = run.spans(SPAN_CALLS, Side.DATABASE, f'{SQLSTATE}!=""')
    return load_run.sum_counters(run, refused, by, SPAN_LABEL)


def database_errors_or_none(run: RunSelector) -> str:
    """As `database_errors`; a row that says so, if there are spans of statements."""
    evidence = load_run.spans(Side.DATABASE, run)
    return or_none(database_errors(run), evidence, OPERATION, "No statement was refused")
