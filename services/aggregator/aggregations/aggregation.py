"""What an aggregation is: the state of a usage event, how states merge, and the quantity that a state stands for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from services.aggregator.states.decimal_column import NUMBER

STATE_TYPES: dict[str, pa.DataType] = {
    "count": pa.int64(),
    "number": NUMBER,
    "at_us": pa.int64(),
    "position": pa.int64(),
    "row": pa.int64(),
    "text": pa.utf8(),
}
"""Every column that a state can have: number of usage events, a number, the event time, log position and row of the
usage event that the number comes from, and a text of which each different one counts."""


class AggregationName(StrEnum):
    """The aggregations by the name that stored events carry."""

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    FIRST = "first"
    LAST = "last"
    UNIQUE_COUNT = "unique_count"
    WEIGHTED_SUM = "weighted_sum"
    PERCENTILE = "percentile"


Merge = Callable[[pa.Table, Sequence[str]], pa.Table]
"""From a table of states and the names of its key columns (one or more) to a table of those columns."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A way to turn usage events into a quantity, by states that merge in any order and any grouping.

    A table of states has key columns and the `columns` of this aggregation. Each usage event is a state by itself, so
    a fold is a merge: `merge` leaves one row a key (for texts: one row a key and different text). `quantities` turns
    states into key columns and the column "value", decimal text, one row a key. `empty` is the quantity of no usage;
    None when there is none.

    What is `is_from_usage` is no sum of its hours: whole hours do not answer it, usage events do (see raw_states.py).
    What does not keep hours has no hour states at all. What `merges_late` has about as many states as usage events,
    however often they are merged: `usage_states` leaves them as they are, and whoever gathers many merges them.
    """

    name: AggregationName
    columns: tuple[str, ...]
    merge: Merge
    quantities: Merge
    empty: str | None = None
    is_from_usage: bool = False
    keeps_hours: bool = True
    merges_late: bool = False
