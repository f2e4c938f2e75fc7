import json
from collections.abc import Iterator
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from clinic.telemetry.series import MAX_PENDING, NO_EXEMPLAR, BatchedHistogram, Series
from tests.support.metrics import points

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"http.route": "/owners", "http.response.status_code": 200},
    {"http.route": "/owners", "http.response.status_code": 404},
]


def reader_and_histogram(
    aggregation: ExponentialBucketHistogramAggregation | None = None, **options: Any
) -> tuple[InMemoryMetricReader, Any]:
    reader = InMemoryMetricReader(**options)
    view = View(instrument_type=Histogram, aggregation=aggregation or BatchedHistogram())
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    return reader, provider.get_meter("clinic").create_histogram("duration", "s")


def described(reader: InMemoryMetricReader) -> list[dict[str, Any]]:
    """Return the points without times, the choice among exemplars, and empty buckets at the end."""
    described = [json.loads(point.to_json()) for point in points(reader, "duration")]
    for point in described:
        del point["time_unix_nano"], point["start_time_unix_nano"]
        point["sum"] = pytest.approx(point["sum"])
        for buckets in (point["positive"], point["negative"]):
            counts = buckets["bucket_counts"]
            while counts and not counts[-1]:
                counts.pop()
        for exemplar in point["exemplars"]:
            del exemplar["time_unix_nano"], exemplar["value"]
            exemplar["filtered_attributes"] = exemplar["filtered_attributes"] or {}
    return described


@pytest.fixture
def sampled() -> Iterator[None]:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = attach(set_span_in_context(NonRecordingSpan(context)))
    yield
    detach(token)


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    "temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]
)
def test_a_series_records_what_its_histogram_would(temporality: AggregationTemporality) -> None:
    preferred: Any = {Histogram: temporality}
    sdk = ExponentialBucketHistogramAggregation()
    expected, histogram = reader_and_histogram(sdk, preferred_temporality=preferred)
    actual, other = reader_and_histogram(preferred_temporality=preferred)
    series = [Series(other, attributes) for attributes in ATTRIBUTES]
    random = Random(1)  # noqa: S311 the same values in each run

    for spread in (0.01, 1, 300, 3):
        for _ in range(2 * MAX_PENDING * len(ATTRIBUTES)):
            number = random.randrange(len(ATTRIBUTES))
            power = 2.0 ** random.randrange(-30, 10)
            value = random.choice([0, 0.001, power, 10 ** random.uniform(-2 - spread, -2 + spread)])
            context = random.choice([None, None, Context(), NO_EXEMPLAR])
            histogram.record(value, ATTRIBUTES[number], context)
            series[number].record(value, context)
        now = described(actual)
        assert len(now) == len(ATTRIBUTES)
        assert any(point["exemplars"] for point in now)
        assert now == described(expected)


def test_exemplars_are_of_sampled_spans_only() -> None:
    reader, histogram = reader_and_histogram()
    series = Series(histogram, {})
    unsampled = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=False)))

    for _ in range(3):
        series.record(0.5, unsampled)
        series.record(0.5)

    (point,) = points(reader, "duration")
    assert (point.count, list(point.exemplars)) == (6, [])


@pytest.mark.usefixtures("sampled")
def test_an_untraced_value_of_a_sampled_request_is_no_exemplar() -> None:
    reader, histogram = reader_and_histogram()
    series = Series(histogram, {})

    for _ in range(3):
        series.record(0.5, NO_EXEMPLAR)

    (point,) = points(reader, "duration")
    assert (point.count, list(point.exemplars)) == (3, [])


def test_more_series_than_the_sdk_keeps_are_counted_together() -> None:
    reader, histogram = reader_and_histogram()

    for number in range(2005):
        series = Series(histogram, {"number": number})
        series.record(0.5)
        series.record(0.5)

    assert sum(point.count for point in points(reader, "duration")) == 2 * 2005


def test_values_that_are_recorded_during_an_export_are_counted_once() -> None:
    reader, histogram = reader_and_histogram()
    series = Series(histogram, {})
    recorded = Event()

    def export() -> None:
        while not recorded.is_set():
            reader.get_metrics_data()

    exporter = Thread(target=export)
    exporter.start()
    for _ in range(20 * MAX_PENDING):
        series.record(0.5, NO_EXEMPLAR)
    recorded.set()
    exporter.join()

    (point,) = points(reader, "duration")
    assert (point.count, sum(point.positive.bucket_counts)) == (20 * MAX_PENDING,) * 2
