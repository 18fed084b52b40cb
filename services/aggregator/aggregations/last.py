"""Last: the number of the latest usage event."""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.time_order import COLUMNS, latest, numbers


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return numbers(latest(states, keys), keys)


LAST = Aggregation(AggregationName.LAST, COLUMNS, latest, _quantities)
