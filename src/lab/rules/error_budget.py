"""Rules about the error budgets. Only organic requests count: load runs spend no budget."""

from dataclasses import dataclass

from lab.promql import api
from lab.promql.api import BUDGET_BURN, ORGANIC_PROFILE, P95_LIMIT
from lab.rules.rule import Group, Rule, alert, group, record
from lab.rules.slo import (
    ALL_REQUESTS,
    BAD_REQUEST_RATE,
    FAILED_LIMIT,
    REQUEST_RATE,
    organic,
)

BUDGET = "operation:error_budget:share"
# A rule for each window, in this order; the long ones are evaluated less often.
SHORT_WINDOWS, LONG_WINDOWS = ("5m", "30m", "1h"), ("2h", "6h", "1d", "3d")
REQUEST_INTERVAL = "15s"
# A single failing visitor at night alerts nobody.
FEWEST_BAD_REQUESTS = 10


@dataclass(frozen=True, slots=True)
class BurnRate:
    """A pair of windows from the SRE workbook, and the burn rate that both must exceed.

    The long window shows that it matters, the short one that it still goes on.
    """

    severity: str
    long: str
    short: str
    factor: float
    wait: str


BURN_RATES = (
    BurnRate("page", "1h", "5m", 14.4, "1m"),
    BurnRate("page", "6h", "30m", 6, "2m"),
    BurnRate("ticket", "1d", "2h", 3, "5m"),
    BurnRate("ticket", "3d", "6h", 1, "15m"),
)
BUDGETS = {
    "availability": (
        "AvailabilityBudgetBurn",
        "Too many errors: {{ $labels.operation }}",
        "responses with status 500 or above",
        "Failed share by route",
    ),
    "latency": (
        "LatencyBudgetBurn",
        "Too slow: {{ $labels.operation }}",
        "requests above the latency limit",
        "p95 by route",
    ),
}


def groups() -> list[Group]:
    return [
        group("requests", _requests(), REQUEST_INTERVAL),
        group("error budget", [*_budgets(), *map(_burn_rate, SHORT_WINDOWS)], REQUEST_INTERVAL),
        group("error budget, long windows", [*map(_burn_rate, LONG_WINDOWS)], "1m"),
        group("error budget, pages", _burn_alerts("page"), REQUEST_INTERVAL),
        group("error budget, tickets", _burn_alerts("ticket"), "1m"),
    ]


def _requests() -> list[Rule]:
    """Rates of one minute. A long window is the mean of these.

    A rate over three days of native histograms would read some 50,000 of them for each series.
    """
    routed, failed = 'http_route!=""', api.SERVER_ERROR
    no_operation = f'0 * {REQUEST_RATE}{{operation!="{ALL_REQUESTS}"}}'
    nothing = f'sum(0 * {REQUEST_RATE}{{operation="{ALL_REQUESTS}"}})'
    return [
        record(REQUEST_RATE, _by_operation(routed)),
        record(REQUEST_RATE, f"sum({_count()})", operation=ALL_REQUESTS),
        record(
            BAD_REQUEST_RATE,
            f"{_by_operation(f'{routed},{failed}')}\nor {no_operation}",
            slo="availability",
        ),
        record(
            BAD_REQUEST_RATE,
            f"sum({_count(failed)})\nor {nothing}",
            slo="availability",
            operation=ALL_REQUESTS,
        ),
    ]


def _by_operation(matchers: str) -> str:
    """Sum requests by operation; HEAD, which runs the code of GET, counts as GET."""
    method = '"http_request_method", "GET", "http_request_method", "HEAD"'
    labels = '"operation", " ", "http_request_method", "http_route"'
    counts = f"label_replace({_count(matchers)}, {method})"
    return f"sum by (operation) (label_join({counts}, {labels}))"


def _count(matchers: str = "") -> str:
    return f"histogram_count(rate({organic(matchers)}[1m]))"


def _budgets() -> list[Rule]:
    """State the budgets: the share of requests that may be bad."""
    profile = f'profile="{ORGANIC_PROFILE}"'
    return [
        record(BUDGET, f"sum by (operation) ({FAILED_LIMIT}{{{profile}}})", slo="availability"),
        record(BUDGET, f"0.05 + 0 * sum by (operation) ({P95_LIMIT}{{{profile}}})", slo="latency"),
    ]


def _burn_rate(window: str) -> Rule:
    return record(
        f"{BUDGET_BURN}:{window}",
        f"avg_over_time({BAD_REQUEST_RATE}[{window}])\n"
        f"/ on (operation) group_left () avg_over_time({REQUEST_RATE}[{window}])\n"
        f"/ on (operation, slo) group_left () {BUDGET}",
    )


def _burn_alerts(severity: str) -> list[Rule]:
    return [
        _burn_alert(slo, rate)
        for slo in BUDGETS
        for rate in BURN_RATES
        if rate.severity == severity
    ]


def _burn_alert(slo: str, rate: BurnRate) -> Rule:
    name, summary, bad, panel = BUDGETS[slo]
    bad_requests = f'sum_over_time({BAD_REQUEST_RATE}{{slo="{slo}"}}[{rate.long}])'
    return alert(
        name,
        f'{BUDGET_BURN}:{rate.long}{{slo="{slo}"}} > {rate.factor:g}\n'
        f'and {BUDGET_BURN}:{rate.short}{{slo="{slo}"}} > {rate.factor:g}\n'
        f"and {bad_requests} * {REQUEST_INTERVAL} >= {FEWEST_BAD_REQUESTS}",
        wait=rate.wait,
        severity=rate.severity,
        area="service",
        window=rate.long,
        summary=summary,
        description=f"Over the last {rate.long}, {bad} spent the error budget "
        '{{ printf "%.3g" $value }} times as fast as the SLO allows. '
        f"This alert fires above {rate.factor:g}.",
        panel=("clinic-api", panel),
    )
