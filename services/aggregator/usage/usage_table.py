"""Usage events of many stored batches as one Arrow table, decoded only as far as somebody asks."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import TEXT, decode_usage
from services.eventstore.usage_batch import USAGE_EVENTS_MAX as BATCH_ROWS_MAX
from services.kernel.clock import epoch_us

USAGE_EVENTS_MAX = 1_000_000
DECODED_BYTES_MAX = 256 * 1024 * 1024
"""Usage events, and their bytes, that are held in memory at once, give or take one batch."""

HOUR_US = 3_600_000_000

RECORDED_AT = "recorded_at_us"
"""The column that says when the log took a usage event, in microseconds since 1970 (int64)."""

# Hours since 1970 are counted from far below the year 1, because Arrow's division rounds towards zero.
_HOURS_BELOW = 20_000_000

_ROWS = pa.array(range(BATCH_ROWS_MAX), pa.int64())


def usage_tables(
    events: Sequence[RecordedEvent], columns: Sequence[str], rows_max: int = USAGE_EVENTS_MAX
) -> Iterator[pa.Table]:
    """Tables of the usage events in `events`, in their order, none much above `rows_max` and DECODED_BYTES_MAX.

    Columns: `at_us`, `hour_us` (its hour's first microsecond), `position` and `row` (int64), then `columns`:
    RECORDED_AT, or as usage_batch names them, null where a usage event has no such property. Dictionaries are shared by
    all rows.
    """
    batches: list[pa.Table] = []
    rows = size = 0
    for event in events:
        message = decode(event)
        assert isinstance(message, UsageRecorded)
        batches.append(_batch_table(event, decode_usage(message), columns))
        rows, size = rows + batches[-1].num_rows, size + batches[-1].nbytes
        if rows >= rows_max or size >= DECODED_BYTES_MAX:
            yield _joined(batches, columns)
            batches, rows, size = [], 0, 0
    if batches:
        yield _joined(batches, columns)


def whole_table(event: RecordedEvent) -> pa.Table:
    """The usage events of one batch with every column that it has, in the order of its rows."""
    message = decode(event)
    assert isinstance(message, UsageRecorded)
    batch = decode_usage(message)
    columns = [name for name in batch.schema.names if name != "time"]
    return _joined([_batch_table(event, batch, columns)], columns)


def floor_hours(instants_us: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The first microsecond of the UTC hour of each instant, before 1970 too."""
    counted = pc.divide(pc.add(instants_us, _HOURS_BELOW * HOUR_US), HOUR_US)
    return pc.multiply(pc.subtract(counted, _HOURS_BELOW), HOUR_US)


def _batch_table(event: RecordedEvent, batch: pa.RecordBatch, columns: Sequence[str]) -> pa.Table:
    present = [name for name in columns if name in batch.schema.names]
    arrays = [
        batch.column("time").view(pa.int64()),
        pa.repeat(pa.scalar(event.position, pa.int64()), batch.num_rows),
        _ROWS.slice(0, batch.num_rows),
        *(batch.column(name) for name in present),
    ]
    table = pa.Table.from_arrays(arrays, ["at_us", "position", "row", *present])
    return _with_recorded_at(table, event) if RECORDED_AT in columns else table


def _with_recorded_at(usage: pa.Table, event: RecordedEvent) -> pa.Table:
    recorded_at = pa.repeat(pa.scalar(epoch_us(event.recorded_at), pa.int64()), usage.num_rows)
    return usage.append_column(RECORDED_AT, recorded_at)


def _joined(batches: Sequence[pa.Table], columns: Sequence[str]) -> pa.Table:
    joined = pa.concat_tables(batches, promote_options="default").unify_dictionaries().combine_chunks()
    for name in columns:
        if name not in joined.schema.names:
            joined = joined.append_column(name, pa.nulls(joined.num_rows, TEXT))
    return joined.append_column("hour_us", floor_hours(joined["at_us"]))
