"""Grouping of states by their keys."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc


def group(states: pa.Table, keys: Sequence[str], columns: Mapping[str, str]) -> pa.Table:
    """One row a key: the key columns, then each of `columns` under its own name, reduced by the Arrow function."""
    grouped = states.group_by(list(keys)).aggregate(list(columns.items()))
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
        paired = pc.add(pc.multiply(codes, len(coded.dictionary)), coded.indices.cast(pa.int64()))
        codes = paired.dictionary_encode().indices.cast(pa.int64())
    return codes
