"""Searches for traces, in TraceQL."""

from lab.promql.selectors import quoted

COLUMNS = "select(span.clinic.operation, span.http.response.status_code)"
FAILED = "(status = error || span.http.response.status_code >= 400)"


def requests(
    run_id: str = "",
    *,
    operation: str = "",
    scenarios: str = "",
    longer_than: str = "",
    condition: str = "",
) -> str:
    """Search for server spans, the newest if there are many; `longer_than` is such as `60ms`."""
    conditions = [
        f"span.k6.test_run_id = {quoted(run_id)}" if run_id else "",
        "kind = server",
        f"span.k6.scenario =~ {quoted(scenarios)}" if scenarios else "",
        f"span.clinic.operation = {quoted(operation)}" if operation else "",
        f"duration >= {longer_than}" if longer_than else "",
        condition,
    ]
    return f"{{ {' && '.join(filter(None, conditions))} }} | {COLUMNS} with (most_recent=true)"


def statements(name: str) -> str:
    """Search for the spans of a statement in the database."""
    return f"{{ kind = client && name = {quoted(name)} }}"


def traces(prefix: str) -> str:
    """Search for the traces whose id starts with a prefix."""
    return f"{{ trace:id =~ {quoted(prefix + '.*')} }}"
