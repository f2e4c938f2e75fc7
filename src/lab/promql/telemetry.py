"""The telemetry's own way: is every span stored, does every push arrive, is any limit near.

Spans go from the clinic to the trace store, numbers from the clinic, k6 and the store to
Prometheus. `each` is a span of time such as `20s`, or the whole range of a page.
"""

from lab.promql.selectors import SPAN_CALLS, quoted
from lab.promql.service import OF_THE_CLINIC, grown

STORE = 'job="traces"'

# What Tempo has taken in, or what Jaeger has written: each names its own series.
TAKEN = "tempo_distributor_spans_received_total|otelcol_exporter_sent_spans_total"
DISCARDED = "tempo_discarded_spans_total"

PROCESSED = "otel_sdk_processor_span_processed_total"
EXPORTED = "otel_sdk_exporter_span_exported_total"
# What a span takes, at the most, from the clinic's counter to the trace store's as it is scraped.
ON_THE_WAY = "15s"
RECEIVERS = 'handler=~"/api/v1/(write|otlp/v1/metrics)"'


# Spans


def made(window: str) -> str:
    """Count the spans that ended in the clinic, as far as they left its queue."""
    return added(f"{PROCESSED}{{{OF_THE_CLINIC}}}", window)


def sent(window: str) -> str:
    """Count the spans that the trace store said it took."""
    return added(f'{EXPORTED}{{{OF_THE_CLINIC},error_type=""}}', window)


def dropped(window: str) -> str:
    """Count the spans for which the clinic's queue had no room."""
    return _or_none(added(f'{PROCESSED}{{{OF_THE_CLINIC},error_type!=""}}', window), made(window))


def given_up(window: str) -> str:
    """Count the spans whose sending failed or took too long; a slow store may have them yet."""
    return _or_none(added(f'{EXPORTED}{{{OF_THE_CLINIC},error_type!=""}}', window), made(window))


def stored(window: str) -> str:
    """Count the spans that the trace store kept."""
    taken = f'{{__name__=~{quoted(TAKEN)},exporter=~"|jaeger_storage_exporter",{STORE}}}'
    return f"{added(taken, window)} - ({discarded(window)} or vector(0))"


def missing(window: str) -> str:
    """Count the spans that were made, long enough ago to be counted, and are not stored."""
    long_ago = f"last_over_time(({made(window)})[5s:5s] offset {ON_THE_WAY})"
    return f"clamp_min({long_ago} - ({stored(window)}), 0)"


def discarded(window: str) -> str:
    """Count the spans that Tempo took and threw away."""
    return added(f"{DISCARDED}{{{STORE}}}", window)


def discarded_by_reason(window: str) -> str:
    """Count the spans that Tempo took and threw away, for each reason."""
    return f"sum by (reason) ({grown(f'{DISCARDED}{{{STORE}}}', window)})"


def queue(window: str) -> str:
    """Count the spans that wait in the fullest queue of the clinic's processes."""
    size = f"otel_sdk_processor_span_queue_size{{{OF_THE_CLINIC}}}"
    return f"max(max_over_time({size}[{window}]))"


def queue_limit(window: str) -> str:
    """Give the spans for which such a queue has room."""
    capacity = f"otel_sdk_processor_span_queue_capacity{{{OF_THE_CLINIC}}}"
    return f"max(last_over_time({capacity}[{window}]))"


def export_seconds(quantile: float, window: str) -> str:
    """Give a quantile of the seconds that sending a batch of spans took."""
    duration = f"otel_sdk_exporter_operation_duration_seconds{{{OF_THE_CLINIC}}}"
    return f"histogram_quantile({quantile}, sum(rate({duration}[{window}]))) >= 0"


# Pushes to Prometheus


def silence_of_clinic() -> str:
    """Give the seconds since the clinic's newest number; to the minute after five minutes."""
    number = f"process_memory_usage_bytes{{{OF_THE_CLINIC}}}"
    long_ago = f"max(max_over_time(timestamp({number})[{LONGEST_SILENCE}:1m]))"
    return f"time() - (max(timestamp({number})) or {long_ago})"


LONGEST_SILENCE = "6h"


def silence_of_store() -> str:
    """Give the seconds since the trace store's newest span metric; nothing when it has none."""
    return f"time() - max(timestamp({SPAN_CALLS}))"


def silence_of_k6() -> str:
    """Give the seconds since the newest push of a running load; nothing when there is none."""
    return "time() - min(max by (testid) (timestamp(k6_vus)))"


def pushes(window: str) -> str:
    """Give the pushes that Prometheus answered a second, by receiver and status code."""
    answered = grown(f"prometheus_http_requests_total{{{RECEIVERS}}}", window)
    return f"sum by (handler, code) ({answered}) / {window}"


# What is lost of numbers, by the counter that says so. Out of order histograms are left out: k6
# sends its last ones twice, which Prometheus counts there, and nothing is lost.
LOST_SAMPLES = {
    "out of order": 'prometheus_tsdb_out_of_order_samples_total{type="float"}',
    "too late": "prometheus_tsdb_too_old_samples_total",
    "out of bounds": "prometheus_tsdb_out_of_bound_samples_total",
    "twice at one time": "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "wrong labels": "prometheus_api_remote_write_invalid_labels_samples_total",
    "not pushed by Tempo": "prometheus_remote_storage_histograms_failed_total",
    "not pushed by Jaeger": "otelcol_exporter_send_failed_metric_points_total",
}


# Scrapes, rules and notifications


def scraped() -> str:
    """Give 1 for each target that Prometheus reached, 0 for the others."""
    return "min by (instance) (up)"


def scrape_seconds() -> str:
    """Give the seconds that reading each target took."""
    return "max by (instance) (scrape_duration_seconds)"


FAILED_RULES = {
    "failed": "prometheus_rule_evaluation_failures_total",
    "left out": "prometheus_rule_group_iterations_missed_total",
}
NOTICES = {
    "sent": "alertmanager_notifications_total",
    "failed": "alertmanager_notifications_failed_total",
    "Alertmanager not reached": "prometheus_notifications_errors_total",
    "dropped by Prometheus": "prometheus_notifications_dropped_total",
}


# Limits: how much of each is used, 0 to 1


def share_of_queue(window: str) -> str:
    """Give the share of the clinic's span queue that is taken."""
    return f"{queue(window)} / ({queue_limit(window)} > 0)"


def share_of_disk() -> str:
    """Give the share of the disk space that Prometheus may take before it forgets the oldest."""
    limit = "sum(prometheus_tsdb_retention_limit_bytes)"
    return f"{prometheus_bytes()} / ({limit} > 0)"


def share_of_days() -> str:
    """Give the share of its days that Prometheus remembers already; at 1 it forgets the oldest."""
    oldest = "max(prometheus_tsdb_lowest_timestamp_seconds)"
    return f"(time() - {oldest}) / (max(prometheus_tsdb_retention_limit_seconds) > 0)"


def share_of_exemplars() -> str:
    """Give the share of the room for exemplars that is taken; the oldest give way."""
    room = "sum(prometheus_tsdb_exemplar_max_exemplars)"
    return f"sum(prometheus_tsdb_exemplar_exemplars_in_storage) / ({room} > 0)"


def share_of_files() -> str:
    """Give the share of the files that each program may open and has."""
    return "max by (instance) (process_open_fds / (process_max_fds > 0))"


def share_of_store_series() -> str:
    """Give the share of the series that Tempo may make of spans; above it new ones are dropped."""
    most = f"sum(tempo_metrics_generator_registry_max_active_series{{{STORE}}})"
    return f"{store_series()} / ({most} > 0)"


# What there is


def series() -> str:
    """Count the series that Prometheus holds in memory."""
    return "sum(prometheus_tsdb_head_series)"


def store_series() -> str:
    """Count the series that Tempo makes of spans."""
    return f"sum(tempo_metrics_generator_registry_active_series{{{STORE}}})"


def live_traces() -> str:
    """Count the traces that Tempo still expects spans of."""
    return f"sum(tempo_live_store_live_traces{{{STORE}}})"


def dropped_edges(window: str) -> str:
    """Count the calls that Tempo could not draw in the service graph, for want of room.

    A counter, though not named as one: `increase` would warn of it.
    """
    name = "tempo_metrics_generator_processor_service_graphs_dropped_spans"
    return f"clamp_min(sum(delta({name}{{{STORE}}}[{window}])), 0)"


def prometheus_bytes() -> str:
    """Give the bytes that Prometheus takes on disk."""
    parts = "storage_blocks|wal_storage_size|head_chunks_storage_size|out_of_order_wbl_storage_size"
    return f'sum({{__name__=~"prometheus_tsdb_({parts})_bytes"}})'


def store_bytes() -> str:
    """Give the bytes that the trace store's blocks take on disk."""
    return f"sum(tempodb_backend_bytes_total{{{STORE}}})"


def free_bytes() -> str:
    """Give the bytes that are free on the disk of the stack."""
    return "min(notifications_disk_free_bytes)"


def memory() -> str:
    """Give the bytes of memory that each scraped program holds."""
    passed = "process_resident_memory_bytes|otelcol_process_memory_rss_bytes"
    return f"max by (instance) ({{__name__=~{quoted(passed)}}})"


def added(counter: str, window: str) -> str:
    """Count what a counter grew by, over all its series."""
    return f"sum({grown(counter, window)})"


def _or_none(counted: str, where: str) -> str:
    """Give zero, not nothing, where there was something to count."""
    return f"{counted} or 0 * {where}"
