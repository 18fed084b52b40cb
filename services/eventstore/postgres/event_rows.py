"""Rows of the table of events, and their form in PostgreSQL's binary COPY. Pure.

A row is position, event id, schema version, type, payload, leaf. The form is that of "COPY, Binary Format" in
PostgreSQL's documentation: each value after its length, all numbers big-endian.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct
from uuid import UUID

from services.eventstore.draft import PlacedAppend
from services.eventstore.event import RecordedEvent

EventRow = tuple[int, UUID, int, str, bytes, bytes]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_PIECE_ROWS = 128
_COLUMNS = 6
_POSITION_AND_ID = Struct(">hiqi16s")
_SCHEMA_VERSION = Struct(">ii")
_LENGTH = Struct(">i")


def rows_of_appends(placed: Iterable[PlacedAppend]) -> Iterator[EventRow]:
    """The rows of the appends of a commit, in log order."""
    for append in placed:
        events = zip(append.request.events, append.leaves, strict=True)
        for position, (event, leaf) in enumerate(events, append.first_position):
            yield position, event.id, event.schema_version, event.type, event.payload, leaf


def rows_of_events(events: Iterable[RecordedEvent]) -> Iterator[EventRow]:
    """The rows of events as another log recorded them."""
    for event in events:
        yield event.position, event.id, event.schema_version, event.type, event.payload, event.leaf


def binary_copy(rows: Sequence[EventRow]) -> Iterator[bytes]:
    """The rows as the input of COPY … (FORMAT binary), in pieces: the server writes one while the next is made."""
    yield _HEADER
    for start in range(0, len(rows), _PIECE_ROWS):
        yield b"".join(_values(rows[start : start + _PIECE_ROWS]))
    yield _TRAILER


def _values(rows: Iterable[EventRow]) -> Iterator[bytes]:
    for position, event_id, schema_version, event_type, payload, leaf in rows:
        yield _POSITION_AND_ID.pack(_COLUMNS, 8, position, 16, event_id.bytes)
        yield _version_and_type(schema_version, event_type)
        yield _LENGTH.pack(len(payload))
        yield payload
        yield _LENGTH.pack(len(leaf))
        yield leaf


@lru_cache(maxsize=256)
def _version_and_type(schema_version: int, event_type: str) -> bytes:
    text = event_type.encode()
    return _SCHEMA_VERSION.pack(4, schema_version) + _LENGTH.pack(len(text)) + text
