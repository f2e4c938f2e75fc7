"""One series of a histogram: values with the same attributes.

The SDK checks, copies, sorts and hashes the attributes of each value, which costs more than to
count the value. Here it does so for the first value of a series only. If a newer SDK breaks this
module, `Histogram.record` can replace it.
"""
# ruff: noqa: SLF001 the SDK has no public access to its aggregations

from time import time_ns
from typing import Any, NamedTuple

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.util.types import Attributes


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
        """The SDK's, one for each reader and view; empty until the SDK has created them."""

    def record(self, value: float, context: Context | None = None) -> None:
        """Record a value, which must not be negative."""
        if not self.aggregations:
            self.histogram.record(value, self.attributes, context)
            self.aggregations = find_aggregations(self.histogram, self.attributes)
            return
        measured = Value(value, time_ns(), self.attributes, context or get_current())
        is_exemplar = self.exemplar_filter.should_sample(*measured)
        for aggregation in self.aggregations:
            aggregation.aggregate(measured, is_exemplar)


def find_aggregations(histogram: Any, attributes: Attributes) -> list[Any]:
    """Return the SDK's aggregations for these attributes; none if the SDK will replace them."""
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
    return [] if None in found else found
