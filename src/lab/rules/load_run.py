"""Rules about load runs, in windows short enough that a run of minutes fires and resolves."""

from lab.promql import load_run
from lab.promql.api import P95_LIMIT
from lab.promql.load_run import (
    CLIENT_SECONDS,
    DROPPED,
    FAILED,
    ITERATIONS,
    REQUESTS,
    VIRTUAL_USERS,
)
from lab.promql.selectors import CLIENT_LABEL, GENERATOR, RunList
from lab.rules.rule import Group, Rule, alert, group, record
from lab.rules.slo import FAILED_LIMIT

RATE = "run_operation:k6_http_reqs:rate1m"
FAILED_SHARE = "run_operation:k6_http_reqs_failed:share1m"
# One of VERDICT_CODES, for programs that have to know how a run ended.
VERDICT = "run:k6_verdict:code"
P95 = "run_operation:k6_http_req_duration:p95_1m"

FEWEST_REQUESTS = 20
# Longer than any run.
LONG_AGO = RunList("3d")


def groups() -> list[Group]:
    return [
        group("load runs", _rates()),
        group("load runs, verdicts", [record(VERDICT, load_run.verdict(LONG_AGO, "testid"))], "1m"),
        group("load runs, alerts", _alerts()),
    ]


def _rates() -> list[Rule]:
    runs = RunList("1m")
    failed = _by_operation(f"rate({runs.k6(REQUESTS, FAILED)}[1m])")
    durations = _by_operation(f"rate({runs.k6(CLIENT_SECONDS)}[1m])")
    return [
        record(RATE, _by_operation(f"rate({runs.k6(REQUESTS)}[1m])")),
        record(FAILED_SHARE, f"{failed}\n/ {RATE}"),
        record(P95, f"histogram_quantile(0.95, {durations})"),
    ]


def _by_operation(rate: str) -> str:
    """Sum by run and operation; a run's scenario is named after its profile."""
    operation = f'label_replace({rate}, "operation", "$1", "{CLIENT_LABEL}", "(.+)")'
    profile = f'label_replace({operation}, "profile", "$1", "scenario", "(.+)")'
    return f"sum by (testid, profile, operation) ({profile})"


def _exceeds(value: str, limit: str) -> str:
    return (
        f"{value} > on (operation, profile) group_left () {limit}\n"
        f"and {RATE} * 1m >= {FEWEST_REQUESTS}"
    )


def _alerts() -> list[Rule]:
    dropped = f"sum by (testid) (rate({DROPPED}[1m]))"
    begun = f"sum by (testid) (rate({ITERATIONS}[1m]))"
    each = f"testid, {GENERATOR}"
    planned_end = f"{load_run.started(LONG_AGO, each)} + {load_run.planned_seconds(LONG_AGO, each)}"
    recent = f"present_over_time({REQUESTS}[30s]) or present_over_time({VIRTUAL_USERS}[30s])"
    return [
        # It inhibits service alerts, so it does not wait, and it outlasts the load until that has
        # left the windows of those alerts.
        alert(
            "LoadTestRunning",
            f"count(present_over_time({VIRTUAL_USERS}[30s])) > 0",
            keep_firing="2m",
            severity="none",
            area="load-run",
            summary="A load test is running",
            description="{{ $value }} load generator(s) are sending metrics, or were within the "
            "last 2 min. Service alerts are inhibited, except those of an outage.",
            panel=("clinic-load-test", "Load"),
        ),
        alert(
            "LoadRunFailing",
            _exceeds(FAILED_SHARE, FAILED_LIMIT),
            wait="15s",
            severity="ticket",
            area="load-run",
            summary="{{ $labels.operation }} fails in run {{ $labels.testid }}",
            description="{{ $value | humanizePercentage }} of the requests of the last minute "
            "failed, more than the SLO of profile {{ $labels.profile }} allows.",
            panel=("clinic-load-test", "Operations"),
            of_run=True,
        ),
        alert(
            "LoadRunSlow",
            _exceeds(P95, P95_LIMIT),
            wait="15s",
            severity="ticket",
            area="load-run",
            summary="{{ $labels.operation }} is slow in run {{ $labels.testid }}",
            description="p95 over the last minute is {{ $value | humanizeDuration }}, above the "
            "limit of profile {{ $labels.profile }}.",
            panel=("clinic-load-test", "Client p95 by operation"),
            of_run=True,
        ),
        alert(
            "LoadRunDropsIterations",
            f"{dropped} / ({dropped} + {begun}) > 0.01",
            wait="15s",
            severity="ticket",
            area="load-run",
            summary="Run {{ $labels.testid }} drops iterations",
            description="{{ $value | humanizePercentage }} of the iterations of the last minute "
            "were dropped because no virtual user was free: the load is smaller than planned.",
            panel=("clinic-load-test", "Load"),
            of_run=True,
        ),
        # Started, not ended, within its plan, and silent.
        alert(
            "LoadRunSilent",
            f"{planned_end} - time() > 0\n"
            f"unless on ({each}) {load_run.end_marks(LONG_AGO)}\n"
            f"unless on ({each}) ({recent})",
            wait="15s",
            severity="ticket",
            area="load-run",
            summary="Run {{ $labels.testid }} has stopped sending metrics",
            description="No metrics from k6{{ with $labels.instance }} ({{ . }}){{ end }} for 30 s,"
            " with {{ $value | humanizeDuration }} of the run left: k6 was killed or cannot reach "
            "Prometheus.",
            panel=("clinic-load-test", "Load"),
            of_run=True,
        ),
    ]
