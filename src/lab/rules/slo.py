"""Rules from performance/slo.json: the limits themselves, and which requests exceed them."""

from lab import slo
from lab.promql.api import CLINIC, ORGANIC, ORGANIC_PROFILE, P95_LIMIT, REQUEST_SECONDS
from lab.promql.selectors import joined, quoted
from lab.rules.rule import Group, Rule, group, record

ALL_REQUESTS = "all requests"
FAILED_LIMIT = "operation:slo_failed:share"
REQUEST_RATE = "operation:http_server_requests:rate1m"
BAD_REQUEST_RATE = "operation:http_server_requests_bad:rate1m"


def groups() -> list[Group]:
    """Build the rules of every operation, and of all requests together."""
    operations = (*slo.OPERATIONS, ALL_REQUESTS)
    rules = [rule for operation in operations for rule in (*_limits(operation), _slow(operation))]
    return [group("slo", rules, "15s")]


def organic(matchers: str = "") -> str:
    """Select the durations of organic requests."""
    return f"{REQUEST_SECONDS}{{{joined(CLINIC, ORGANIC, matchers)}}}"


def _limits(operation: str) -> list[Rule]:
    rules = []
    for profile in slo.PROFILES:
        limits, labels = (
            _limits_of(operation, profile),
            {"operation": operation, "profile": profile},
        )
        rules.append(record(P95_LIMIT, f"vector({limits.p95:g})", **labels))
        rules.append(record(FAILED_LIMIT, f"vector({limits.failed_share:g})", **labels))
    return rules


def _slow(operation: str) -> Rule:
    """Count requests above the limit: a rule for each, as a histogram is cut at a constant."""
    matchers = ""
    if operation != ALL_REQUESTS:
        method, route = operation.split(" ", 1)
        methods = "GET|HEAD" if method == "GET" else method
        matchers = f"http_request_method=~{quoted(methods)},http_route={quoted(route)}"
    durations = f"sum(rate({organic(matchers)}[1m]))"
    limit = _limits_of(operation, ORGANIC_PROFILE).p95
    # Without requests the fraction is NaN, and one NaN would spoil every average over time.
    none = f"sum(0 * {REQUEST_RATE}{{operation={quoted(operation)}}})"
    return record(
        BAD_REQUEST_RATE,
        f"(1 - histogram_fraction(0, {limit:g}, {durations})) * histogram_count({durations}) >= 0\n"
        f"or {none}",
        slo="latency",
        operation=operation,
    )


def _limits_of(operation: str, profile: str) -> slo.Limits:
    if operation == ALL_REQUESTS:
        return slo.all_requests_limits()
    return slo.limits(operation, profile)
