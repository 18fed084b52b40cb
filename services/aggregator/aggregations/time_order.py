"""Choice of the earliest or latest usage event of each key: by event time, ties by log position, then row."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.grouping import group, with_value
from services.aggregator.states.decimal_column import decimal_texts

COLUMNS = ("number", "at_us", "position", "row")

_ORDER = [("at_us", "ascending"), ("position", "ascending"), ("row", "ascending")]


def earliest(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The state of the earliest usage event of each key."""
    return _pick(states, keys, "min")


def latest(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The state of the latest usage event of each key."""
    return _pick(states, keys, "max")


def numbers(states: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The numbers of states that are one a key, as texts."""
    return with_value(states, keys, decimal_texts(states["number"]))


def _pick(states: pa.Table, keys: Sequence[str], function: str) -> pa.Table:
    in_order = pc.sort_indices(states, sort_keys=_ORDER)
    ranks = pc.cumulative_sum(pa.repeat(pa.scalar(1), states.num_rows), start=-1)
    ranked = states.select(list(keys)).take(in_order).append_column("rank", ranks)
    chosen = group(ranked, keys, {"rank": function})["rank"]
    return states.take(in_order.take(chosen)).select([*keys, *COLUMNS])
