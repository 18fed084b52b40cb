"""What folds share: rows to write, instants as they are stored, and the error for an event that does not belong."""

from typing import TypeAlias

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.eventstore.event import RecordedEvent
from services.kernel.clock import epoch_us
from services.kernel.errors import Corrupt
from services.kernel.timestamp import from_timestamp

Row: TypeAlias = dict[str, str | int | bytes | None]
"""One row by column name; instants are epoch microseconds, decimals canonical text."""


def timestamp_us(timestamp: Timestamp) -> int:
    """The instant as tables hold it."""
    return epoch_us(from_timestamp(timestamp))


def unexpected_event(recorded: RecordedEvent, message: Message) -> Corrupt:
    """The error for an event in a stream of another kind."""
    return Corrupt(
        f"position {recorded.position} of stream {recorded.stream} holds {type(message).__name__}, "
        "which does not belong there; verify the audit chain"
    )
