"""Write the rules that come from performance/slo.json: the objectives, and which requests are slow.

The share of requests above an objective needs a rule for each operation, because a histogram is
cut at a number, not at another series.
"""

from lab import slo
from lab.paths import PROJECT

FILE = PROJECT / "observability" / "prometheus" / "rules" / "objectives.yml"
EVERY_REQUEST = "every request"

HEAD = """\
# Written by `just rules` from performance/slo.json; change it there.
groups:
  - name: objectives
    interval: 15s
    rules:
"""
DURATION = "http_server_request_duration_seconds"
ORGANIC = 'user_agent_synthetic_type=""'


def text() -> str:
    """Give the file of rules."""
    rules = [
        rule
        for operation in (*slo.OPERATIONS, EVERY_REQUEST)
        for rule in (*stated(operation), slow(operation))
    ]
    return HEAD + "".join(rules)


def stated(operation: str) -> list[str]:
    """State what a run of each profile, and organic traffic as `load`, is held to."""
    rules = []
    for profile in slo.PROFILES:
        limits = of(operation, profile)
        labels = {"operation": operation, "profile": profile}
        for record, value in (
            ("operation:slo_p95:seconds", limits.p95),
            ("operation:slo_failed:share", limits.failed_share),
        ):
            rules.append(rule(record, labels, f"vector({value:g})"))
    return rules


def slow(operation: str) -> str:
    """Count the requests that took longer than the objective of organic traffic."""
    which = ORGANIC
    if operation != EVERY_REQUEST:
        method, route = operation.split(" ", 1)
        which += f',http_request_method="{method}",http_route="{route}"'
    seconds = f"sum(rate({DURATION}{{{which}}}[1m]))"
    limit = of(operation, "load").p95
    slower = f"(1 - histogram_fraction(0, {limit:g}, {seconds})) * histogram_count({seconds})"
    # Without a request the fraction is not a number, and one of those would spoil any mean.
    none = f'sum(0 * operation:http_server_requests:rate1m{{operation="{operation}"}})'
    return rule(
        "operation:http_server_requests_bad:rate1m",
        {"objective": "latency", "operation": operation},
        f"{slower} >= 0 or {none}",
    )


def of(operation: str, profile: str) -> slo.Limits:
    if operation == EVERY_REQUEST:
        return slo.all_requests_limits()
    return slo.limits(operation, profile)


def rule(record: str, labels: dict[str, str], expression: str) -> str:
    inside = ", ".join(f'{name}: "{value}"' for name, value in labels.items())
    return f"      - record: {record}\n        labels: {{ {inside} }}\n        expr: {expression}\n"
