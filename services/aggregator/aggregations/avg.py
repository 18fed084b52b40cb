"""Avg: the mean of the numbers, from their exact sum, rounded half up at the 12th fractional digit at the very end."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.grouping import group, with_value
from services.kernel.quantity import decimal_text, quotient


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return group(states, keys, {"count": "sum", "number": "sum"})


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    merged = _merge(states, keys)
    sums, counts = merged["number"].to_pylist(), merged["count"].to_pylist()
    means = [decimal_text(quotient(total, count)) for total, count in zip(sums, counts, strict=True)]
    return with_value(merged, keys, pa.array(means, pa.utf8()))


AVG = Aggregation(AggregationName.AVG, ("count", "number"), _merge, _quantities)
