"""The columns of a batch of usage events, and their stored form: one Arrow record batch inside one event.

Columns: source, type, subject (dictionary<int32, text>), id (text), time (timestamp[us, UTC]), value
(decimal128(38, 12)), then one nullable dictionary-coded text column "p.<key>" for each property key, in key order.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

import pyarrow as pa

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.event import PAYLOAD_BYTES_MAX
from services.kernel.errors import Corrupt, InvalidInput
from services.kernel.quantity import FRACTION_DIGITS_MAX

PROPERTY_PREFIX = "p."
USAGE_EVENTS_MAX = 65_536

TEXT = pa.dictionary(pa.int32(), pa.utf8())
TIME = pa.timestamp("us", tz="UTC")
VALUE = pa.decimal128(38, FRACTION_DIGITS_MAX)

FIXED_FIELDS: tuple[pa.Field, ...] = (
    pa.field("source", TEXT, nullable=False),
    pa.field("type", TEXT, nullable=False),
    pa.field("subject", TEXT, nullable=False),
    pa.field("id", pa.utf8(), nullable=False),
    pa.field("time", TIME, nullable=False),
    pa.field("value", VALUE, nullable=False),
)

SCHEMAS_MAX = 256
"""Schemas that are kept: a small batch takes less time to fill than its schema to make."""

ARROW_IPC_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of a batch before compression; more is refused when written and when read, so that nothing inflates at will."""

_ENVELOPE_BYTES = 32
# Compressed as a whole: one frame decompresses four times as fast as a frame a buffer, and a lone usage event takes a
# quarter of the bytes. One batch is too small for threads.
_ZSTD = pa.Codec("zstd")
_WRITE_OPTIONS = pa.ipc.IpcWriteOptions(use_threads=False)
_READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)


class UsageBatchTooLarge(InvalidInput):
    """The encoded batch is larger than one event may be; split its rows."""

    default_reason = "USAGE_BATCH_TOO_LARGE"


def property_column(key: str) -> str:
    """The column that holds the property `key`."""
    return PROPERTY_PREFIX + key


def property_keys(batch: pa.RecordBatch) -> tuple[str, ...]:
    """The property keys that the batch has columns for, in order."""
    return tuple(name.removeprefix(PROPERTY_PREFIX) for name in batch.schema.names[len(FIXED_FIELDS) :])


def usage_schema(keys: Sequence[str]) -> pa.Schema:
    """The schema of a batch whose usage events have these property keys."""
    return _schema(tuple(sorted(keys)))


@lru_cache(SCHEMAS_MAX)
def _schema(keys: tuple[str, ...]) -> pa.Schema:
    return pa.schema([*FIXED_FIELDS, *(pa.field(property_column(key), TEXT) for key in keys)])


def usage_batch_of(
    sources: Sequence[str],
    types: Sequence[str],
    subjects: Sequence[str],
    ids: Sequence[str],
    times_us: Sequence[int],
    values: Sequence[Decimal],
    properties: Sequence[Mapping[str, str]],
) -> pa.RecordBatch:
    """The batch of parallel columns, one entry a usage event; times in microseconds since 1970-01-01 UTC."""
    keys = sorted({key for row in properties for key in row})
    columns = [
        pa.array(sources, pa.utf8()).dictionary_encode(),
        pa.array(types, pa.utf8()).dictionary_encode(),
        pa.array(subjects, pa.utf8()).dictionary_encode(),
        pa.array(ids, pa.utf8()),
        pa.array(times_us, pa.int64()).cast(TIME),
        pa.array(values, VALUE),
        *(pa.array([row.get(key) for row in properties], pa.utf8()).dictionary_encode() for key in keys),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=usage_schema(keys))


def encode_usage(batch: pa.RecordBatch) -> UsageRecorded:
    """The stored form; raises UsageBatchTooLarge past the bounds on rows and bytes of one event."""
    if not 1 <= batch.num_rows <= USAGE_EVENTS_MAX:
        raise UsageBatchTooLarge(f"a batch holds 1 to {USAGE_EVENTS_MAX} usage events, not {batch.num_rows}")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_WRITE_OPTIONS) as writer:
        writer.write_batch(batch)
    content = sink.getvalue()
    frame = _ZSTD.compress(content, asbytes=True)
    if content.size > ARROW_IPC_BYTES_MAX or len(frame) > PAYLOAD_BYTES_MAX - _ENVELOPE_BYTES:
        raise UsageBatchTooLarge(f"{batch.num_rows} usage events take {len(frame)} bytes; split the batch")
    return UsageRecorded(usage_event_count=batch.num_rows, arrow_ipc_zstd=frame, arrow_ipc_size=content.size)


def decode_usage(message: UsageRecorded) -> pa.RecordBatch:
    """The columns of a stored batch; raises Corrupt when the bytes are no such batch."""
    if not 0 < message.arrow_ipc_size <= ARROW_IPC_BYTES_MAX:
        raise Corrupt("a stored usage batch says an impossible size; verify the audit chain")
    try:
        content = _ZSTD.decompress(message.arrow_ipc_zstd, decompressed_size=message.arrow_ipc_size)
        with pa.ipc.open_stream(content, options=_READ_OPTIONS) as reader:
            batch = reader.read_next_batch()
        schema = usage_schema(property_keys(batch))
    except (pa.ArrowException, StopIteration, OSError, ValueError) as error:
        raise Corrupt("a stored usage batch cannot be read; verify the audit chain") from error
    if batch.num_rows != message.usage_event_count or batch.schema != schema:
        raise Corrupt("a stored usage batch has other columns or rows than it says; verify the audit chain")
    return batch
