"""The names that series and spans go by, and how a run's are chosen among them."""

import re
from dataclasses import dataclass
from enum import StrEnum

SERVICE = "clinic"

# How far back Prometheus keeps series. A run's series are its own, so looking back that far finds
# all of it up to the time of asking, and nothing else.
KEPT = "15d"

# Tempo's generator and Jaeger's connector name the same histogram of seconds differently.
SPAN_SECONDS = "traces_spanmetrics_(latency|duration_seconds)"
SPAN_CALLS = "traces_spanmetrics_calls_total"

# What k6 and the spans call the operation.
CLIENT_LABEL = "name"
SPAN_LABEL = "clinic_operation"

# What k6 says of a run itself. The verdict is k6's own: it is written at the very end, once.
STARTED = "k6_run_started_timestamp_seconds"
ENDED = "k6_run_ended_timestamp_seconds"
PLANNED = "k6_run_planned_seconds"
PASSED = "k6_run_passed"
THRESHOLD_PASSED = "k6_run_threshold_passed"


class Side(StrEnum):
    """Which span of a request: the server's, or its statement in the database."""

    SERVER = "SPAN_KIND_SERVER"
    DATABASE = "SPAN_KIND_CLIENT"


@dataclass(frozen=True, slots=True)
class RunSelector:
    """A run by its id, the range to look back over, its scenarios and operations that count.

    Either values or a dashboard's variables: `Of("$testid", "$__range", "$scenario")`. k6's check
    of the clinic's readiness, before the load, belongs to no scenario.
    """

    run_id: str
    window: str
    scenarios: str = ".+"
    operations: tuple[str, ...] = ()

    def k6(self, metric: str, only: str = "") -> str:
        """Choose the series of a metric that k6 pushed of the run's load."""
        return self._chosen(metric, "testid", "scenario", joined(self._among(CLIENT_LABEL), only))

    def spans(self, metric: str, side: Side, only: str = "") -> str:
        """Choose the series that the trace store made of the run's spans on one side."""
        of_side = joined(f"span_kind={quoted(side)}", self._among(SPAN_LABEL), only)
        return self._chosen(metric, "k6_test_run_id", "k6_scenario", of_side)

    def _among(self, label: str) -> str:
        """Choose the operations that count; all of them where none is named."""
        if not self.operations:
            return ""
        return f"{label}=~{quoted('|'.join(map(_literal, self.operations)))}"

    def _chosen(self, metric: str, run: str, scenario: str, only: str) -> str:
        """Choose by a regular expression of names where the metric has several."""
        named = f"__name__=~{quoted(metric)}" if "|" in metric else ""
        matchers = joined(
            named, f"{run}={quoted(self.run_id)}", f"{scenario}=~{quoted(self.scenarios)}", only
        )
        return f"{{{matchers}}}" if named else f"{metric}{{{matchers}}}"


def _literal(text: str) -> str:
    """Write a text as a regular expression that matches it alone."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def joined(*matchers: str) -> str:
    return ",".join(filter(None, matchers))


def quoted(value: str) -> str:
    """Write a value as a string of PromQL or TraceQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def by_operation(expression: str, label: str) -> str:
    """Call k6's `name` and the spans' `clinic_operation` both `operation`, so that they join."""
    return f'label_replace({expression}, "operation", "$1", "{label}", "(.+)")'
