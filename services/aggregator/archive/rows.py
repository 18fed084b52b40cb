"""Usage events as the archive holds them: all columns of a batch, and where in the log they stand.

Columns: at_us, position, row, recorded_at_us (int64), source, type, subject (dictionary), id (text), value
(decimal128(38, 12)), then "p.<key>" for the most used property keys. When there are more than COLUMNS_MAX keys, the
properties of the others are in `others`, a map of key to text.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import PROPERTY_PREFIX, TEXT, decode_usage
from services.kernel.clock import epoch_us

COLUMNS_MAX = 256
"""Properties that have columns of their own in one file."""

OTHERS = "others"
PLACE = ("at_us", "position", "row")
_OTHERS_TYPE = pa.map_(pa.utf8(), pa.utf8())


def event_rows(event: RecordedEvent) -> pa.Table:
    """The rows of one stored batch, in its order."""
    message = decode(event)
    assert isinstance(message, UsageRecorded)
    batch = decode_usage(message)
    columns = {
        "at_us": batch.column("time").view(pa.int64()),
        "position": pa.repeat(pa.scalar(event.position, pa.int64()), batch.num_rows),
        "row": pa.array(np.arange(batch.num_rows)),
        "recorded_at_us": pa.repeat(pa.scalar(epoch_us(event.recorded_at), pa.int64()), batch.num_rows),
    }
    columns |= {name: batch.column(name) for name in batch.schema.names if name != "time"}
    return pa.table(columns)


def pooled(parts: Sequence[pa.Table]) -> pa.Table:
    """The rows of all parts as one table, with at most COLUMNS_MAX properties in columns of their own."""
    uses: Counter[str] = Counter()
    for part in parts:
        uses += property_uses(part)
    kept = most_used(uses)
    narrow = [with_others(part, kept) for part in parts]
    return pa.concat_tables(narrow, promote_options="default").unify_dictionaries().combine_chunks()


def property_uses(part: pa.Table) -> Counter[str]:
    """How many rows have each property that has a column of its own."""
    return Counter({name: part.num_rows - part[name].null_count for name in property_columns(part.schema)})


def most_used(uses: Counter[str]) -> frozenset[str]:
    """The properties that get columns of their own where all are put together."""
    ranked = sorted(uses, key=lambda name: (-uses[name], name))
    return frozenset(ranked[:COLUMNS_MAX])


def property_columns(schema: pa.Schema) -> list[str]:
    """Its columns that are properties."""
    return [name for name in schema.names if name.startswith(PROPERTY_PREFIX)]


def sorted_rows(rows: pa.Table) -> pa.Table:
    """By subject, time, position and row: a subject's usage lies together."""
    subjects = rows["subject"].combine_chunks()
    by_text = pc.sort_indices(subjects.dictionary)
    ranks = np.empty(len(by_text), np.int32)
    ranks[by_text.to_numpy()] = np.arange(len(by_text), dtype=np.int32)
    keys = pa.table({"subject": ranks[subjects.indices.to_numpy()], **{name: rows[name] for name in PLACE}})
    return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))


def property_of(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """The column `name` ("p.<key>") of a table as it was written, wherever its texts lie; null where there are none."""
    column = rows[name] if name in rows.column_names else pa.chunked_array([pa.nulls(rows.num_rows, TEXT)])
    if OTHERS not in rows.column_names:
        return column
    found = pc.map_lookup(rows[OTHERS], name.removeprefix(PROPERTY_PREFIX), "first")
    return pc.coalesce(column.cast(pa.utf8()), found).dictionary_encode()


def with_others(part: pa.Table, kept: Collection[str]) -> pa.Table:
    """The part with the property columns that are not kept folded into `others`."""
    spare = [name for name in property_columns(part.schema) if name not in kept]
    if not spare:
        return part
    triples = list(_triples(part, spare))
    rows = np.concatenate([row for row, _, _ in triples])
    order = np.argsort(rows, kind="stable")
    offsets = np.searchsorted(rows[order], np.arange(part.num_rows + 1)).astype(np.int32)
    keys = pa.concat_arrays([key for _, key, _ in triples]).take(pa.array(order))
    texts = pa.concat_arrays([text for _, _, text in triples]).take(pa.array(order))
    others = pa.MapArray.from_arrays(pa.array(offsets), keys, texts)
    standing = [name for name in spare if name in part.column_names]
    if OTHERS in part.column_names:
        standing.append(OTHERS)
    return part.drop_columns(standing).append_column(OTHERS, others.cast(_OTHERS_TYPE))


def _triples(part: pa.Table, spare: Sequence[str]) -> Iterator[tuple[np.ndarray, pa.Array, pa.Array]]:
    """Row, key and text of every property that has no column of its own."""
    for name in spare:
        column = part[name].cast(pa.utf8()).combine_chunks()
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        key = pa.repeat(pa.scalar(name.removeprefix(PROPERTY_PREFIX), pa.utf8()), len(rows))
        yield rows, key, column.drop_null()
    if OTHERS in part.column_names:
        others = part[OTHERS].combine_chunks()
        offsets = others.offsets.to_numpy()
        begin, length = int(offsets[0]), int(offsets[-1] - offsets[0])
        rows = np.repeat(np.arange(part.num_rows), np.diff(offsets))
        yield rows, others.keys.slice(begin, length), others.items.slice(begin, length)
