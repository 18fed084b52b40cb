"""Weighted sum: a level over time, in units times hours; zero where every level is zero.

Whole hours keep LEVELS: the latest level of each subject and group, which says what carries into later time. A quantity
is counted from usage events (see level_states.py) as integrals in units times microseconds, exact, which add up; it is
divided by an hour at the very end, half up at the 12th fractional digit.
"""

from collections.abc import Sequence

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation, AggregationName
from services.aggregator.aggregations.grouping import group, with_value
from services.aggregator.aggregations.time_order import COLUMNS, latest
from services.kernel.quantity import decimal_text, quotient

HOUR_US = 3_600_000_000


def _merge(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    return group(states, keys, {"number": "sum"})


def _quantities(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    merged = _merge(states, keys)
    hours = [decimal_text(quotient(integral, HOUR_US)) for integral in merged["number"].to_pylist()]
    return with_value(merged, keys, pa.array(hours, pa.utf8()))


def _asks_levels(_states: pa.Table, _keys: Sequence[str]) -> pa.Table:
    raise AssertionError("levels are no quantity: ask aggregation_of(meter)")


WEIGHTED_SUM = Aggregation(
    AggregationName.WEIGHTED_SUM, ("number",), _merge, _quantities, empty="0", is_from_usage=True
)

LEVELS = Aggregation(AggregationName.WEIGHTED_SUM, COLUMNS, latest, _asks_levels, empty="0", is_from_usage=True)
