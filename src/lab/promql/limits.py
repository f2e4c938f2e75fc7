"""The limits of the SLO for the p95 of a run's operations, and what the run reached."""

from lab import slo
from lab.promql import load_run
from lab.promql.client import limits_by_profiles, names
from lab.promql.load_run import CLIENT_SECONDS
from lab.promql.selectors import CLIENT_LABEL, OPERATION, RunSelector, aggregate, joined, quoted


def p95_limit(run: RunSelector) -> str:
    """Limit of the p95 in seconds, by operation; without a value where there is no limit."""
    terms = []
    for profiles, limits in limits_by_profiles():
        for limit, operations in limits.items():
            selected = run.k6(CLIENT_SECONDS, joined(profiles, names(operations)))
            durations = load_run.sum_histograms(run, selected, OPERATION, CLIENT_LABEL)
            terms.append(f"{limit:g} + 0 * histogram_count({durations})")
    return f"({' or '.join(terms)})"


def share_of_limit(run: RunSelector) -> str:
    """Quotient of the client's p95 and its limit, by operation."""
    p95 = load_run.client_quantile(0.95, run, OPERATION)
    return f"{p95} / on ({OPERATION}) {p95_limit(run)}"


def furthest_over(run: RunSelector) -> str:
    """The larger one of the shares of their limits that the p95 and failures reach, by operation.

    Failures are divided by the limit of all requests.
    """
    failed = load_run.failed_share(run, OPERATION)
    shares = {
        "p95": share_of_limit(run),
        "failed": f"({failed}) / {slo.all_requests_limits().failed_share:g}",
    }
    both = " or ".join(
        f'label_replace({share}, "limit", "{name}", "", "")' for name, share in shares.items()
    )
    return aggregate("max", both, OPERATION)


def p95_with_result(run: RunSelector, label: str, met: str, exceeded: str, none: str) -> str:
    """The client's p95 by operation, with a label that says whether it meets its limit."""
    p95 = load_run.client_quantile(0.95, run, OPERATION)
    limit = f"on ({OPERATION}) {p95_limit(run)}"
    results = {
        met: f"{p95} <= {limit}",
        exceeded: f"{p95} > {limit}",
        none: f"{p95} unless {limit}",
    }
    return " or ".join(
        f'label_replace({values}, "{label}", {quoted(result)}, "", "")'
        for result, values in results.items()
    )
