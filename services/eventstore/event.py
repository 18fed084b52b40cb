"""The values of the event store: streams, events as written, events as recorded, and what an append returns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from services.kernel.errors import Conflict, InvalidInput

Position = NewType("Position", int)
"""Place of an event in the log: ordered, opaque; the first is above 0. Never do arithmetic on it."""

BEGINNING = Position(0)

NO_STREAM = -1
"""Expected version of a stream that must not exist yet."""

ANY_VERSION = -2
"""Expected version of an append that does not care; its retry is NOT recognised."""

PAYLOAD_BYTES_MAX = 900 * 1024
APPEND_EVENTS_MAX = 10_000
STREAM_NAME_MAX = 512
EVENT_TYPE_MAX = 128
SCHEMA_VERSION_MAX = 2**31 - 1
VERSION_MAX = 2**63 - 1

_PLAIN_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class StreamName:
    """`<category>-<id>`: the category has no "-", the id is any text without control characters."""

    category: str
    id: str

    def __str__(self) -> str:
        return f"{self.category}-{self.id}"

    @staticmethod
    def parse(text: str) -> "StreamName":
        """The name written as `<category>-<id>`; raises InvalidInput."""
        category, dash, identifier = text.partition("-")
        if not (dash and category and identifier):
            raise InvalidInput(f'"{text}" is no stream name; write <category>-<id>', field="stream")
        return StreamName(category, identifier)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. The id is deterministic, so that a retry is recognised; the payload is stored as it is."""

    id: UUID
    type: str
    schema_version: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event of the log. `version` counts from 0 in its stream; `leaf` is its hash in the audit chain."""

    position: Position
    stream: StreamName
    version: int
    id: UUID
    type: str
    schema_version: int
    recorded_at: datetime
    payload: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an append ended up. Position and version are those of its last event; one leaf an event, in order."""

    position: Position
    version: int
    recorded_at: datetime
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of the log (0 when empty) and the audit chain's value there (empty when there is none)."""

    position: Position
    chain: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of a subscription in log order, never empty, and the position up to which the log has been read."""

    events: tuple[RecordedEvent, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything up to `position` has been delivered; what comes next is live."""

    position: Position


@dataclass(frozen=True, slots=True)
class Page:
    """Events of one read in log order, and the position up to which the log was read, events or not.

    `is_last` tells that the log had nothing more for this reader at that moment.
    """

    events: tuple[RecordedEvent, ...]
    position: Position
    is_last: bool


class WrongExpectedVersion(Conflict):
    """The stream is not at the version that the append expected; nothing of it was written."""

    default_reason = "WRONG_EXPECTED_VERSION"

    def __init__(self, stream: StreamName, expected: int, actual: int) -> None:
        super().__init__(
            f'stream "{stream}" is at version {actual}, not {expected}; read it again and repeat',
            metadata={"stream": str(stream), "expected": str(expected), "actual": str(actual)},
        )
        self.stream = stream
        self.expected = expected
        self.actual = actual


def require_appendable(stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> None:
    """Refuse what no backend can store, with the same error on each of them."""
    if not is_stream_name(stream):
        raise InvalidInput(
            f'"{stream}" is no stream name; its category has no "-", and no "$" in front', field="stream"
        )
    if not 1 <= len(events) <= APPEND_EVENTS_MAX:
        raise InvalidInput(f"an append takes 1 to {APPEND_EVENTS_MAX} events, not {len(events)}", field="events")
    if not ANY_VERSION <= expected_version < VERSION_MAX - APPEND_EVENTS_MAX:
        raise InvalidInput(f"{expected_version} is no expected version", field="expected_version")
    for event_type, schema_version in {(event.type, event.schema_version) for event in events}:
        _require_type(event_type, schema_version)
    if sum(len(event.payload) for event in events) > PAYLOAD_BYTES_MAX:
        raise InvalidInput(
            f"an append carries at most {PAYLOAD_BYTES_MAX} payload bytes; split it", field="events", reason="TOO_LARGE"
        )


def is_stream_name(stream: StreamName) -> bool:
    """Whether a stream can have this name: both parts there, no "-" in the category, plain text, not too long.

    A name with "$" in front is refused on every backend: on KurrentDB it is one of the server's own streams.
    """
    name = str(stream)
    has_parts = bool(stream.category and stream.id) and "-" not in stream.category
    is_ours = not stream.category.startswith("$")
    return has_parts and is_ours and len(name) <= STREAM_NAME_MAX and _PLAIN_TEXT.fullmatch(name) is not None


def _require_type(event_type: str, schema_version: int) -> None:
    if len(event_type) > EVENT_TYPE_MAX or not _PLAIN_TEXT.fullmatch(event_type):
        raise InvalidInput(
            f'"{event_type[:60]}" is no event type; write 1 to {EVENT_TYPE_MAX} plain characters', field="events"
        )
    if not 1 <= schema_version <= SCHEMA_VERSION_MAX:
        raise InvalidInput(f"{schema_version} is no schema version; the first is 1", field="events")
