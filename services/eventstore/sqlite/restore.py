"""Write the commits of another log into a log in SQLite, inside a transaction that the caller has begun and ends."""

import sqlite3
from collections.abc import Sequence

from services.eventstore.event import NO_STREAM, StreamName
from services.eventstore.restoration import WholeCommit, next_versions, require_standing, unwritten
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.commit import add_streams, insert_commit, insert_segments
from services.eventstore.sqlite.read import StreamRow
from services.eventstore.sqlite.segment import segments_of_events


def write_restored(connection: sqlite3.Connection, wholes: Sequence[WholeCommit]) -> None:
    """Pass over what stands already, write what comes behind; raises Conflict or Corrupt before anything is written."""
    head = sqlite_read.head(connection)
    for whole in wholes:
        if whole.commit.last_position <= head.position:
            _require_standing(connection, whole)
    new = unwritten(wholes, head)
    streams: dict[StreamName, StreamRow | None] = {}

    def current_version(stream: StreamName) -> int:
        row = streams[stream] = sqlite_read.stream_row(connection, stream)
        return row.version if row else NO_STREAM

    add_streams(connection, next_versions(new, current_version), streams)
    for whole in new:
        insert_segments(connection, segments_of_events(whole.events), streams)
        insert_commit(connection, whole.commit)


def _require_standing(connection: sqlite3.Connection, whole: WholeCommit) -> None:
    commit = whole.commit
    leaves = sqlite_read.leaves(connection, commit.first_position, commit.last_position)
    require_standing(whole, leaves, sqlite_read.chain_at(connection, commit.last_position))
