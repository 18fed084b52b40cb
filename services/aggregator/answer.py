"""Answers a query: gathers states, merges them by window and asked group, and says the quantities."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from services.aggregator.aggregations.aggregation import Aggregation
from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.counting import group_values
from services.aggregator.deadline import Deadline
from services.aggregator.definition import SUBJECT_KEY
from services.aggregator.query import UsageQuery, UsageRow
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.window_states import window_states
from services.kernel.errors import RuleViolated

ROWS_MAX = 100_000
MERGE_ROWS = 200_000
"""States that are gathered before they are merged."""

Groups = Mapping[tuple[Any, ...], str]
"""The quantity of each window and group that occurs: window number, then the values of group_by."""


def answer(source: UsageSnapshot, query: UsageQuery, deadline: Deadline) -> list[UsageRow]:
    """One row a window and group that occurs, by window, then group; without group_by one row a window.

    Raises TimedOut, and RuleViolated for more than ROWS_MAX rows.
    """
    aggregation = AGGREGATIONS[query.meter.aggregation]
    keys = ["window", *(f"by_{index}" for index in range(len(query.group_by)))]
    states = _gathered(source, query, aggregation, keys, deadline)
    if states is None:
        return _rows(query, {}, aggregation.empty)
    quantities = aggregation.quantities(states, keys)
    _require_few(quantities.num_rows)
    columns = [quantities[name].to_pylist() for name in (*keys, "value")]
    found = {key: value for *key_parts, value in zip(*columns, strict=True) for key in (tuple(key_parts),)}
    return _rows(query, found, aggregation.empty)


def _gathered(
    source: UsageSnapshot, query: UsageQuery, aggregation: Aggregation, keys: list[str], deadline: Deadline
) -> pa.Table | None:
    gathered: list[pa.Table] = []
    merged_rows = 0
    for states in window_states(source, query):
        deadline.require()
        gathered.append(aggregation.merge(_by_asked_groups(states, query), keys))
        if sum(part.num_rows for part in gathered) > MERGE_ROWS + 2 * merged_rows:
            gathered = [aggregation.merge(pa.concat_tables(gathered), keys)]
            merged_rows = gathered[0].num_rows
    return pa.concat_tables(gathered) if gathered else None


def _by_asked_groups(states: pa.Table, query: UsageQuery) -> pa.Table:
    """The same states with one column for each key of the query's group_by, in its order, named by_0, by_1 …"""
    texts = states["group_text"].combine_chunks().dictionary_encode()
    groups = [group_values(text) for text in texts.dictionary.to_pylist()]
    for index, key in enumerate(query.group_by):
        if key == SUBJECT_KEY:
            column = states["subject"]
        else:
            place = query.meter.group_by.index(key)
            column = pa.array([values[place] for values in groups], pa.utf8()).take(texts.indices)
        states = states.append_column(f"by_{index}", column)
    return states


def _rows(query: UsageQuery, found: Groups, empty: str | None) -> list[UsageRow]:
    if not query.group_by:
        return [UsageRow(window, (), found.get((number,), empty)) for number, window in enumerate(query.windows)]
    return [UsageRow(query.windows[key[0]], key[1:], found[key]) for key in sorted(found)]


def _require_few(rows: int) -> None:
    if rows > ROWS_MAX:
        raise RuleViolated(
            f"the answer has {rows} rows, more than {ROWS_MAX}; narrow the range, or group by less",
            reason="TOO_MANY_ROWS",
        )
