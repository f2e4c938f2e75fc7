"""Say what failed in a run, and why."""

from lab.console import clock, percent
from lab.findings.names import K6_ERRORS, SQLSTATES
from lab.runs.record import ErrorCount, Record

RAISED = "P0001"


def sentence(record: Record) -> str:
    """Say how many requests failed, of which operation most often, and with what."""
    failed = round(record.total.failed_share * record.total.requests)
    if not failed:
        return "No requests failed."
    worst = max(record.operations, key=lambda stats: stats.failed_share * stats.requests)
    text = (
        f"{failed:,} of {record.total.requests:,} requests failed{_when(record)}, most often "
        f"{worst.operation} ({percent(worst.failed_share, 1)} of its requests)"
    )
    if reason := _reason_of(record, worst.operation):
        text += f": {reason}"
    elif record.failed_statuses:
        text += f". Failed with status {', '.join(map(str, record.failed_statuses))}"
    if unanswered := record.completeness.unanswered:
        text += f". {unanswered:,} {'request' if unanswered == 1 else 'requests'} got no response"
    return f"{text}."


def _when(record: Record) -> str:
    """Say from when to when requests failed, by the intervals of the timeline."""
    rates, at = record.timeline.failed_rate, record.timeline.at
    moments = [moment for moment, rate in zip(at, rates, strict=False) if rate]
    if not moments:
        return ""
    if moments[0] == at[0] and moments[-1] == at[-1]:
        return " throughout the run"
    start = clock(max(0.0, moments[0] - record.timeline.step))
    return f" between {start} and {clock(moments[-1])}"


def reason(error: ErrorCount) -> str:
    """Say what a response said: its status and title, or why there was none."""
    code = error.error_code
    known = K6_ERRORS.get(code, f"k6 error {code}") if code else ""
    if error.kind in {"timeout", "no response"}:
        return f"{error.kind} ({known})" if known and error.kind != "timeout" else error.kind
    if error.kind == "script":
        return "an exception in the script"
    status = "" if error.status is None else f"status {error.status}"
    body = "an unexpected body" if error.kind == "body" else ""
    return ", ".join(filter(None, (status, error.title, body, known)))


def sqlstate(code: str) -> str:
    """Write an SQLSTATE, with its name where it is a known one."""
    return f"SQLSTATE {code} ({SQLSTATES[code]})" if code in SQLSTATES else f"SQLSTATE {code}"


def _reason_of(record: Record, operation: str) -> str:
    """Say why an operation failed most often, if that is known."""
    errors = [error for error in record.errors if error.operation == operation]
    if not errors:
        return ""
    worst = max(errors, key=lambda error: error.count)
    refused = [error for error in record.database_errors if error.operation == operation]
    states = [sqlstate(error.sqlstate) for error in refused[:1] if worst.status]
    if states and refused[0].sqlstate == RAISED:
        states.append("raised by a trigger or function of the database")
    # Of a run of an earlier version only the kind is known, which says nothing beyond failing.
    known = worst.status is not None or worst.kind != "status"
    return ", ".join([reason(worst), *states]) if known else ""
