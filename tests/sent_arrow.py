"""Usage events in columns, as a producer sends them: well-formed columns to start from, and Arrow streams of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from meterlog.ingest.v1.ingest_pb2 import RecordUsageColumnsRequest, RecordUsageColumnsResponse
from services.kernel.clock import epoch_us
from tests.ingest_room import NOON, Replica, Room

MINUTE_AGO_US = epoch_us(NOON - timedelta(minutes=1))
UTC_TIME = pa.timestamp("us", "UTC")


def columns(*ids: str, **others: Any) -> dict[str, Any]:
    """Columns that say what `usage(id)` of the room says, `others` in place of them; None leaves a column out."""
    count = len(ids)
    said = {
        "id": pa.array(ids, pa.utf8()),
        "source": pa.array(["gateway"] * count),
        "type": pa.array(["llm.completion"] * count).dictionary_encode(),
        "subject": pa.array(["tenant-1"] * count).dictionary_encode(),
        "time": pa.array([MINUTE_AGO_US] * count, UTC_TIME),
        "value": pa.array([Decimal(1)] * count, pa.decimal128(38, 12)),
        **{name.replace("p_", "p."): column for name, column in others.items()},
    }
    return {name: column for name, column in said.items() if column is not None}


def batch(said: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> pa.RecordBatch:
    """A record batch of columns."""
    return pa.RecordBatch.from_pydict(dict(said), metadata=dict(metadata or {}))


def stream(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """The Arrow IPC stream of record batches of one schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for part in batches:
            writer.write_batch(part)
    return bytes(sink.getvalue().to_pybytes())


def send(
    room: Room, replica: Replica, content: bytes | Mapping[str, Any], **request: Any
) -> RecordUsageColumnsResponse:
    """What the replica answers to a stream, or to the stream of columns."""
    sent = content if isinstance(content, bytes) else stream(batch(content))
    asked = RecordUsageColumnsRequest(arrow_ipc=sent, **request)
    return room.runner.run(replica.face.RecordUsageColumns(asked, None))  # type: ignore[arg-type]  # no context needed


def counts(response: RecordUsageColumnsResponse) -> Sequence[int]:
    """Recorded, duplicate, conflict, invalid and not recorded."""
    return (
        response.recorded_count,
        response.duplicate_count,
        response.conflict_count,
        response.invalid_count,
        response.not_recorded_count,
    )
