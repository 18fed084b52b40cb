"""Usage events in columns as rows, for the ingest service in memory; needs pyarrow."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from meterlog.client.event import usage_event
from meterlog.ingest.v1.ingest_pb2 import UsageEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "p."
_SAME_FOR_ALL = ("source", "type", "subject")


def events_of(arrow_ipc: bytes) -> Iterator[UsageEvent]:
    """The usage events of an Arrow IPC stream, in the order of its rows."""
    import pyarrow as pa

    with pa.ipc.open_stream(arrow_ipc) as reader:
        metadata = {key.decode(): text.decode() for key, text in (reader.schema.metadata or {}).items()}
        fixed = {name: metadata[name] for name in _SAME_FOR_ALL if name in metadata}
        for batch in reader:
            for row in batch.to_pylist():
                yield _event({**fixed, **row})


def _event(row: dict[str, Any]) -> UsageEvent:
    time = row["time"]
    return usage_event(
        id=row["id"],
        source=row["source"],
        type=row["type"],
        subject=row["subject"],
        time=_EPOCH + timedelta(microseconds=time) if isinstance(time, int) else time,
        value=row.get("value"),
        properties={
            name.removeprefix(_PREFIX): text
            for name, text in row.items()
            if name.startswith(_PREFIX) and text is not None
        },
    )
