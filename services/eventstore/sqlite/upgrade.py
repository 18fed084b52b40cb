"""Bring a log that the first release wrote, one row an event, into today's tables; its events stay what they are."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from services.eventstore.event import Position, RecordedEvent, StreamName
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.commit import insert_segments
from services.eventstore.sqlite.segment import LEAF_BYTES, segments_of_events
from services.kernel.clock import from_epoch_us
from services.kernel.errors import Corrupt

VERSION_BEFORE: Final = 1
_PAGE: Final = 5_000

_EVENTS = """
    SELECT e.position, c.name, s.identifier, e.version, e.event_id, e.type, e.schema_version, e.recorded_at_us,
        e.payload, e.leaf
    FROM events AS e
    CROSS JOIN categories AS c ON c.id = e.category_id
    CROSS JOIN streams AS s ON s.id = e.stream_id AND s.category_id = e.category_id
    WHERE e.position > ? ORDER BY e.position LIMIT ?
"""
_COUNTS = f"SELECT (SELECT count(*) FROM events), (SELECT total(length(leaves)) / {LEAF_BYTES} FROM segments)"  # noqa: S608 - constant


def move_events(connection: sqlite3.Connection, log: Path) -> None:
    """Move the rows of `events` into `segments`, inside a transaction that the caller has begun and ends.

    Raises Corrupt when a row cannot be read as an event: then nothing is moved.
    """
    for events in _pages(connection, log):
        segments = list(segments_of_events(events))
        names = {segment.stream for segment in segments}
        streams = {name: sqlite_read.stream_row(connection, name) for name in names}
        insert_segments(connection, segments, streams)
    before, after = connection.execute(_COUNTS).fetchone()
    if before != after:
        raise _damaged(log, f"{before - after} of its events belong to no stream")
    connection.execute("DROP TABLE events")
    connection.execute("ALTER TABLE streams DROP COLUMN version")


def _pages(connection: sqlite3.Connection, log: Path) -> Iterator[list[RecordedEvent]]:
    after = 0
    while rows := connection.execute(_EVENTS, (after, _PAGE)).fetchall():
        yield [_recorded_event(row, log) for row in rows]
        after = rows[-1][0]


def _recorded_event(row: tuple[int, str, str, int, bytes, str, int, int, bytes, bytes], log: Path) -> RecordedEvent:
    position, category, identifier, version, event_id, event_type, schema_version, recorded_at_us, payload, leaf = row
    stream, place = StreamName(category, identifier), Position(position)
    try:
        id_, recorded_at = UUID(bytes=event_id), from_epoch_us(recorded_at_us)
    except (ValueError, OverflowError, OSError) as error:
        raise _damaged(log, f"position {position} holds no event ({error})") from error
    return RecordedEvent(place, stream, version, id_, event_type, schema_version, recorded_at, payload, leaf)


def _damaged(log: Path, problem: str) -> Corrupt:
    return Corrupt(
        f"the log {log} of an earlier release cannot be upgraded: {problem}; nothing was changed. Restore it from a "
        "backup, or verify it with the release that wrote it"
    )
