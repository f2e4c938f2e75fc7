"""A run's traces, in TraceQL."""

from lab.promql.selectors import quoted

SHOWN = "select(span.clinic.operation, span.http.response.status_code)"


def slow(run: str, over: str, scenarios: str = "", operation: str = "") -> str:
    """Find the requests of a run that took the server as long as `over`, such as `60ms`."""
    of_operation = f" && span.clinic.operation = {quoted(operation)}" if operation else ""
    return f"{{ {_server_span(run, scenarios)}{of_operation} && duration >= {over} }} | {SHOWN}"


def failed(run: str, scenarios: str = "") -> str:
    """Find the requests of a run that the server answered with 400 or more."""
    status = "span.http.response.status_code >= 400"
    return f"{{ {_server_span(run, scenarios)} && {status} }} | {SHOWN}"


def of_operation(run: str, operation: str) -> str:
    """Find the requests of a run for one operation."""
    return f"{{ {_server_span(run)} && span.clinic.operation = {quoted(operation)} }} | {SHOWN}"


def with_prefix(prefix: str) -> str:
    """Find the traces whose id begins so."""
    return f"{{ trace:id =~ {quoted(prefix + '.*')} }}"


def _server_span(run: str, scenarios: str = "") -> str:
    of_scenarios = f" && span.k6.scenario =~ {quoted(scenarios)}" if scenarios else ""
    return f"span.k6.test_run_id = {quoted(run)} && kind = server{of_scenarios}"
