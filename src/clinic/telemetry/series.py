"""One series of a histogram: values with the same attributes.

The SDK checks, copies, sorts and hashes the attributes of each value, which costs more than to
count the value. Here it does so for the first value of a series only, and values are counted many
at a time. If a newer SDK breaks this module, its own `ExponentialBucketHistogramAggregation` and
`Histogram.record` can replace it.
"""
# ruff: noqa: SLF001 the SDK has no public access to its aggregations

from collections import Counter, deque
from collections.abc import Iterable
from math import floor, frexp, log
from time import time_ns
from typing import Any, NamedTuple

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.sdk.metrics._internal.aggregation import _ExponentialBucketHistogramAggregation
from opentelemetry.sdk.metrics._internal.exponential_histogram.buckets import Buckets
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import (
    LogarithmMapping,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.trace import INVALID_SPAN, set_span_in_context
from opentelemetry.util.types import Attributes

MAX_PENDING = 1000
"""Values that wait to be counted."""

SMALL, LARGE = 1e-300, 1e300
HALF = 0.5
"""What `frexp` returns for a power of two."""


NO_EXEMPLAR = set_span_in_context(INVALID_SPAN, Context())
"""Records without an exemplar. An empty context would stand for the current one."""


class Value(NamedTuple):
    """A measurement, as an aggregation reads it."""

    value: float
    time_unix_nano: int
    attributes: Attributes
    context: Context


class Series:
    def __init__(self, histogram: Any, attributes: Attributes) -> None:
        self.histogram = histogram
        self.attributes = attributes
        self.exemplar_filter = histogram._measurement_consumer._sdk_config.exemplar_filter
        self.aggregations: list[Any] = []
        """One for each reader and view; empty until the SDK has created them."""

    def record(self, value: float, context: Context | None = None) -> None:
        """Record a value, which must not be negative."""
        if not self.aggregations:
            self.histogram.record(value, self.attributes, context)
            self.aggregations = find_aggregations(self.histogram, self.attributes)
            return
        if context is NO_EXEMPLAR:
            for aggregation in self.aggregations:
                aggregation.add(value)
            return
        measured = Value(value, time_ns(), self.attributes, context or get_current())
        is_exemplar = self.exemplar_filter.should_sample(*measured)
        for aggregation in self.aggregations:
            aggregation.aggregate(measured, is_exemplar)


def find_aggregations(histogram: Any, attributes: Attributes) -> list[Any]:
    """Return the aggregations for these attributes; none if the SDK will replace them.

    Nor if a view or a test has chosen another aggregation.
    """
    key = _hash_attributes(attributes)
    matches = [
        match
        for storage in histogram._measurement_consumer._reader_storages.values()
        for match in storage._get_or_init_view_instrument_match(histogram)
    ]
    found = [
        None if match._reset_on_collect else match._attributes_aggregation.get(key)
        for match in matches
    ]
    return found if all(isinstance(one, BatchedAggregation) for one in found) else []


class BatchedHistogram(ExponentialBucketHistogramAggregation):
    """Makes an instrument an exponential histogram that counts many values at a time."""

    def _create_aggregation(self, *arguments: Any, **options: Any) -> Any:
        aggregation: Any = super()._create_aggregation(*arguments, **options)
        aggregation.__class__ = BatchedAggregation
        aggregation.pending = deque()
        return aggregation


class BatchedAggregation(_ExponentialBucketHistogramAggregation):
    """Counts values when there are many of them, and before each export."""

    pending: deque[float]
    _mapping: Any
    _value_positive: Any
    _value_negative: Any
    _sum: Any
    _scale: Any

    def aggregate(
        self,
        measurement: Any,
        should_sample_exemplar: bool = True,  # noqa: FBT001, FBT002 the SDK's signature
    ) -> None:
        self.add(measurement.value)
        if measurement.value:
            self._sample_exemplar(measurement, should_sample_exemplar)

    def add(self, value: float) -> None:
        self.pending.append(value)
        if len(self.pending) >= MAX_PENDING:
            self.count()

    def collect(self, *arguments: Any, **options: Any) -> Any:
        self.count()
        return super().collect(*arguments, **options)

    def count(self) -> None:
        """Count the pending values, as the SDK's `aggregate` does with each."""
        with self._lock:
            # Other threads may add values meanwhile.
            values = [self.pending.popleft() for _ in range(len(self.pending))]
            if not values:
                return
            if self._value_positive is None:
                self._value_positive, self._value_negative = Buckets(), Buckets()  # type: ignore[no-untyped-call]
            self._sum += sum(values)
            self._min = min(self._min, *values)
            self._max = max(self._max, *values)
            self._count += len(values)
            self._zero_count += values.count(0)
            if self._count == self._zero_count:
                self._scale = 0
            if indexes := Counter(self.indexes(value for value in values if value)):
                self.increment(self._value_positive, indexes)

    def indexes(self, values: Iterable[float]) -> Iterable[int]:
        """Return the index of the bucket of each value."""
        mapping = self._mapping
        find = mapping.map_to_index
        if not isinstance(mapping, LogarithmMapping):
            return map(find, values)
        factor: float = mapping._scale_factor
        return (
            # The SDK's formula for values that are neither powers of two nor denormalized.
            floor(log(value) * factor)
            if SMALL < value < LARGE and frexp(value)[0] != HALF
            else find(value)
            for value in values
        )

    def increment(self, buckets: Any, indexes: Counter[int]) -> None:
        """Increment buckets; where there would be too many, merge neighbours first."""
        low, high = min(indexes), max(indexes)
        if len(buckets):
            low, high = min(low, buckets.index_start), max(high, buckets.index_end)
        change = self._get_scale_change(low, high)  # type: ignore[no-untyped-call]
        if change:
            self._downscale(change, buckets, self._value_negative)
            self._mapping = self._new_mapping(self._mapping.scale - change)
        self._scale = self._mapping.scale
        low, high = low >> change, high >> change
        if not len(buckets):
            buckets.index_start = buckets.index_end = buckets.index_base = low
        if high - low >= len(buckets.counts):
            buckets.grow(high - low + 1, self._max_size)
        buckets.index_start, buckets.index_end = low, high
        for index, number in indexes.items():
            place = (index >> change) - buckets.index_base
            buckets.increment_bucket(place % len(buckets.counts), number)
