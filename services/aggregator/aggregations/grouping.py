"""Grouping of states by their keys."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

THREADS_ROWS = 200_000
"""States from which on Arrow's threads share their grouping.

Those threads are few, and everybody's: fewer states are grouped sooner by the thread that has them than by waiting for
one that archives, or counts a whole month.
"""


def group(states: pa.Table, keys: Sequence[str], columns: Mapping[str, str]) -> pa.Table:
    """One row a key: the key columns, then each of `columns` under its own name, reduced by the Arrow function."""
    is_large = states.num_rows >= THREADS_ROWS
    grouped = states.group_by(list(keys), use_threads=is_large).aggregate(list(columns.items()))
    grouped = grouped.select([*keys, *(f"{column}_{function}" for column, function in columns.items())])
    return grouped.rename_columns([*keys, *columns])


def with_value(states: pa.Table, keys: Sequence[str], value: pa.Array) -> pa.Table:
    """The key columns and the column "value"."""
    return states.select(list(keys)).append_column("value", value)


def key_codes(states: pa.Table, keys: Sequence[str]) -> pa.Array:
    """A number for each row, from 0 without gaps: rows with equal keys have the same."""
    codes = pa.repeat(pa.scalar(0, pa.int64()), states.num_rows)
    for name in keys:
        column = states[name].combine_chunks()
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        if len(coded.dictionary) == 1 and not coded.null_count:
            continue
        paired = pc.add(pc.multiply(codes, len(coded.dictionary)), coded.indices.cast(pa.int64()))
        codes = paired.dictionary_encode().indices.cast(pa.int64())
    return codes
