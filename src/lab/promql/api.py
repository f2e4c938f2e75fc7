"""The API, whoever calls it: requests, statements and the process, per window.

`calls` selects whose requests count. What a series counted between its last sample before the
window and its first within it belongs to the window, which `rate` would lose. Prometheus stores a
zero at the start of each series of the API, so that the first failure of its kind counts.
"""

from lab.promql.selectors import (
    OPERATION,
    SERVICE,
    SPAN_CALLS,
    SPAN_LABEL,
    SPAN_SECONDS,
    Side,
    aggregate,
    histogram_quantile,
    joined,
    quoted,
)

# Prometheus writes service.namespace, which users may set, before the name.
CLINIC = f"job=~{quoted(f'(.+/)?{SERVICE}')}"
# Each process of the API is an instance. The worst shows how near a process is to a limit.
INSTANCE = "instance"

DATABASE_UP = f"clinic_database_up{{{CLINIC}}}"

# Whose requests: everyone's, those of load runs, those of everyone else.
ALL_CALLS = ""
LOAD_RUNS = 'user_agent_synthetic_type="test"'
ORGANIC = 'user_agent_synthetic_type=""'

REQUEST_SECONDS = "http_server_request_duration_seconds"
SERVER_ERROR = 'http_response_status_code=~"5.."'
UNAVAILABLE = 'http_response_status_code="503"'

ROUTE = "http_request_method, http_route"
STATEMENT = "span_name"
STATUS = "http_response_status_code"

# A previous value that is older than this was followed by a gap, whose events are not the window's.
PREVIOUS = "1m"
# How far back to look for a counter before a gap; without one, its next value counts as its first.
LOOK_BACK = "6h"


# Requests


def request_rate(window: str, calls: str = ALL_CALLS, by: str = "") -> str:
    """Requests per second."""
    return f"{_requests(window, calls, by)} / {window}"


def failed_rate(window: str, calls: str = ALL_CALLS, matchers: str = SERVER_ERROR) -> str:
    """Requests per second that the clinic itself failed; zero where none failed."""
    failed = _requests(window, joined(calls, matchers))
    return f"({failed} or 0 * {_requests(window, calls)}) / {window}"


def failed_share(window: str, calls: str = ALL_CALLS, by: str = "") -> str:
    """Share of requests that the clinic itself failed, 0 to 1."""
    total = _requests(window, calls, by)
    failed = _requests(window, joined(calls, SERVER_ERROR), by)
    return f"({failed} or 0 * {total}) / ({total} > 0)"


def duration_quantile(quantile: float, window: str, calls: str = ALL_CALLS, by: str = "") -> str:
    """Quantile of the seconds that requests took the clinic."""
    return histogram_quantile(quantile, aggregate("sum", _new_durations(window, calls), by))


def label_unknown_route(expression: str) -> str:
    """Label requests whose path has no route as `(no such path)`."""
    return f'label_replace({expression}, "http_route", "(no such path)", "http_route", "")'


def _requests(window: str, calls: str, by: str = "") -> str:
    """Number of requests; a difference of counts, as one of histograms warns after a restart."""
    return aggregate("sum", _new_durations(window, calls, "histogram_count"), by)


def _new_durations(window: str, calls: str, function: str = "") -> str:
    """Durations recorded within the window; each process of the clinic has its own series."""
    series = f"{REQUEST_SECONDS}{{{joined(CLINIC, calls)}}}"
    now = f"{function}(last_over_time({series}[{window}]))"
    previous = f"{function}(last_over_time({series}[{PREVIOUS}] offset {window}))"
    return f"{now} - {previous} or {function}(increase({series}[{window}]))"


# Statements, from their spans


def statement_rate(window: str, matchers: str = "") -> str:
    """Statements per second, by statement."""
    calls = f"{SPAN_CALLS}{{{joined(_DATABASE, matchers)}}}"
    return f"sum by ({STATEMENT}) ({increase(calls, window)}) / {window}"


def failed_statement_rate(window: str) -> str:
    """Failed statements per second, by statement."""
    return statement_rate(window, 'status_code="STATUS_CODE_ERROR"')


def statement_quantile(quantile: float, window: str) -> str:
    """Quantile of the seconds that statements took, by statement."""
    seconds = f"{{__name__=~{quoted(SPAN_SECONDS)},{_DATABASE}}}"
    return histogram_quantile(quantile, f"sum by ({STATEMENT}) (rate({seconds}[{window}]))")


_DATABASE = f'span_kind={quoted(Side.DATABASE)},{SPAN_LABEL}!=""'  # k6's own have no operation


# The process


def event_loop_delay(quantile: float, window: str, by: str = "") -> str:
    """Quantile of the seconds by which the event loop of the worst process ran a callback late."""
    lag = f"rate(clinic_event_loop_lag_seconds{{{CLINIC}}}[{window}])"
    late = histogram_quantile(quantile, aggregate("sum", lag, joined(by, INSTANCE)))
    return aggregate("max", late, by)


def connections_used(window: str, by: str = "", over_time: str = "max_over_time") -> str:
    """Connections of a process's pool in use: the most within the window, or as asked."""
    used = f'{CLINIC},db_client_connection_state="used"'
    return aggregate("max", f"{over_time}(db_client_connection_count{{{used}}}[{window}])", by)


def pool_size(window: str, by: str = "") -> str:
    """Connections that the pool of a process may open at most."""
    size = f"last_over_time(db_client_connection_max{{{CLINIC}}}[{window}])"
    return aggregate("max", size, by)


def pool_usage(window: str, by: str = "", over_time: str = "max_over_time") -> str:
    """Share of the connections of the fullest pool in use, 0 to 1: the most, or as asked."""
    process = joined(by, INSTANCE)
    used, size = connections_used(window, process, over_time), pool_size(window, process)
    return aggregate("max", f"{used} / ({size} > 0)", by)


def database_up(window: str, by: str = "") -> str:
    """1 while the database answers every process of the clinic, else 0."""
    return aggregate("min", f"last_over_time({DATABASE_UP}[{window}])", by)


def metrics_absent(window: str) -> str:
    """1 if the clinic sent no metrics within the window."""
    return f"absent_over_time({DATABASE_UP}[{window}])"


def last_sample() -> str:
    """Time of the clinic's newest sample; no value after five minutes without one."""
    return f"max(timestamp({DATABASE_UP}))"


def running_processes() -> str:
    """Number of the clinic's processes that run; no value if none does."""
    return f"count(last_over_time({DATABASE_UP}[30s]))"


def ended_processes(window: str) -> str:
    """Number of the clinic's processes that ended within the window, if others run."""
    return f"count(last_over_time({DATABASE_UP}[{window}])) - {running_processes()}"


def expected_processes() -> str:
    """Number of the clinic's processes that should run together; no value if none runs."""
    return f"max(last_over_time(clinic_processes_expected{{{CLINIC}}}[30s]))"


def cpu_cores(window: str, by: str = "") -> str:
    """CPU cores in use, in total or by `type`: user and system."""
    rate = f"rate(process_cpu_time_seconds_total{{{CLINIC}}}[{window}])"
    return aggregate("sum", rate, by)


def busiest_process_cpu(window: str) -> str:
    """CPU cores that the busiest process uses."""
    return aggregate("max", cpu_cores(window, INSTANCE))


def memory_bytes(window: str, by: str = "") -> str:
    """Resident memory of the clinic's processes."""
    return aggregate("sum", f"last_over_time(process_memory_usage_bytes{{{CLINIC}}}[{window}])", by)


def garbage_collection_rate(window: str) -> str:
    """Garbage collections per second, by generation."""
    return f"sum by (generation) (rate(cpython_gc_collections_total{{{CLINIC}}}[{window}]))"


# Error budgets, which rules record by operation

BUDGET_BURN = "operation:error_budget_burn"
P95_LIMIT = "operation:slo_p95:seconds"
# Organic traffic is held to the limits of this profile.
ORGANIC_PROFILE = "load"


def burn_rate(objective: str, window: str) -> str:
    """How many times as fast as the SLO allows an operation spent its error budget."""
    burn = f"{BUDGET_BURN}:{window}{{slo={quoted(objective)}}}"
    return f"{aggregate('sum', burn, OPERATION)} >= 0"


def organic_p95_limit() -> str:
    """Limit of the p95 in seconds, by operation."""
    return aggregate("sum", f"{P95_LIMIT}{{profile={quoted(ORGANIC_PROFILE)}}}", OPERATION)


# Alerts

# It always fires.
HEARTBEAT = 'ALERTS{severity="heartbeat"}'


def active_alerts() -> str:
    """Start time of each alert that is firing or pending."""
    active = 'ALERTS{severity!="heartbeat"}'
    since = f"0 * {active} + ignoring (alertstate) group_left () ALERTS_FOR_STATE"
    return f'label_join({since}, "subject", " ", "operation", "testid", "instance", "job")'


def alerts_or_none() -> str:
    """As `active_alerts`, in milliseconds; a row that says so, if no alert of the rules is."""
    none = f'label_replace(0 * group({HEARTBEAT}), "alertname", "No alerts", "", "")'
    return f"1000 * ({active_alerts()}) or on () {none}"


def firing_alerts() -> str:
    """Number of firing alerts that notify; 0 if there are none, no value without rules."""
    firing = 'count(ALERTS{alertstate="firing",severity=~"page|ticket"})'
    return f"{firing} or 0 * group({HEARTBEAT})"


# Counters


def increase(counter: str, window: str) -> str:
    """Increase of each counter, its first value included.

    A counter that restarted between two windows counts from zero; across a restart within the
    window, and after a gap before it, the increase is Prometheus' estimate.
    """
    now = f"last_over_time({counter}[{window}])"
    previous = f"last_over_time({counter}[{PREVIOUS}] offset {window})"
    before_gap = f"last_over_time({counter}[{LOOK_BACK}] offset {window})"
    lowest = f"min_over_time({counter}[{window}])"
    after_gap = f"{before_gap} <= {lowest} unless {previous}"
    return (
        f"(increase({counter}[{window}]) and (resets({counter}[{window}]) > 0 or {after_gap})"
        f" or {now} - ({previous} <= {lowest}) or {now})"
    )


def total_increase(counter: str, window: str, by: str = "") -> str:
    """Increase of a counter over its series, their first values included."""
    return aggregate("sum", increase(counter, window), by)
