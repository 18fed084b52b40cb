"""Usage events as they come through the door for columns: a record batch in stored form, from the socket to the log."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.eventstore.usage_batch import property_keys, usage_schema
from services.ingest.partition import partition_of


@dataclass(frozen=True, slots=True)
class UsageColumns:
    """A record batch whose columns are those of services/eventstore/usage_batch.py, every row of it valid."""

    batch: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def work(self) -> int:
        """The rows: columns are in the form of the log already."""
        return len(self)

    def property_keys(self) -> set[str]:
        """Every property key that there is a column for."""
        return set(property_keys(self.batch))

    def source_names(self) -> set[str]:
        """Every source that occurs."""
        return set(self.batch.column("source").unique().dictionary_decode().to_pylist())

    def divided(self, partitions: int) -> "dict[int, tuple[NDArray[np.int64] | None, UsageColumns]]":
        """By partition: which rows belong to it (None for all), in order, and these rows."""
        source = self.batch.column("source")
        by_name = np.array([partition_of(name, partitions) for name in source.dictionary.to_pylist()], np.int64)
        by_row = by_name[indices_of(source)]
        found = np.unique(by_row).tolist()
        if len(found) == 1:
            return {found[0]: (None, self)}
        rows = {partition: np.flatnonzero(by_row == partition) for partition in found}
        return {partition: (own, UsageColumns(self.batch.take(pa.array(own)))) for partition, own in rows.items()}


def indices_of(column: pa.DictionaryArray) -> NDArray[np.int32]:
    """The dictionary index of each row; the column must have no nulls."""
    indices: NDArray[np.int32] = column.indices.to_numpy(zero_copy_only=False)
    return indices


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of all batches in stored form, in order; a property that a batch has no column for is null there."""
    if len(batches) == 1:
        return batches[0]
    keys = sorted(set().union(*map(property_keys, batches)))
    whole = pa.concat_tables(map(pa.Table.from_batches, [[batch] for batch in batches]), promote_options="default")
    whole = whole.select(usage_schema(keys).names).unify_dictionaries().combine_chunks()
    return pa.RecordBatch.from_arrays([column.chunk(0) for column in whole.columns], schema=usage_schema(keys))


def compacted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without texts that no row refers to, and without properties that no row has."""
    columns = {name: _compacted(batch.column(name)) for name in batch.schema.names}
    kept = [key for key in property_keys(batch) if columns[f"p.{key}"].null_count < batch.num_rows]
    schema = usage_schema(kept)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _compacted(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    used = pc.unique(column.indices.drop_null())
    if len(used) == len(column.dictionary):
        return column
    renumbered = pc.index_in(column.indices, used)
    return pa.DictionaryArray.from_arrays(renumbered, column.dictionary.take(used))
