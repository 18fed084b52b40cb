"""Sum: the exact sum of the numbers; zero without usage."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.grouping import group, with_value
from services.aggregator.states.decimal_column import decimal_texts


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return group(states, keys, {"number": "sum"})


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    merged = _merge(states, keys)
    return with_value(merged, keys, decimal_texts(merged["number"]))


SUM = Aggregation(AggregationName.SUM, ("number",), _merge, _quantities, empty="0")
