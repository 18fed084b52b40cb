"""Grouping of states by their keys."""

from collections.abc import Mapping, Sequence

import pyarrow as pa


def group(states: pa.Table, keys: Sequence[str], columns: Mapping[str, str]) -> pa.Table:
    """One row a key: the key columns, then each of `columns` under its own name, reduced by the Arrow function."""
    grouped = states.group_by(list(keys)).aggregate(list(columns.items()))
    grouped = grouped.select([*keys, *(f"{column}_{function}" for column, function in columns.items())])
    return grouped.rename_columns([*keys, *columns])


def with_value(states: pa.Table, keys: Sequence[str], value: pa.Array) -> pa.Table:
    """The key columns and the column "value"."""
    return states.select(list(keys)).append_column("value", value)
