"""The telemetry pipeline: whether spans are stored, samples arrive and limits are near.

Spans go from the clinic to the trace store, metrics from the clinic, k6 and the trace store to
Prometheus.
"""

from lab.promql.api import CLINIC, increase, total_increase
from lab.promql.load_run import VIRTUAL_USERS
from lab.promql.selectors import SPAN_CALLS, SPAN_LABEL, histogram_quantile, quoted

# Services start one after the other, the API last.
START = "2m"

TRACE_STORE = 'job="traces"'
PROMETHEUS = 'job="prometheus"'
NODE = 'job="node"'

RECEIVED = "tempo_distributor_spans_received_total"
WRITTEN = "otelcol_exporter_sent_spans_total"
DISCARDED = f"tempo_discarded_spans_total{{{TRACE_STORE}}}"
# What Tempo received or Jaeger wrote to its storage: each names its own series. What Jaeger
# received is not the same: it can fail to write it.
ACCEPTED = (
    f'{{__name__=~"{RECEIVED}|{WRITTEN}",exporter=~"|jaeger_storage_exporter",{TRACE_STORE}}}'
)

# Spans of a run without an operation.
K6_SPANS = f'{SPAN_CALLS}{{k6_test_run_id!="",{SPAN_LABEL}=""}}'

PROCESSED = "otel_sdk_processor_span_processed_total"
EXPORTED = "otel_sdk_exporter_span_exported_total"
QUEUE_FULL = f'{PROCESSED}{{{CLINIC},error_type!=""}}'
EXPORT_FAILED = f'{EXPORTED}{{{CLINIC},error_type!=""}}'
# The longest time between the clinic's count of a span and the scrape of the trace store's.
TRANSIT = "15s"
RECEIVERS = 'handler=~"/api/v1/(write|otlp/v1/metrics)"'

# Counters of lost spans and samples, one a line: each is a selector of one metric.
SPANS_NOT_EXPORTED = (QUEUE_FULL, EXPORT_FAILED)
SPANS_NOT_STORED = (
    DISCARDED,
    f"tempo_receiver_refused_spans{{{TRACE_STORE}}}",
    f"otelcol_receiver_refused_spans_total{{{TRACE_STORE}}}",
    f"otelcol_receiver_failed_spans_total{{{TRACE_STORE}}}",
    f"otelcol_exporter_send_failed_spans_total{{{TRACE_STORE}}}",
    f"otelcol_exporter_enqueue_failed_spans_total{{{TRACE_STORE}}}",
    # Stored, and missing from the span metrics.
    f"tempo_metrics_generator_spans_discarded_total{{{TRACE_STORE}}}",
    f"tempo_metrics_generator_registry_series_limited_total{{{TRACE_STORE}}}",
)
LOST_SAMPLES = {
    # Rejected by the storage. Histograms out of order are left out: k6 sends its last ones twice,
    # which Prometheus counts there, and nothing is lost.
    "out of order": f'prometheus_tsdb_out_of_order_samples_total{{{PROMETHEUS},type="float"}}',
    "too old": f"prometheus_tsdb_too_old_samples_total{{{PROMETHEUS}}}",
    "out of bounds": f"prometheus_tsdb_out_of_bound_samples_total{{{PROMETHEUS}}}",
    # Rejected by the receivers, or twice in one scrape.
    "rejected writes": f'prometheus_http_requests_total{{{PROMETHEUS},{RECEIVERS},code=~"[45].."}}',
    "invalid labels": f"prometheus_api_remote_write_invalid_labels_samples_total{{{PROMETHEUS}}}",
    "duplicate timestamp": (
        f"prometheus_target_scrapes_sample_duplicate_timestamp_total{{{PROMETHEUS}}}"
    ),
    # Accepted, and perhaps not on disk.
    "WAL write failed": f"prometheus_tsdb_wal_writes_failed_total{{{PROMETHEUS}}}",
    "compaction failed": f"prometheus_tsdb_compactions_failed_total{{{PROMETHEUS}}}",
    # Span metrics that the trace store could not send.
    "Tempo: samples failed": f"prometheus_remote_storage_samples_failed_total{{{TRACE_STORE}}}",
    "Tempo: samples dropped": f"prometheus_remote_storage_samples_dropped_total{{{TRACE_STORE}}}",
    "Tempo: histograms failed": (
        f"prometheus_remote_storage_histograms_failed_total{{{TRACE_STORE}}}"
    ),
    "Tempo: histograms dropped": (
        f"prometheus_remote_storage_histograms_dropped_total{{{TRACE_STORE}}}"
    ),
    "Jaeger: send failed": f"otelcol_exporter_send_failed_metric_points_total{{{TRACE_STORE}}}",
    "Jaeger: queue full": f"otelcol_exporter_enqueue_failed_metric_points_total{{{TRACE_STORE}}}",
}


# Spans


def spans_created(window: str) -> str:
    """Spans that ended in the clinic and have left its queue."""
    return total_increase(f"{PROCESSED}{{{CLINIC}}}", window)


def spans_exported(window: str) -> str:
    """Spans that the trace store acknowledged."""
    return total_increase(f'{EXPORTED}{{{CLINIC},error_type=""}}', window)


def spans_dropped(window: str) -> str:
    """Spans for which the clinic's queue had no room."""
    return _or_zero(total_increase(QUEUE_FULL, window), spans_created(window))


def spans_failed(window: str) -> str:
    """Spans whose export failed or timed out; after a timeout they may be stored all the same."""
    return _or_zero(total_increase(EXPORT_FAILED, window), spans_created(window))


def spans_stored(window: str) -> str:
    """Spans of the clinic that the trace store kept; an estimate if it restarted meanwhile."""
    others = f"({spans_discarded(window)} or vector(0)) - ({spans_of_k6(window)} or vector(0))"
    return f"{total_increase(ACCEPTED, window)} - {others}"


def spans_of_k6(window: str) -> str:
    """Spans of whole iterations that k6's script sent."""
    return total_increase(K6_SPANS, window)


def spans_missing(window: str, stored_window: str = "") -> str:
    """Spans that the trace store acknowledged long enough ago to be counted, and has not stored.

    A longer window for what is stored covers spans that were in transit when the window began.
    """
    exported = f"last_over_time(({spans_exported(window)})[5s:5s] offset {TRANSIT})"
    return f"clamp_min({exported} - ({spans_stored(stored_window or window)}), 0)"


def spans_discarded(window: str, by: str = "") -> str:
    """Spans that Tempo received and discarded."""
    return total_increase(DISCARDED, window, by)


def queue_size(window: str) -> str:
    """Spans that wait in the fullest queue of the clinic's processes."""
    return f"max(max_over_time(otel_sdk_processor_span_queue_size{{{CLINIC}}}[{window}]))"


def queue_capacity(window: str) -> str:
    """Spans for which such a queue has room."""
    return f"max(last_over_time(otel_sdk_processor_span_queue_capacity{{{CLINIC}}}[{window}]))"


def export_quantile(quantile: float, window: str) -> str:
    """Quantile of the seconds that exporting a batch of spans took."""
    duration = f"otel_sdk_exporter_operation_duration_seconds{{{CLINIC}}}"
    return histogram_quantile(quantile, f"sum(rate({duration}[{window}]))")


def service_graph_drops(window: str) -> str:
    """Calls that Tempo had no room for in the service graph.

    A counter, though not named as one: `increase` would warn of it.
    """
    name = "tempo_metrics_generator_processor_service_graphs_dropped_spans"
    return f"clamp_min(sum(delta({name}{{{TRACE_STORE}}}[{window}])), 0)"


def trace_store_restarts(window: str) -> str:
    """Number of starts of the trace store within the window, after the first sample in it."""
    tempo = f"changes(process_start_time_seconds{{{TRACE_STORE}}}[{window}])"
    jaeger = f"resets(otelcol_process_uptime_seconds_total{{{TRACE_STORE}}}[{window}])"
    return f"sum({tempo} or {jaeger})"


# Pushes to Prometheus


def clinic_silence() -> str:
    """Seconds since the clinic's newest sample; to the minute after five minutes."""
    sample = f"process_memory_usage_bytes{{{CLINIC}}}"
    older = f"max(max_over_time(timestamp({sample})[6h:1m]))"
    return f"time() - (max(timestamp({sample})) or {older})"


def trace_store_silence() -> str:
    """Seconds since the trace store's newest span metric."""
    return f"time() - max(timestamp({SPAN_CALLS}))"


def k6_silence() -> str:
    """Seconds since the newest push of a running load; no value when there is none."""
    return f"time() - min(max by (testid) (timestamp({VIRTUAL_USERS})))"


def push_rate(window: str) -> str:
    """Pushes per second to Prometheus, by receiver and status code of the response."""
    pushes = increase(f"prometheus_http_requests_total{{{RECEIVERS}}}", window)
    return f"sum by (handler, code) ({pushes}) / {window}"


# Scrapes, rules and notifications


def after_start(condition: str) -> str:
    """Return a condition without values while Prometheus, and so perhaps the stack, starts."""
    age = f"time() - max(process_start_time_seconds{{{PROMETHEUS}}})"
    return f"({condition})\nunless on () ({age} < {START})"


def target_up() -> str:
    """1 for each target that Prometheus could scrape, 0 for the others."""
    return "min by (instance) (up)"


def scrape_seconds() -> str:
    """Seconds that scraping each target took."""
    return "max by (instance) (scrape_duration_seconds)"


RULE_FAILURES = {
    "failed": "prometheus_rule_evaluation_failures_total",
    "missed": "prometheus_rule_group_iterations_missed_total",
}
NOTIFICATIONS = {
    "sent": "alertmanager_notifications_total",
    "failed": "alertmanager_notifications_failed_total",
    "Alertmanager not reached": "prometheus_notifications_errors_total",
    "dropped by Prometheus": "prometheus_notifications_dropped_total",
}


def size_retentions(window: str) -> str:
    """Times that Prometheus reached its size limit and deleted its oldest samples."""
    return f"round(increase(prometheus_tsdb_size_retentions_total[{window}]))"


# Limits: how much of each is used, 0 to 1


def queue_usage(window: str) -> str:
    """Share of the clinic's span queue in use."""
    return f"{queue_size(window)} / ({queue_capacity(window)} > 0)"


def retention_size_usage() -> str:
    """Share of the disk space that Prometheus may use before it deletes the oldest samples."""
    limit = "sum(prometheus_tsdb_retention_limit_bytes)"
    return f"{prometheus_bytes()} / ({limit} > 0)"


def retention_time_usage() -> str:
    """Age of the oldest sample as a share of the retention time."""
    oldest = "max(prometheus_tsdb_lowest_timestamp_seconds)"
    return f"(time() - {oldest}) / (max(prometheus_tsdb_retention_limit_seconds) > 0)"


def exemplar_usage() -> str:
    """Share of the exemplar storage in use; the oldest are overwritten."""
    limit = "sum(prometheus_tsdb_exemplar_max_exemplars)"
    return f"sum(prometheus_tsdb_exemplar_exemplars_in_storage) / ({limit} > 0)"


def file_descriptor_usage() -> str:
    """Share of the file descriptors that each program may open."""
    return "max by (instance) (process_open_fds / (process_max_fds > 0))"


def span_series_usage() -> str:
    """Share of the series that Tempo may make of spans; above it new ones are dropped."""
    limit = f"sum(tempo_metrics_generator_registry_max_active_series{{{TRACE_STORE}}})"
    return f"{span_series()} / ({limit} > 0)"


# Sizes


def prometheus_series() -> str:
    """Series that Prometheus holds in memory."""
    return "sum(prometheus_tsdb_head_series)"


def span_series() -> str:
    """Series that Tempo makes of spans."""
    return f"sum(tempo_metrics_generator_registry_active_series{{{TRACE_STORE}}})"


def live_traces() -> str:
    """Traces for which Tempo still expects spans."""
    return f"sum(tempo_live_store_live_traces{{{TRACE_STORE}}})"


def prometheus_bytes() -> str:
    """Bytes that Prometheus uses on disk."""
    areas = "storage_blocks|wal_storage_size|head_chunks_storage_size|out_of_order_wbl_storage_size"
    return f'sum({{__name__=~"prometheus_tsdb_({areas})_bytes"}})'


def trace_store_bytes() -> str:
    """Bytes that Tempo's blocks use on disk."""
    return f"sum(tempodb_backend_bytes_total{{{TRACE_STORE}}})"


def disk_free_bytes() -> str:
    """Free bytes on the disk of the stack; node_exporter reports that one filesystem."""
    return f"min(node_filesystem_avail_bytes{{{NODE}}})"


def memory_bytes() -> str:
    """Resident memory of each scraped program."""
    names = "process_resident_memory_bytes|otelcol_process_memory_rss_bytes"
    return f"max by (instance) ({{__name__=~{quoted(names)}}})"


def _or_zero(count: str, where: str) -> str:
    """Zero, rather than no value, where there was something to count."""
    return f"{count} or 0 * {where}"
