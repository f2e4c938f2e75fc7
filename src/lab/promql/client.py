"""What k6 measured of a run beyond requests and percentiles: extremes, phases, data, iterations.

Every expression takes the run and the labels to group by, as those of lab.promql.load_run do.
"""

from enum import StrEnum
from itertools import groupby

from lab import slo
from lab.promql import load_run
from lab.promql.load_run import CLIENT_SECONDS, ITERATIONS
from lab.promql.selectors import (
    CLIENT_LABEL,
    RunSelector,
    aggregate,
    histogram_quantile,
    joined,
    quoted,
)

# What k6's script writes at the end of a run. Their labels are those of k6's other series.
MIN_SECONDS = "k6_run_request_min_seconds"
MAX_SECONDS = "k6_run_request_max_seconds"
CHECKS = "k6_run_checks"

BYTES_SENT = "k6_data_sent_total"
BYTES_RECEIVED = "k6_data_received_total"
ITERATION_SECONDS = "k6_iteration_duration_seconds"


class Phase(StrEnum):
    """A phase of a request as k6 times it, in their order.

    `blocked` is the wait for a connection of k6's own; `connecting` and `tls` are parts of it,
    which a connection that is used again does not have. The others add up to the duration.
    """

    BLOCKED = "blocked"
    CONNECTING = "connecting"
    TLS = "tls"
    SENDING = "sending"
    WAITING = "waiting"
    RECEIVING = "receiving"


PHASE_SECONDS = {
    phase: f"k6_http_req_{'tls_handshaking' if phase == Phase.TLS else phase}_seconds"
    for phase in Phase
}


# The distribution of durations


def client_min(run: RunSelector, by: str = "") -> str:
    """The shortest seconds that a request took for k6.

    Exact once the run has ended, else and by interval the lower bound of the histogram's bucket,
    which is at most 9 % lower.
    """
    return _extreme("min", MIN_SECONDS, 0, run, by)


def client_max(run: RunSelector, by: str = "") -> str:
    """The longest seconds that a request took for k6.

    Exact once the run has ended, else and by interval the upper bound of the histogram's bucket,
    which is at most 9 % higher.
    """
    return _extreme("max", MAX_SECONDS, 1, run, by)


def over_limit_share(run: RunSelector, by: str = "") -> str:
    """Share of requests, 0 to 1, that took k6 longer than the p95 limit of their SLO.

    By `operation`, or of all requests against the limit of all. A limit inside a bucket of the
    histogram divides it by interpolation. Without a value where there is no limit.
    """
    if not by:
        return _share_over(slo.all_requests_limits().p95, run)
    shares = [
        _share_over(limit, run, by, joined(profiles, names(operations)))
        for profiles, limits in limits_by_profiles()
        for limit, operations in limits.items()
    ]
    return f"({' or '.join(shares)})"


def _extreme(operator: str, metric: str, quantile: int, run: RunSelector, by: str) -> str:
    bound = histogram_quantile(quantile, load_run.client_durations(run, by))
    if run.interval:
        return bound
    values = f"last_over_time({run.k6(metric)}[{run.window}])"
    return f"({load_run.aggregate_operations(operator, values, by, CLIENT_LABEL)} or {bound})"


def _share_over(limit: float, run: RunSelector, by: str = "", matchers: str = "") -> str:
    durations = load_run.sum_histograms(run, run.k6(CLIENT_SECONDS, matchers), by, CLIENT_LABEL)
    return f"(histogram_fraction({limit:g}, +Inf, {durations}) >= 0)"


def limits_by_profiles() -> list[tuple[str, dict[float, list[str]]]]:
    """Return, for profiles with the same limits, a matcher of them and operations by limit.

    The scenario of a run has the name of its profile; any other run is held to `load`.
    """

    def limits_of(profile: str) -> dict[float, list[str]]:
        limits: dict[float, list[str]] = {}
        for operation in slo.OPERATIONS:
            limits.setdefault(slo.limits(operation, profile).p95, []).append(operation)
        return limits

    def key(profile: str) -> str:
        return str(limits_of(profile))

    usual = limits_of("load")
    special = [profile for profile in slo.PROFILES if limits_of(profile) != usual]
    return [(f"scenario!~{quoted('|'.join(special))}", usual)] + [
        (f"scenario=~{quoted('|'.join(names))}", limits_of(names[0]))
        for names in (list(group) for _, group in groupby(sorted(special, key=key), key))
    ]


def names(operations: list[str]) -> str:
    """Select the series of k6 of these operations."""
    return RunSelector("", "", operations=tuple(operations)).names()


# Phases


def phase_mean(phase: Phase, run: RunSelector, by: str = "") -> str:
    """Mean seconds of a phase, over all requests: those without it count as zero."""
    return f"histogram_avg({_phase(phase, run, by)})"


def phase_quantile(quantile: float, phase: Phase, run: RunSelector, by: str = "") -> str:
    """Quantile of the seconds of a phase, over all requests."""
    return histogram_quantile(quantile, _phase(phase, run, by))


def _phase(phase: Phase, run: RunSelector, by: str) -> str:
    return load_run.sum_histograms(run, run.k6(PHASE_SECONDS[phase]), by, CLIENT_LABEL)


# Data, iterations and checks


def bytes_sent(run: RunSelector) -> str:
    """Bytes that k6 sent, headers included."""
    return load_run.sum_counters(run, run.k6(BYTES_SENT))


def bytes_received(run: RunSelector) -> str:
    """Bytes that k6 received, headers included."""
    return load_run.sum_counters(run, run.k6(BYTES_RECEIVED))


def iterations(run: RunSelector, by: str = "") -> str:
    """Number of iterations that ended."""
    return load_run.sum_counters(run, run.k6(ITERATIONS), by)


def iteration_mean(run: RunSelector, by: str = "") -> str:
    """Mean seconds of an iteration, its pauses included."""
    return f"histogram_avg({_iterations(run, by)})"


def iteration_quantile(quantile: float, run: RunSelector, by: str = "") -> str:
    """Quantile of the seconds of an iteration, its pauses included."""
    return histogram_quantile(quantile, _iterations(run, by))


def checks(run: RunSelector, by: str = "check, result", matchers: str = "") -> str:
    """Results of the script's checks, `passed` and `failed`; none before the run has ended."""
    return aggregate("sum", f"last_over_time({run.k6(CHECKS, matchers)}[{run.window}])", by)


def _iterations(run: RunSelector, by: str) -> str:
    return load_run.sum_histograms(run, run.k6(ITERATION_SECONDS), by)
