"""What expressions need of a Prometheus: who makes their metrics, and what these must be."""

import re
from dataclasses import dataclass

from lab.promql.api import DATABASE_UP, HEARTBEAT
from lab.promql.load_run import CLIENT_SECONDS
from lab.promql.postgresql import CLINIC_DATABASE, SAMPLER
from lab.promql.published import FINDING
from lab.promql.selectors import AROUND, SPAN_LABEL, SPAN_SECONDS, quoted
from lab.promql.telemetry import ACCEPTED, NODE, PROMETHEUS

# Labels of `state`.
NEED, REQUIRES = "need", "requires"


@dataclass(frozen=True, slots=True)
class Need:
    """A group of metrics that one program makes: `name` is what panels say is missing."""

    name: str
    made_by: str
    requires: str
    metrics: str
    """A regular expression of their names."""
    evidence: str
    """Selects series that are there where the need is met."""
    window: str = ""
    """The end of their range selector, if they are not of the time range of the dashboard."""


NEEDS = (
    Need(
        "k6 metrics",
        "k6 by remote write, with `performance/k6-load-test.js`; `just load` adds its own",
        "native histograms (`K6_PROMETHEUS_RW_TREND_AS_NATIVE_HISTOGRAM=true`); labels `testid`, "
        "`scenario`, `name`",
        r"k6_\w+|machine_\w+",
        CLIENT_SECONDS,
    ),
    Need(
        "span metrics",
        "the generator of Tempo or Grafana Cloud, or Jaeger's spanmetrics connector",
        "native histograms; labels `k6_test_run_id`, `k6_scenario`, `clinic_operation`, "
        "`http_response_status_code`, `db_response_status_code`, `clinic_statement_id`",
        r"traces_spanmetrics_.+",
        f'{{__name__=~{quoted(SPAN_SECONDS)},{SPAN_LABEL}!=""}}',
    ),
    Need(
        "API metrics",
        "the API by OTLP",
        "native histograms; `job` is `clinic`, or ends in `/clinic`",
        r"(http_server|db_client|clinic|process_cpu|process_memory|cpython|otel_sdk)_\w+",
        DATABASE_UP,
    ),
    Need(
        "postgres-sampler",
        "the stack's `postgres-sampler`, scraped",
        "`job` is `postgres-sampler`",
        r"postgresql_\w+",
        f"postgresql_samples_total{{{SAMPLER}}}",
    ),
    Need(
        "postgres_exporter",
        "postgres_exporter, scraped",
        "`job` is `postgres`, `datname` is `clinic`",
        r"pg_\w+",
        f"pg_stat_database_xact_commit{{{CLINIC_DATABASE}}}",
    ),
    Need(
        "the rules",
        "`observability/prometheus/rules` or [alerts.md](alerts.md), evaluated by this Prometheus",
        "alerts and recording rules, the alert Watchdog among them",
        r"ALERTS\w*|operation:.+",
        HEARTBEAT,
    ),
    Need(
        "reports",
        "`just report`, which each run ends with",
        "",
        FINDING,
        FINDING,
        AROUND.format("]"),
    ),
    Need(
        "Prometheus's own metrics",
        "Prometheus, scraped by itself",
        "`job` is `prometheus`; Mimir and Grafana Cloud have none",
        r"prometheus_.+",
        f"prometheus_http_requests_total{{{PROMETHEUS}}}",
    ),
    Need(
        "the trace store's own metrics",
        "Tempo or Jaeger, scraped",
        "`job` is `traces`; Grafana Cloud has none",
        r"tempo\w+|otelcol_\w+",
        ACCEPTED,
    ),
    Need(
        "Alertmanager's own metrics",
        "Alertmanager, scraped",
        "",
        r"alertmanager_\w+",
        "alertmanager_notifications_total",
    ),
    Need(
        "node_exporter",
        "node_exporter, scraped",
        "`job` is `node`",
        r"node_\w+",
        f"node_filesystem_avail_bytes{{{NODE}}}",
    ),
    Need(
        "scrapes",
        "Prometheus, for each target that it scrapes",
        "",
        r"up|scrape_\w+|process_resident_memory_bytes.*|process_(open|max)_fds",
        "up",
    ),
)
_STRING = r'"(?:\\.|[^"\\])*"'
# What may hold names that are not those of metrics.
_LABELS = rf"{_STRING}|\{{[^}}]*\}}|\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)"


def needs(*expressions: str) -> list[Need]:
    """List what expressions need, in the order of `NEEDS`."""
    found = {name for expression in expressions for name in _names(expression)}
    return [it for it in NEEDS if any(re.fullmatch(it.metrics, name) for name in found)]


def state(needed: list[Need], window: str) -> str:
    """1 for each need that is met within the window, else 0; with its text as labels."""
    return " or ".join(
        _labelled(
            f"group(last_over_time({it.evidence}[{it.window or window + ']'})) or vector(0)", it
        )
        for it in needed
    )


def _labelled(expression: str, need: Need) -> str:
    texts = {NEED: need.name, REQUIRES: need.requires.replace("`", "")}
    for label, text in texts.items():
        expression = f'label_replace({expression}, "{label}", {quoted(text)}, "", "")'
    return expression


def or_none(expression: str, evidence: str, label: str, text: str) -> str:
    """Evaluate an expression; where it has no value though there is evidence, zero with a text."""
    none = f'label_replace(0 * group({evidence}), "{label}", {quoted(text)}, "", "")'
    return f"({expression}) or on () {none}"


def _names(expression: str) -> set[str]:
    """Find the names of metrics, and the regular expressions of names, among other words."""
    patterns = (it[1:-1] for it in re.findall(rf"__name__=~({_STRING})", expression))
    without_strings = re.sub(_STRING, '""', expression)
    words = re.findall(r"[A-Za-z_:][\w:]*", re.sub(_LABELS, " ", without_strings))
    return {*patterns, *words}
