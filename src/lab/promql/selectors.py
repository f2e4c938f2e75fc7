"""The names of series and their labels, and the selection of those that belong to a run."""

import re
from dataclasses import dataclass
from enum import StrEnum

SERVICE = "clinic"

# How long Prometheus keeps samples. No two runs share a series, so a window of this length selects
# a whole run and nothing else.
RETENTION = "15d"

# Tempo's generator and Jaeger's connector name the same histogram of seconds differently.
SPAN_SECONDS = "traces_spanmetrics_(latency|duration_seconds)"
SPAN_CALLS = "traces_spanmetrics_calls_total"

# Expressions by operation carry this label; k6 and the spans each have a name of their own for it.
OPERATION = "operation"
CLIENT_LABEL = "name"
SPAN_LABEL = "clinic_operation"

# What k6 reports about a run itself. Its script writes the results of thresholds, at the end.
STARTED = "k6_run_started_timestamp_seconds"
ENDED = "k6_run_ended_timestamp_seconds"
PLANNED = "k6_run_planned_seconds"
PASSED = "k6_run_passed"
THRESHOLD_PASSED = "k6_run_threshold_passed"


class Side(StrEnum):
    """Which span of a request: the server's, or its statement's in the database."""

    SERVER = "SPAN_KIND_SERVER"
    DATABASE = "SPAN_KIND_CLIENT"


@dataclass(frozen=True, slots=True)
class RunSelector:
    """One run: its id, the window to look back over, and which scenarios and operations count.

    Fields hold values or a dashboard's variables: `RunSelector("$testid", "15d", "$scenario")`.
    With an `interval`, such as `10s`, expressions cover that alone, else the whole run. The
    window must reach back to before the run. Requests before the load, such as k6's check of the
    clinic's readiness, have no scenario and do not count.
    """

    run_id: str
    window: str
    scenarios: str = ".+"
    operations: tuple[str, ...] = ()
    interval: str = ""

    def k6(self, metric: str, matchers: str = "") -> str:
        """Select the series of a metric that k6 pushed for the run's load."""
        matchers = joined(self._operations(CLIENT_LABEL), matchers)
        return self._series(metric, "testid", "scenario", matchers)

    def marks(self, metric: str) -> str:
        """Select what k6 reports about the run itself."""
        return f"{metric}{{testid={quoted(self.run_id)}}}"

    def spans(self, metric: str, side: Side, matchers: str = "") -> str:
        """Select the series that the trace store made of the run's spans on one side."""
        matchers = joined(f"span_kind={quoted(side)}", self._operations(SPAN_LABEL), matchers)
        return self._series(metric, "k6_test_run_id", "k6_scenario", matchers)

    def _operations(self, label: str) -> str:
        if not self.operations:
            return ""
        return f"{label}=~{quoted('|'.join(map(_literal, self.operations)))}"

    def _series(self, metric: str, run: str, scenario: str, matchers: str) -> str:
        name = f"__name__=~{quoted(metric)}" if "|" in metric else ""
        matchers = joined(
            name, f"{run}={quoted(self.run_id)}", f"{scenario}=~{quoted(self.scenarios)}", matchers
        )
        return f"{{{matchers}}}" if name else f"{metric}{{{matchers}}}"


@dataclass(frozen=True, slots=True)
class RunList:
    """All runs of a window, or those that `matchers` select."""

    window: str
    matchers: str = ""

    def k6(self, metric: str, matchers: str = "") -> str:
        """Select the series of a metric that k6 pushed for the runs' load."""
        matchers = joined('scenario!=""', self.matchers, matchers)
        return f"{metric}{{{matchers}}}"

    def marks(self, metric: str) -> str:
        """Select what k6 reports about the runs themselves."""
        return f"{metric}{{{self.matchers}}}"

    @property
    def interval(self) -> str:
        return ""


def _literal(text: str) -> str:
    """Escape a text for use in a regular expression of RE2."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def joined(*matchers: str) -> str:
    return ",".join(filter(None, matchers))


def quoted(value: str) -> str:
    """Write a value as a string of PromQL or TraceQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def aggregate(operator: str, expression: str, by: str = "") -> str:
    """Aggregate an expression by labels, or over all its series."""
    return f"{operator} by ({by}) ({expression})" if by else f"{operator}({expression})"


def histogram_quantile(quantile: float, histogram: str) -> str:
    """Quantile of a histogram; no value, rather than NaN, where it is empty."""
    return f"(histogram_quantile({quantile}, {histogram}) >= 0)"
