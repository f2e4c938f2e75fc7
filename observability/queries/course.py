"""A run over time: what each span of `each`, such as `10s`, adds to its totals.

A counter's first value is counted as that span's own, which `rate` would lose: with a step as long
as `each`, the spans add up to the total. `Of.window` must reach back to before the run.
"""

from observability.queries.names import (
    CLIENT_LABEL,
    SPAN_LABEL,
    SPAN_SECONDS,
    Of,
    Side,
    quoted,
)
from observability.queries.totals import CLIENT_SECONDS, DROPPED, ERRORS, FAILED, REQUESTS


def virtual_users(of: Of, each: str) -> str:
    """Give the virtual users of all generators."""
    return f"sum(max_over_time(k6_vus{{testid={quoted(of.run)}}}[{each}]))"


def request_rate(of: Of, each: str) -> str:
    """Give the requests a second for each operation."""
    return _per_second(_added(of.k6(REQUESTS), of, each, CLIENT_LABEL), each)


def all_request_rate(of: Of, each: str) -> str:
    """Give the requests a second."""
    return _per_second(_added(of.k6(REQUESTS), of, each), each)


def failed_rate(of: Of, each: str) -> str:
    """Give the failed requests a second; zero where requests were made and none failed."""
    none = f"0 * {_added(of.k6(REQUESTS), of, each)}"
    return f"{_per_second(_added(of.k6(REQUESTS, FAILED), of, each), each)} or {none}"


def failed_share(of: Of, each: str) -> str:
    """Give the failed share of requests, 0 to 1; nothing where no request was made."""
    total = _added(of.k6(REQUESTS), of, each)
    failed = _added(of.k6(REQUESTS, FAILED), of, each)
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def dropped_rate(of: Of, each: str) -> str:
    """Give the iterations a second that k6 could not start because no virtual user was free."""
    return _per_second(_added(of.k6(DROPPED), of, each), each)


def error_rate(of: Of, each: str) -> str:
    """Give what k6 judged wrong a second, for each kind of error."""
    return _per_second(_added(of.k6(ERRORS), of, each, "kind"), each)


def client_quantile(quantile: float, of: Of, each: str) -> str:
    """Give a quantile of the seconds a request took k6, for each operation."""
    added = _added(of.k6(CLIENT_SECONDS), of, each, CLIENT_LABEL)
    return _quantile(quantile, added)


def client_mean(of: Of, each: str) -> str:
    """Give the mean seconds of a request for each operation."""
    return f"histogram_avg({_added(of.k6(CLIENT_SECONDS), of, each, CLIENT_LABEL)})"


def all_client_quantile(quantile: float, of: Of, each: str) -> str:
    """Give a quantile of the seconds any request took k6."""
    return _quantile(quantile, _added(of.k6(CLIENT_SECONDS), of, each))


def span_quantile(quantile: float, side: Side, of: Of, each: str) -> str:
    """Give a quantile of the seconds spans took on one side, for each operation."""
    added = _added(of.spans(SPAN_SECONDS, side), of, each, SPAN_LABEL)
    return _quantile(quantile, added)


def all_span_quantile(quantile: float, side: Side, of: Of, each: str) -> str:
    """Give a quantile of the seconds any span took on one side."""
    return _quantile(quantile, _added(of.spans(SPAN_SECONDS, side), of, each))


def mean_outside_server(of: Of, each: str) -> str:
    """Give the mean seconds of a request that the server did not see: network, queues, k6."""
    return _mean_of(f"{_client(of, each)} - {_span(Side.SERVER, of, each)}", of, each)


def mean_in_server(of: Of, each: str) -> str:
    """Give the mean seconds of a request that the server took, its statements left out."""
    spans = f"{_span(Side.SERVER, of, each)} - {_span(Side.DATABASE, of, each)}"
    return _mean_of(spans, of, each)


def mean_in_database(of: Of, each: str) -> str:
    """Give the mean seconds that a request's statements took."""
    return _mean_of(_span(Side.DATABASE, of, each), of, each)


def _mean_of(seconds: str, of: Of, each: str) -> str:
    requests = f"histogram_count({_added(of.k6(CLIENT_SECONDS), of, each)})"
    return f"clamp_min({seconds}, 0) / ({requests} > 0)"


def _client(of: Of, each: str) -> str:
    return f"histogram_sum({_added(of.k6(CLIENT_SECONDS), of, each)})"


def _span(side: Side, of: Of, each: str) -> str:
    return f"histogram_sum({_added(of.spans(SPAN_SECONDS, side), of, each)})"


def _added(selector: str, of: Of, each: str, label: str = "") -> str:
    """Give the total so far less what it was before; all of it where it was nothing before."""
    by = f" by ({label})" if label else ""
    now = f"sum{by} (last_over_time({selector}[{of.window}]))"
    before = f"sum{by} (last_over_time({selector}[{of.window}] offset {each}))"
    return f"({now} - {before} or {now})"


def _quantile(quantile: float, added: str) -> str:
    """Give a quantile where something was added: of nothing it would be no number."""
    return f"histogram_quantile({quantile}, {added}) >= 0"


def _per_second(added: str, each: str) -> str:
    """Divide by the seconds of a span: to PromQL a duration is a number of seconds."""
    return f"{added} / {each}"
