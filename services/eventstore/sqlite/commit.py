"""Write one commit into a log in SQLite, inside a transaction that the caller has begun and ends."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from services.eventstore.audit.chain import Commit
from services.eventstore.draft import CommitDraft, PlacedAppend, PreparedAppend, draft_commit
from services.eventstore.event import NO_STREAM, Appended, RecordedEvent, StreamName, WrongExpectedVersion
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.read import StreamRow
from services.kernel.clock import epoch_us

Cell = int | str | bytes

_ROWS_PER_INSERT_MAX = 128
"""One statement for many rows: each statement lets go of Python's global lock and has to win it back."""

_ADD_CATEGORY = "INSERT INTO categories (name) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_STREAM = """
    INSERT INTO streams (category_id, identifier, version)
    VALUES ((SELECT id FROM categories WHERE name = ?), ?, ?) RETURNING id, category_id, version
"""
_ADVANCE_STREAM = "UPDATE streams SET version = ? WHERE id = ?"
_ADD_COMMIT = "INSERT INTO commits (first_position, last_position, root, chain) VALUES (?, ?, ?, ?)"


def write_commit(
    connection: sqlite3.Connection, appends: Sequence[PreparedAppend]
) -> tuple[Appended | WrongExpectedVersion, ...]:
    """Place what can be placed, write it, and answer each append."""
    streams: dict[StreamName, StreamRow | None] = {}
    draft = _drafted(connection, appends, streams)
    if draft.commit is not None:
        versions = {placed.request.stream: placed.appended.version for placed in draft.placed}
        advance_streams(connection, versions, streams)
        insert_events(connection, [row for placed in draft.placed for row in _event_rows(placed, streams)])
        insert_commit(connection, draft.commit)
    return draft.answers


def _drafted(
    connection: sqlite3.Connection, appends: Sequence[PreparedAppend], streams: dict[StreamName, StreamRow | None]
) -> CommitDraft:
    """The draft; the rows of the streams that it concerns are put into `streams`."""

    def current_version(stream: StreamName) -> int:
        row = streams[stream] = sqlite_read.stream_row(connection, stream)
        return row.version if row else NO_STREAM

    def standing(stream: StreamName, from_version: int, limit: int) -> Sequence[RecordedEvent]:
        return sqlite_read.stream_upwards(connection, stream, from_version, limit)

    return draft_commit(appends, sqlite_read.head(connection), current_version, standing)


def advance_streams(
    connection: sqlite3.Connection, versions: Mapping[StreamName, int], streams: dict[StreamName, StreamRow | None]
) -> None:
    """Move streams to their new versions; those that have no row yet get one, in `streams` too."""
    for stream, version in versions.items():
        row = streams[stream]
        if row is None:
            streams[stream] = _added_stream(connection, stream, version)
        else:
            connection.execute(_ADVANCE_STREAM, (version, row.id))


def _added_stream(connection: sqlite3.Connection, stream: StreamName, version: int) -> StreamRow:
    connection.execute(_ADD_CATEGORY, (stream.category,))
    return StreamRow(*connection.execute(_ADD_STREAM, (stream.category, stream.id, version)).fetchone())


def _event_rows(placed: PlacedAppend, streams: dict[StreamName, StreamRow | None]) -> Iterator[tuple[Cell, ...]]:
    stream = streams[placed.request.stream]
    assert stream is not None, "every placed stream has a row by now"
    recorded_at_us = epoch_us(placed.recorded_at)
    for index, event in enumerate(placed.request.events):
        yield (
            placed.first_position + index,
            stream.category_id,
            stream.id,
            placed.first_version + index,
            event.id.bytes,
            event.type,
            event.schema_version,
            recorded_at_us,
            event.payload,
            placed.leaves[index],
        )


def insert_events(connection: sqlite3.Connection, rows: Sequence[tuple[Cell, ...]]) -> None:
    """Insert rows of `events` in steps of powers of two, so that few statements serve every number of rows."""
    start = 0
    while start < len(rows):
        count = min(_ROWS_PER_INSERT_MAX, 1 << (len(rows) - start).bit_length() - 1)
        cells = [cell for row in rows[start : start + count] for cell in row]
        connection.execute(_INSERTS[count], cells)
        start += count


def insert_commit(connection: sqlite3.Connection, commit: Commit) -> None:
    """Write a commit's root and chain."""
    connection.execute(_ADD_COMMIT, (commit.first_position, commit.last_position, commit.root, commit.chain))


def _insert(row_count: int) -> str:
    return f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * row_count)}"  # noqa: S608 - constant


_INSERTS = {1 << power: _insert(1 << power) for power in range(_ROWS_PER_INSERT_MAX.bit_length())}
