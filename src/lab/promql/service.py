"""The clinic itself, whoever calls it: what its own metrics say, over `each`, such as `20s`.

`calls` chooses whose requests count. A counter's first value is counted as what was added since
its start, which `rate` would lose: the first failure of its kind is seen.
"""

from lab.promql.selectors import SERVICE, SPAN_CALLS, SPAN_SECONDS, Side, joined, quoted

OF_THE_CLINIC = f"job={quoted(SERVICE)}"

# Whose requests: both together, those of load runs, those of everyone else.
ANY_CALLS = ""
LOAD_RUNS = 'user_agent_synthetic_type="test"'
ORGANIC = 'user_agent_synthetic_type=""'

SERVER_ERROR = 'http_response_status_code=~"5.."'
UNAVAILABLE = 'http_response_status_code="503"'

ROUTE = "http_request_method, http_route"
STATEMENT = "span_name"
STATUS = "http_response_status_code"

# How far back a counter's last value is looked for, before its next is taken for its first.
KNOWN_FOR = "1h"


# Requests


def requests(window: str, calls: str = ANY_CALLS, by: str = "") -> str:
    """Give the requests a second, of all or by labels."""
    return f"{_count(window, calls, by)} / {window}"


def failed_requests(window: str, calls: str = ANY_CALLS, only: str = SERVER_ERROR) -> str:
    """Give the requests a second that the clinic itself failed; zero where all went well."""
    failed = _count(window, joined(calls, only))
    return f"({failed} or 0 * {_count(window, calls)}) / {window}"


def failed_share(window: str, calls: str = ANY_CALLS, by: str = "") -> str:
    """Give the share of requests that the clinic itself failed, 0 to 1."""
    total = _count(window, calls, by)
    failed = _count(window, joined(calls, SERVER_ERROR), by)
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def quantile(quantile: float, window: str, calls: str = ANY_CALLS, by: str = "") -> str:
    """Give a quantile of the seconds a request took the clinic."""
    return _quantile(quantile, f"sum{_by(by)} ({_added(window, calls)})")


def with_route(expression: str) -> str:
    """Say so where a request's path had no route."""
    return f'label_replace({expression}, "http_route", "(no such path)", "http_route", "")'


def _count(window: str, calls: str, by: str = "") -> str:
    """Count by numbers: Prometheus warns of histograms' differences where one began anew."""
    return f"sum{_by(by)} ({_added(window, calls, 'histogram_count')})"


def _added(window: str, calls: str, run: str = "") -> str:
    """Give what was added to the durations; each process of the clinic has series of its own."""
    seconds = f"http_server_request_duration_seconds{{{joined(OF_THE_CLINIC, calls)}}}"
    now = f"{run}(last_over_time({seconds}[{window}]))"
    return f"{now} - {run}(last_over_time({seconds}[{KNOWN_FOR}] offset {window})) or {now}"


# Statements, from their spans


def statements(window: str, only: str = "") -> str:
    """Give the statements a second that the database was asked."""
    calls = f"{SPAN_CALLS}{{{joined(_of_database(), only)}}}"
    return f"sum by ({STATEMENT}) ({grown(calls, window)}) / {window}"


def failed_statements(window: str) -> str:
    """Give the failed statements a second, of those that ever failed."""
    return statements(window, 'status_code="STATUS_CODE_ERROR"')


def statement_quantile(quantile: float, window: str) -> str:
    """Give a quantile of the seconds a statement took."""
    seconds = f"{{__name__=~{quoted(SPAN_SECONDS)},{_of_database()}}}"
    return _quantile(quantile, f"sum by ({STATEMENT}) (rate({seconds}[{window}]))")


def _of_database() -> str:
    return f"span_kind={quoted(Side.DATABASE)}"


# What requests share


def event_loop_lag(quantile: float, window: str) -> str:
    """Give a quantile of the seconds by which the event loop woke a sleeper too late."""
    lag = f"rate(clinic_event_loop_lag_seconds{{{OF_THE_CLINIC}}}[{window}])"
    return f"histogram_quantile({quantile}, sum({lag}))"


def connections_used(window: str) -> str:
    """Count the pool's connections in use, at the most."""
    used = f'{OF_THE_CLINIC},db_client_connection_state="used"'
    return f"sum(max_over_time(db_client_connection_count{{{used}}}[{window}]))"


def connections_allowed(window: str) -> str:
    """Count the connections that the pool may open."""
    return f"sum(last_over_time(db_client_connection_max{{{OF_THE_CLINIC}}}[{window}]))"


def pool_in_use(window: str) -> str:
    """Give the share of the pool's connections in use, at the most, 0 to 1."""
    return f"{connections_used(window)} / ({connections_allowed(window)} > 0)"


def database_up(window: str) -> str:
    """Give 1 while the database answers every process of the clinic, 0 while it does not."""
    return f"min(last_over_time(clinic_database_up{{{OF_THE_CLINIC}}}[{window}]))"


def processor(window: str, by: str = "") -> str:
    """Give the processor cores in use, of all or by `type`: its own code and the system's."""
    return f"sum{_by(by)} (rate(process_cpu_time_seconds_total{{{OF_THE_CLINIC}}}[{window}]))"


def memory(window: str) -> str:
    """Give the bytes of memory that the clinic's processes hold."""
    return f"sum(last_over_time(process_memory_usage_bytes{{{OF_THE_CLINIC}}}[{window}]))"


def collections(window: str) -> str:
    """Give the garbage collections a second, for each generation."""
    return f"sum by (generation) (rate(cpython_gc_collections_total{{{OF_THE_CLINIC}}}[{window}]))"


# Alerts


def alerts() -> str:
    """List the alerts that fire or are about to, by the time at which each began."""
    active = 'ALERTS{severity!="heartbeat"}'
    since = f"0 * {active} + ignoring (alertstate) group_left () ALERTS_FOR_STATE"
    return f'label_join({since}, "of", " ", "operation", "testid", "instance", "job")'


def firing() -> str:
    """Count the alerts that fire and call somebody; zero is a value."""
    return 'count(ALERTS{alertstate="firing",severity=~"page|ticket"}) or vector(0)'


# Counters


def grown(counter: str, window: str) -> str:
    """Give what each counter grew by, its first value too.

    A counter that was reset just before counts from zero, and one that was reset meanwhile is
    estimated.
    """
    now = f"last_over_time({counter}[{window}])"
    before = f"last_over_time({counter}[{KNOWN_FOR}] offset {window})"
    lowest = f"min_over_time({counter}[{window}])"
    reset = f"resets({counter}[{window}]) > 0"
    return f"(increase({counter}[{window}]) and {reset} or {now} - ({before} <= {lowest}) or {now})"


def _quantile(quantile: float, histogram: str) -> str:
    """Give nothing, rather than "not a number", where there was nothing to measure."""
    return f"histogram_quantile({quantile}, {histogram}) >= 0"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
