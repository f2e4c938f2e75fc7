"""A run over time: what each span of `each`, such as `10s`, adds to its totals.

A counter's first value is counted as that span's own, which `rate` would lose: with a step as long
as `each`, the spans add up to the total. `Of.window` must reach back to before the run.
"""

from lab.promql.run_totals import CLIENT_SECONDS, DROPPED, ERRORS, FAILED, REQUESTS
from lab.promql.selectors import CLIENT_LABEL, SPAN_LABEL, SPAN_SECONDS, RunSelector, Side, quoted


def virtual_users(run: RunSelector, window: str) -> str:
    """Give the virtual users of all generators."""
    return f"sum(max_over_time(k6_vus{{testid={quoted(run.run_id)}}}[{window}]))"


def request_rate(run: RunSelector, window: str) -> str:
    """Give the requests a second for each operation."""
    return _per_second(_added(run.k6(REQUESTS), run, window, CLIENT_LABEL), window)


def all_request_rate(run: RunSelector, window: str) -> str:
    """Give the requests a second."""
    return _per_second(_added(run.k6(REQUESTS), run, window), window)


def failed_rate(run: RunSelector, window: str) -> str:
    """Give the failed requests a second; zero where requests were made and none failed."""
    none = f"0 * {_added(run.k6(REQUESTS), run, window)}"
    return f"{_per_second(_added(run.k6(REQUESTS, FAILED), run, window), window)} or {none}"


def failed_share(run: RunSelector, window: str) -> str:
    """Give the failed share of requests, 0 to 1; nothing where no request was made."""
    total = _added(run.k6(REQUESTS), run, window)
    failed = _added(run.k6(REQUESTS, FAILED), run, window)
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def dropped_rate(run: RunSelector, window: str) -> str:
    """Give the iterations a second that k6 could not start because no virtual user was free."""
    return _per_second(_added(run.k6(DROPPED), run, window), window)


def error_rate(run: RunSelector, window: str) -> str:
    """Give what k6 judged wrong a second, for each kind of error."""
    return _per_second(_added(run.k6(ERRORS), run, window, "kind"), window)


def client_quantile(quantile: float, run: RunSelector, window: str) -> str:
    """Give a quantile of the seconds a request took k6, for each operation."""
    added = _added(run.k6(CLIENT_SECONDS), run, window, CLIENT_LABEL)
    return _quantile(quantile, added)


def client_mean(run: RunSelector, window: str) -> str:
    """Give the mean seconds of a request for each operation."""
    return f"histogram_avg({_added(run.k6(CLIENT_SECONDS), run, window, CLIENT_LABEL)})"


def all_client_quantile(quantile: float, run: RunSelector, window: str) -> str:
    """Give a quantile of the seconds any request took k6."""
    return _quantile(quantile, _added(run.k6(CLIENT_SECONDS), run, window))


def span_quantile(quantile: float, side: Side, run: RunSelector, window: str) -> str:
    """Give a quantile of the seconds spans took on one side, for each operation."""
    added = _added(run.spans(SPAN_SECONDS, side), run, window, SPAN_LABEL)
    return _quantile(quantile, added)


def all_span_quantile(quantile: float, side: Side, run: RunSelector, window: str) -> str:
    """Give a quantile of the seconds any span took on one side."""
    return _quantile(quantile, _added(run.spans(SPAN_SECONDS, side), run, window))


def mean_outside_server(run: RunSelector, window: str) -> str:
    """Give the mean seconds of a request that the server did not see: network, queues, k6."""
    return _mean_of(f"{_client(run, window)} - {_span(Side.SERVER, run, window)}", run, window)


def mean_in_server(run: RunSelector, window: str) -> str:
    """Give the mean seconds of a request that the server took, its statements left out."""
    spans = f"{_span(Side.SERVER, run, window)} - {_span(Side.DATABASE, run, window)}"
    return _mean_of(spans, run, window)


def mean_in_database(run: RunSelector, window: str) -> str:
    """Give the mean seconds that a request's statements took."""
    return _mean_of(_span(Side.DATABASE, run, window), run, window)


def _mean_of(seconds: str, run: RunSelector, window: str) -> str:
    requests = f"histogram_count({_added(run.k6(CLIENT_SECONDS), run, window)})"
    return f"clamp_min({seconds}, 0) / ({requests} > 0)"


def _client(run: RunSelector, window: str) -> str:
    return f"histogram_sum({_added(run.k6(CLIENT_SECONDS), run, window)})"


def _span(side: Side, run: RunSelector, window: str) -> str:
    return f"histogram_sum({_added(run.spans(SPAN_SECONDS, side), run, window)})"


def _added(selector: str, run: RunSelector, window: str, label: str = "") -> str:
    """Give the total so far less what it was before; all of it where it was nothing before."""
    by = f" by ({label})" if label else ""
    now = f"sum{by} (last_over_time({selector}[{run.window}]))"
    before = f"sum{by} (last_over_time({selector}[{run.window}] offset {window}))"
    return f"({now} - {before} or {now})"


def _quantile(quantile: float, added: str) -> str:
    """Give a quantile where something was added: of nothing it would be no number."""
    return f"histogram_quantile({quantile}, {added}) >= 0"


def _per_second(added: str, window: str) -> str:
    """Divide by the seconds of a span: to PromQL a duration is a number of seconds."""
    return f"{added} / {window}"
