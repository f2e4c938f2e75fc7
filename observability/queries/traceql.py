"""A run's traces, in TraceQL."""

from observability.queries.names import quoted

SHOWN = "select(span.clinic.operation, span.http.response.status_code)"


def slow(run: str, over: str, operation: str = "") -> str:
    """Find the requests of a run that took the server as long as `over`, such as `60ms`."""
    of_operation = f" && span.clinic.operation = {quoted(operation)}" if operation else ""
    return f"{{ {_server_span(run)}{of_operation} && duration >= {over} }} | {SHOWN}"


def failed(run: str) -> str:
    """Find the requests of a run that the server answered with 400 or more."""
    return f"{{ {_server_span(run)} && span.http.response.status_code >= 400 }} | {SHOWN}"


def with_prefix(prefix: str) -> str:
    """Find the traces whose id begins so."""
    return f"{{ trace:id =~ {quoted(prefix + '.*')} }}"


def _server_span(run: str) -> str:
    return f"span.k6.test_run_id = {quoted(run)} && kind = server"
