"""The names of series and their labels, and the selection of those that belong to a run."""

import re
from dataclasses import dataclass
from enum import StrEnum

SERVICE = "clinic"

# How long Prometheus keeps samples. No two runs share a series, so a window of this length selects
# a whole run and nothing else.
RETENTION = "15d"
# The same as far ahead, for what is said of a run after the time of evaluation.
AROUND = "30d{} offset -15d"

# Tempo's generator and Jaeger's connector name the same histogram of seconds differently.
SPAN_SECONDS = "traces_spanmetrics_(latency|duration_seconds)"
SPAN_CALLS = "traces_spanmetrics_calls_total"

# Expressions by operation carry this label; k6 and the spans each have a name of their own for it.
OPERATION = "operation"
CLIENT_LABEL = "name"
SPAN_LABEL = "clinic_operation"
# The name of a generator, on every series of k6 that several of them push.
GENERATOR = "instance"

# What k6 reports about a run itself. Its script writes the results of thresholds, at the end.
STARTED = "k6_run_started_timestamp_seconds"
ENDED = "k6_run_ended_timestamp_seconds"
PLANNED = "k6_run_planned_seconds"
GENERATORS = "k6_run_generators"
CLOCK_OFFSET = "k6_run_clock_offset_seconds"
INTERRUPTED = "k6_run_interrupted"
THRESHOLDS = "k6_run_thresholds"
PASSED = "k6_run_passed"
THRESHOLD_PASSED = "k6_run_threshold_passed"
THRESHOLD_REACHED = "k6_run_threshold_reached"
THRESHOLD_LIMIT = "k6_run_threshold_limit"


class Side(StrEnum):
    """Which span of a request: the server's, or its statement's in the database."""

    SERVER = "SPAN_KIND_SERVER"
    DATABASE = "SPAN_KIND_CLIENT"


@dataclass(frozen=True, slots=True)
class Interval:
    """A piece of a run's time that ends some milliseconds after the time of evaluation.

    `length` is a duration, such as `10s`. `earlier` are the milliseconds from the interval's start
    to the time of evaluation; by default the interval ends then. Fields hold values or a
    dashboard's variables.
    """

    length: str
    later: str = ""
    earlier: str = ""

    @classmethod
    def of(cls, seconds: float, later: float = 0.0) -> "Interval":
        """Make an interval that ends this many seconds after the time of evaluation."""
        if not later:
            return cls(f"{seconds:.0f}s")
        return cls(f"{seconds:.0f}s", f"{1000 * later:.0f}", f"{1000 * (seconds - later):.0f}")

    @property
    def end(self) -> str:
        """Modifier of a selector: as of the interval's end."""
        return f" offset -{self.later}ms" if self.later else ""

    @property
    def start(self) -> str:
        """Modifier of a selector: as of the interval's start."""
        return f" offset {self.earlier}ms" if self.earlier else f" offset {self.length}"

    @property
    def end_time(self) -> str:
        """End of the interval in seconds since 1970, as a scalar."""
        return f"(time() + {self.later} / 1000)" if self.later else "time()"


@dataclass(frozen=True, slots=True)
class RunSelector:
    """One run: its id, the window to look back over, and which scenarios and operations count.

    Fields hold values or a dashboard's variables: `RunSelector("$testid", "15d", "$scenario")`.
    With an `interval`, expressions cover that alone, else the whole run. The window must reach back
    to before the run. Requests before the load, such as k6's check of the
    clinic's readiness, have no scenario and do not count.
    """

    run_id: str
    window: str
    scenarios: str = ".+"
    operations: tuple[str, ...] = ()
    interval: Interval | None = None

    def k6(self, metric: str, matchers: str = "") -> str:
        """Select the series of a metric that k6 pushed for the run's load."""
        matchers = joined(self.names(), matchers)
        return self._series(metric, "testid", "scenario", matchers)

    def marks(self, metric: str, matchers: str = "") -> str:
        """Select what k6 reports about the run itself."""
        return f"{metric}{{{joined(f'testid={quoted(self.run_id)}', matchers)}}}"

    def spans(self, metric: str, side: str, matchers: str = "") -> str:
        """Select the series that the trace store made of the run's spans of one kind."""
        matchers = joined(f"span_kind={quoted(side)}", self.names(SPAN_LABEL), matchers)
        # k6's own spans have no operation.
        api = joined(f'{SPAN_LABEL}!=""', matchers)
        return self._series(metric, "k6_test_run_id", "k6_scenario", api)

    def names(self, label: str = CLIENT_LABEL) -> str:
        """Match the operations by a label; empty if all count."""
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

    def marks(self, metric: str, matchers: str = "") -> str:
        """Select what k6 reports about the runs themselves."""
        return f"{metric}{{{joined(self.matchers, matchers)}}}"

    @property
    def interval(self) -> None:
        return None


def _literal(text: str) -> str:
    """Escape a text for use in a regular expression of RE2."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def joined(*matchers: str) -> str:
    return ",".join(filter(None, matchers))


def last_around(selector: str) -> str:
    """The last value that Prometheus keeps, before or after the time of evaluation."""
    return f"last_over_time({selector}[{AROUND.format(']')})"


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
