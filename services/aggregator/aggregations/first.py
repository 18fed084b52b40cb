"""First: the number of the earliest usage event."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.time_order import COLUMNS, earliest, numbers


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return numbers(earliest(states, keys), keys)


FIRST = Aggregation(AggregationName.FIRST, COLUMNS, earliest, _quantities)
