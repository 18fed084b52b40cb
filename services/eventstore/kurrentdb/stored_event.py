"""An event as KurrentDB keeps it, there and back.

The payload is the event's data, the type is its type. What else belongs to the event stands in its metadata, a JSON
object of texts: that form is accepted by every way in which the server takes events. The event's own id stands there
too, because the id that the server sees is another for each write: only so does the server's "yes" mean that this very
write is what stands there now (docs/decisions/0012-kurrentdb-log.md).
"""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID, uuid4

from kurrentdbclient import NewEvent as ServerEvent
from kurrentdbclient import RecordedEvent as ServedEvent

from services.eventstore.event import NewEvent, Position, RecordedEvent, StreamName
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.errors import Corrupt, InvalidInput

CONTENT_TYPE: Final = "application/octet-stream"

HEADER_BYTES = 400
"""What the server stores and carries beside the payload of an event, roughly and rather too much."""

_instant = lru_cache(maxsize=1024)(from_epoch_us)
_stream_name = lru_cache(maxsize=1024)(StreamName.parse)


def server_events(events: Sequence[NewEvent], leaves: Sequence[bytes], recorded_at: datetime) -> list[ServerEvent]:
    """The events of one write, ready to send; sent again as they are, the server recognises them."""
    recorded_at_us = str(epoch_us(recorded_at))
    return [
        ServerEvent(
            id=uuid4(),
            type=event.type,
            data=event.payload,
            metadata=_metadata(event, leaf, recorded_at_us),
            content_type=CONTENT_TYPE,
        )
        for event, leaf in zip(events, leaves, strict=True)
    ]


def recorded_event(served: ServedEvent) -> RecordedEvent:
    """The event that the server sent; raises Corrupt for what Meterlog did not write."""
    try:
        metadata = json.loads(served.metadata)
        return RecordedEvent(
            position=Position(served.commit_position),
            stream=_stream_name(served.stream_name),
            version=served.stream_position,
            id=UUID(metadata["id"]),
            type=served.type,
            schema_version=int(metadata["schema_version"]),
            recorded_at=_instant(int(metadata["recorded_at_us"])),
            payload=served.data,
            leaf=bytes.fromhex(metadata["leaf"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, InvalidInput) as error:
        raise Corrupt(
            f"position {served.commit_position} of KurrentDB holds no event of Meterlog (stream {served.stream_name}, "
            f"{error!r}); somebody else writes to this server or changed it: give Meterlog a server of its own"
        ) from error


def _metadata(event: NewEvent, leaf: bytes, recorded_at_us: str) -> bytes:
    # Written out: nothing in it can need an escape, and it is half of what an append of many small events costs.
    return (
        f'{{"id":"{event.id}","schema_version":"{event.schema_version}",'
        f'"recorded_at_us":"{recorded_at_us}","leaf":"{leaf.hex()}"}}'
    ).encode()
