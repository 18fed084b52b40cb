"""Write the commits of another log into a log in SQLite, inside a transaction that the caller has begun and ends."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from services.eventstore.event import NO_STREAM, StreamName
from services.eventstore.restoration import WholeCommit, next_versions, require_standing, unwritten
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.commit import Cell, advance_streams, insert_commit, insert_events
from services.eventstore.sqlite.read import StreamRow
from services.kernel.clock import epoch_us


def write_restored(connection: sqlite3.Connection, wholes: Sequence[WholeCommit]) -> None:
    """Pass over what stands already, write what comes behind; raises Conflict or Corrupt before anything is written."""
    new = unwritten(wholes, sqlite_read.head(connection))
    for whole in wholes[: len(wholes) - len(new)]:
        _require_standing(connection, whole)
    streams: dict[StreamName, StreamRow | None] = {}

    def current_version(stream: StreamName) -> int:
        row = streams[stream] = sqlite_read.stream_row(connection, stream)
        return row.version if row else NO_STREAM

    advance_streams(connection, next_versions(new, current_version), streams)
    for whole in new:
        insert_events(connection, list(_event_rows(whole, streams)))
        insert_commit(connection, whole.commit)


def _require_standing(connection: sqlite3.Connection, whole: WholeCommit) -> None:
    commit = whole.commit
    leaves = sqlite_read.leaves(connection, commit.first_position, commit.last_position)
    require_standing(whole, leaves, sqlite_read.chain_at(connection, commit.last_position))


def _event_rows(whole: WholeCommit, streams: Mapping[StreamName, StreamRow | None]) -> Iterator[tuple[Cell, ...]]:
    for event in whole.events:
        stream = streams[event.stream]
        assert stream is not None, "every stream that is written to has a row by now"
        yield (
            event.position,
            stream.category_id,
            stream.id,
            event.version,
            event.id.bytes,
            event.type,
            event.schema_version,
            epoch_us(event.recorded_at),
            event.payload,
            event.leaf,
        )
