"""Count: the number of usage events; zero without usage."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.grouping import group, with_value


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return group(states, keys, {"count": "sum"})


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    merged = _merge(states, keys)
    return with_value(merged, keys, merged["count"].cast(pa.utf8()))


COUNT = Aggregation(AggregationName.COUNT, ("count",), _merge, _quantities, empty="0")
