"""Write one commit into a log in SQLite, inside a transaction that the caller has begun and ends."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from services.eventstore.audit.chain import Commit
from services.eventstore.draft import CommitDraft, PreparedAppend, draft_commit
from services.eventstore.event import NO_STREAM, Appended, RecordedEvent, StreamName, WrongExpectedVersion
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.read import StreamRow
from services.eventstore.sqlite.segment import Segment, segments_of_appends

Cell = int | str | bytes

_ROWS_PER_INSERT_MAX = 128
"""One statement for many rows: each statement lets go of Python's global lock and has to win it back."""

_ADD_CATEGORY = "INSERT INTO categories (name) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_STREAM = """
    INSERT INTO streams (category_id, identifier)
    VALUES ((SELECT id FROM categories WHERE name = ?), ?) RETURNING id, category_id
"""
_ADD_COMMIT = "INSERT INTO commits (first_position, last_position, root, chain) VALUES (?, ?, ?, ?)"


def write_commit(
    connection: sqlite3.Connection, appends: Sequence[PreparedAppend]
) -> tuple[Appended | WrongExpectedVersion, ...]:
    """Place what can be placed, write it, and answer each append."""
    streams = sqlite_read.stream_rows(connection, {append.request.stream for append in appends})
    draft = _drafted(connection, appends, streams)
    if draft.commit is not None:
        add_streams(connection, {placed.request.stream for placed in draft.placed}, streams)
        insert_segments(connection, segments_of_appends(draft.placed), streams)
        insert_commit(connection, draft.commit)
    return draft.answers


def _drafted(
    connection: sqlite3.Connection, appends: Sequence[PreparedAppend], streams: Mapping[StreamName, StreamRow | None]
) -> CommitDraft:
    def current_version(stream: StreamName) -> int:
        row = streams[stream]
        return row.version if row else NO_STREAM

    def standing(stream: StreamName, from_version: int, limit: int) -> Sequence[RecordedEvent]:
        return sqlite_read.stream_upwards(connection, stream, from_version, limit)

    return draft_commit(appends, sqlite_read.head(connection), current_version, standing)


def add_streams(
    connection: sqlite3.Connection, written: Collection[StreamName], streams: dict[StreamName, StreamRow | None]
) -> None:
    """Give the written streams that have no row yet one, in `streams` too; in order, so that ids are no chance."""
    for stream in sorted((stream for stream in written if streams[stream] is None), key=str):
        connection.execute(_ADD_CATEGORY, (stream.category,))
        id_, category_id = connection.execute(_ADD_STREAM, (stream.category, stream.id)).fetchone()
        streams[stream] = StreamRow(id_, category_id, NO_STREAM)


def insert_segments(
    connection: sqlite3.Connection, segments: Iterable[Segment], streams: Mapping[StreamName, StreamRow | None]
) -> None:
    """Insert in steps of powers of two, so that few statements serve every number of rows."""
    rows = [_row(segment, streams) for segment in segments]
    start = 0
    while start < len(rows):
        count = min(_ROWS_PER_INSERT_MAX, 1 << (len(rows) - start).bit_length() - 1)
        cells = [cell for row in rows[start : start + count] for cell in row]
        connection.execute(_INSERTS[count], cells)
        start += count


def _row(segment: Segment, streams: Mapping[StreamName, StreamRow | None]) -> tuple[Cell, ...]:
    stream = streams[segment.stream]
    assert stream is not None, "every stream that is written to has a row by now"
    return (
        segment.first_position,
        stream.category_id,
        stream.id,
        segment.first_version,
        segment.recorded_at_us,
        segment.type,
        segment.schema_version,
        segment.leaves,
        segment.event_ids,
        segment.payload_ends,
        segment.payloads,
    )


def insert_commit(connection: sqlite3.Connection, commit: Commit) -> None:
    """Write a commit's root and chain."""
    connection.execute(_ADD_COMMIT, (commit.first_position, commit.last_position, commit.root, commit.chain))


def _insert(row_count: int) -> str:
    return f"INSERT INTO segments VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * row_count)}"  # noqa: S608 - constant


_INSERTS = {1 << power: _insert(1 << power) for power in range(_ROWS_PER_INSERT_MAX.bit_length())}
