"""Unique count: how many different texts there are, exact; zero without usage. Every different text is kept."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.grouping import group, with_value


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return group(states, [*keys, "text"], {})


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    counted = group(_merge(states, keys), keys, {"text": "count"})
    return with_value(counted, keys, counted["text"].cast(pa.utf8()))


UNIQUE_COUNT = Aggregation(AggregationName.UNIQUE_COUNT, ("text",), _merge, _quantities, empty="0")
