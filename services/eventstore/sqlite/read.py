"""The queries of a log in SQLite: one function each, from a connection to values."""

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from services.eventstore.audit.chain import CHAIN_START, Commit
from services.eventstore.event import BEGINNING, VERSION_MAX, Head, Page, Position, RecordedEvent, StreamName
from services.eventstore.reading import PAGE_BYTES_MAX
from services.kernel.clock import from_epoch_us
from services.kernel.errors import Corrupt

Row = tuple[int, str, str, int, bytes, str, int, int, bytes, bytes]
"""position, category, stream identifier, version, event id, type, schema version, recorded at, payload, leaf."""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream in the database: its id, its category's, and its newest version."""

    id: int
    category_id: int
    version: int


# An event whose category is not its stream's is not found: the audit then misses it, as it should.
_EVENTS = """
    SELECT e.position, c.name, s.identifier, e.version, e.event_id, e.type, e.schema_version, e.recorded_at_us,
        e.payload, e.leaf
    FROM events AS e
    CROSS JOIN categories AS c ON c.id = e.category_id
    CROSS JOIN streams AS s ON s.id = e.stream_id AND s.category_id = e.category_id
"""
_ALL_BEHIND = f"{_EVENTS} WHERE e.position > ? AND e.position <= ? ORDER BY e.position LIMIT ?"
_CATEGORY_BEHIND = """
    SELECT position FROM (
        SELECT position FROM events
        WHERE category_id = (SELECT id FROM categories WHERE name = ?) AND position > ? AND position <= ?
        ORDER BY position LIMIT ?
    )
"""
_STREAM = """
    SELECT s.id, s.category_id, s.version FROM streams AS s
    JOIN categories AS c ON c.id = s.category_id
    WHERE c.name = ? AND s.identifier = ?
"""
_STREAM_UPWARDS = f"{_EVENTS} WHERE e.stream_id = ? AND e.version >= ? ORDER BY e.version LIMIT ?"
_STREAM_DOWNWARDS = f"{_EVENTS} WHERE e.stream_id = ? AND e.version <= ? ORDER BY e.version DESC LIMIT ?"
_LEAF_AT = "SELECT leaf FROM events WHERE position = ?"
_LEAVES = "SELECT leaf FROM events WHERE position BETWEEN ? AND ? ORDER BY position"
_CHAIN_AT = "SELECT chain FROM commits WHERE last_position = ?"
_HEAD = "SELECT last_position, chain FROM commits ORDER BY last_position DESC LIMIT 1"
_STORED_POSITIONS = "SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events)"
_COMMITS_BEHIND = """
    SELECT first_position, last_position, root, chain FROM commits WHERE last_position > ?
    ORDER BY last_position LIMIT ?
"""


# Neighbours in the log share stream and instant.
_stream_name = lru_cache(maxsize=1024)(StreamName)
_instant = lru_cache(maxsize=1024)(from_epoch_us)


def head(connection: sqlite3.Connection) -> Head:
    """The newest position, and the chain there."""
    row = connection.execute(_HEAD).fetchone()
    return Head(Position(row[0]), row[1]) if row else Head(BEGINNING, CHAIN_START)


def leaf_at(connection: sqlite3.Connection, position: Position) -> bytes:
    """The leaf of the event at a position; empty when there is none."""
    row = connection.execute(_LEAF_AT, (position,)).fetchone()
    return bytes(row[0]) if row else b""


def leaves(connection: sqlite3.Connection, first: Position, last: Position) -> list[bytes]:
    """The leaves of the events from `first` to `last`, as far as there are any."""
    return [bytes(leaf) for (leaf,) in connection.execute(_LEAVES, (first, last))]


def chain_at(connection: sqlite3.Connection, last_position: Position) -> bytes | None:
    """The chain after the commit that ends at a position; None when no commit ends there."""
    row = connection.execute(_CHAIN_AT, (last_position,)).fetchone()
    return bytes(row[0]) if row else None


def page(connection: sqlite3.Connection, after: Position, categories: Collection[str], limit: int) -> Page:
    """Events behind `after`, up to the head of this moment.

    The head is read first and bounds what is read after it, so that no transaction is needed.
    """
    end = head(connection).position
    if after >= end:
        return Page((), after, is_last=True)
    names = sorted(set(categories))
    events = _events_behind(connection, after, end, names, limit)
    reached = events[-1].position if events else end
    if _has_more(connection, reached, end, names):
        return Page(events, reached, is_last=False)
    return Page(events, end, is_last=True)


def stream_row(connection: sqlite3.Connection, stream: StreamName) -> StreamRow | None:
    """The row of a stream; None when it does not exist."""
    row = connection.execute(_STREAM, (stream.category, stream.id)).fetchone()
    return StreamRow(*row) if row else None


def stream_upwards(
    connection: sqlite3.Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version upwards."""
    return _stream_events(connection, stream, _STREAM_UPWARDS, from_version, limit)


def stream_downwards(
    connection: sqlite3.Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version (-1: its newest) downwards."""
    start = VERSION_MAX if from_version == -1 else from_version
    return _stream_events(connection, stream, _STREAM_DOWNWARDS, start, limit)


def commits(connection: sqlite3.Connection, after: Position, limit: int) -> tuple[Commit, ...]:
    """Up to `limit` commits whose last position is behind `after`."""
    rows = connection.execute(_COMMITS_BEHIND, (after, limit)).fetchall()
    return tuple(Commit(Position(first), Position(last), root, chain) for first, last, root, chain in rows)


def stored_positions(connection: sqlite3.Connection) -> tuple[Position, Position] | None:
    """The lowest and the highest position in the table; None when it is empty."""
    lowest, highest = connection.execute(_STORED_POSITIONS).fetchone()
    return None if lowest is None else (Position(lowest), Position(highest))


def _events_behind(
    connection: sqlite3.Connection, after: Position, end: Position, categories: Sequence[str], limit: int
) -> tuple[RecordedEvent, ...]:
    query, arguments = _behind(after, end, categories, limit)
    events: list[RecordedEvent] = []
    size = 0
    with closing(connection.execute(query, arguments)) as rows:
        for row in rows:
            events.append(_recorded_event(row))
            size += len(events[-1].payload)
            if size >= PAGE_BYTES_MAX:
                break
    return tuple(events)


def _behind(after: Position, end: Position, categories: Sequence[str], limit: int) -> tuple[str, list[str | int]]:
    """The query for the next events, with its arguments."""
    if not categories:
        return _ALL_BEHIND, [after, end, limit]
    positions, arguments = _positions_behind(after, end, categories, limit)
    return f"{_EVENTS} WHERE e.position IN ({positions}) ORDER BY e.position", arguments


def _has_more(connection: sqlite3.Connection, after: Position, end: Position, categories: Sequence[str]) -> bool:
    if after >= end or not categories:
        return after < end
    query, arguments = _positions_behind(after, end, categories, 1)
    return connection.execute(query, arguments).fetchone() is not None


def _positions_behind(
    after: Position, end: Position, categories: Sequence[str], limit: int
) -> tuple[str, list[str | int]]:
    """Every category gives its next positions from the index; the first of all these are taken."""
    query = " UNION ALL ".join([_CATEGORY_BEHIND] * len(categories)) + " ORDER BY position LIMIT ?"
    arguments = [argument for name in categories for argument in (name, after, end, limit)]
    return query, [*arguments, limit]


def _stream_events(
    connection: sqlite3.Connection, stream: StreamName, query: str, version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    found = stream_row(connection, stream)
    if found is None:
        return ()
    rows = connection.execute(query, (found.id, min(version, VERSION_MAX), limit))
    return tuple(_recorded_event(row) for row in rows)


def _recorded_event(row: Row) -> RecordedEvent:
    position, category, identifier, version, event_id, event_type, schema_version, recorded_at_us, payload, leaf = row
    try:
        return RecordedEvent(
            position=Position(position),
            stream=_stream_name(category, identifier),
            version=version,
            id=UUID(bytes=event_id),
            type=event_type,
            schema_version=schema_version,
            recorded_at=_instant(recorded_at_us),
            payload=payload,
            leaf=leaf,
        )
    except (ValueError, OverflowError, OSError) as error:
        raise Corrupt(f"position {position} holds no event ({error}); verify the log") from error
