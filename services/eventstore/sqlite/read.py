"""The queries of a log in SQLite: one function each, from a connection to values."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

from services.eventstore.audit.chain import CHAIN_START, Commit
from services.eventstore.event import BEGINNING, NO_STREAM, VERSION_MAX, Head, Page, Position, RecordedEvent, StreamName
from services.eventstore.reading import PAGE_BYTES_MAX, fitting
from services.eventstore.sqlite.segment import LEAF_BYTES, Segment
from services.kernel.errors import Corrupt

Row = tuple[str, str, int, int, int, str, int, bytes, bytes, bytes, bytes]
"""Category and identifier of the stream, then the fields of `Segment` from `first_position` on."""


_ROW_TYPES = (str, str, int, int, int, str, int, bytes, bytes, bytes, bytes)
_COMMIT_TYPES = (int, int, bytes, bytes)
_STREAM_TYPES = (int, int, int)


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream in the database: its id, its category's, and its newest version."""

    id: int
    category_id: int
    version: int


# A segment whose category is not its stream's is not found: the audit then misses it, as it should.
_SEGMENTS = """
    SELECT c.name, s.identifier, g.first_position, g.first_version, g.recorded_at_us, g.type, g.schema_version,
        g.leaves, g.event_ids, g.payload_ends, g.payloads
    FROM segments AS g
    CROSS JOIN categories AS c ON c.id = g.category_id
    CROSS JOIN streams AS s ON s.id = g.stream_id AND s.category_id = g.category_id
"""
_HOLDING = "SELECT max(first_position) FROM segments WHERE first_position <= ?"
_ALL_BEHIND = f"{_SEGMENTS} WHERE g.first_position >= ? AND g.first_position <= ? ORDER BY g.first_position"
_CATEGORY_BEHIND = """
    SELECT first_position FROM (
        SELECT first_position FROM segments
        WHERE category_id = (SELECT id FROM categories WHERE name = ?) AND first_position >= ? AND first_position <= ?
        ORDER BY first_position LIMIT ?
    )
"""
_STREAMS = f"""
    SELECT c.name, s.identifier, s.id, s.category_id, coalesce((
        SELECT first_version + length(leaves) / {LEAF_BYTES} - 1 FROM segments
        WHERE stream_id = s.id ORDER BY first_version DESC LIMIT 1
    ), {NO_STREAM})
    FROM wanted AS w
    CROSS JOIN categories AS c ON c.name = w.category
    CROSS JOIN streams AS s ON s.category_id = c.id AND s.identifier = w.identifier
"""  # noqa: S608 - constant
_STREAMS_A_QUERY_MAX = 512
_STREAM_UPWARDS = f"""
    {_SEGMENTS} WHERE g.stream_id = :stream AND g.first_version >= coalesce(
        (SELECT max(first_version) FROM segments WHERE stream_id = :stream AND first_version <= :version), 0
    ) ORDER BY g.first_version
"""  # noqa: S608 - constant
_STREAM_DOWNWARDS = f"""
    {_SEGMENTS} WHERE g.stream_id = :stream AND g.first_version <= :version ORDER BY g.first_version DESC
"""
_NOT_IN_STREAM = """
    SELECT first_position FROM segments AS stored NOT INDEXED WHERE first_position IS NOT (
        SELECT first_position FROM segments AS found
        WHERE found.stream_id = stored.stream_id AND found.first_version >= stored.first_version
        ORDER BY found.first_version LIMIT 1
    ) LIMIT 1
"""
_LEAVES = "SELECT first_position, leaves FROM segments WHERE first_position BETWEEN ? AND ? ORDER BY first_position"
_CHAIN_AT = "SELECT chain FROM commits WHERE last_position = ?"
_END = "SELECT max(last_position) FROM commits"
_HEAD = "SELECT last_position, chain FROM commits ORDER BY last_position DESC LIMIT 1"
_STORED_POSITIONS = f"""
    SELECT (SELECT min(first_position) FROM segments),
        (SELECT first_position + length(leaves) / {LEAF_BYTES} - 1 FROM segments ORDER BY first_position DESC LIMIT 1)
"""  # noqa: S608 - constant
_COMMITS_BEHIND = """
    SELECT first_position, last_position, root, chain FROM commits WHERE last_position > ?
    ORDER BY last_position LIMIT ?
"""


# Neighbours in the log share their stream.
_stream_name = lru_cache(maxsize=1024)(StreamName)


def head(connection: sqlite3.Connection) -> Head:
    """The newest position, and the chain there."""
    row = connection.execute(_HEAD).fetchone()
    return Head(Position(row[0]), _chain(row[0], row[1])) if row else Head(BEGINNING, CHAIN_START)


def leaf_at(connection: sqlite3.Connection, position: Position) -> bytes:
    """The leaf of the event at a position; empty when there is none."""
    found = leaves(connection, position, position) if BEGINNING < position <= VERSION_MAX else []
    return found[0] if found else b""


def leaves(connection: sqlite3.Connection, first: Position, last: Position) -> list[bytes]:
    """The leaves of the events from `first` to `last`, as far as there are any."""
    found: list[bytes] = []
    for start, content in connection.execute(_LEAVES, (_holding(connection, first), last)):
        if type(content) is not bytes:
            raise _damaged(start)
        count = len(content) // LEAF_BYTES
        wanted = range(max(0, first - start), min(count, last - start + 1))
        found += [content[index * LEAF_BYTES : (index + 1) * LEAF_BYTES] for index in wanted]
    return found


def chain_at(connection: sqlite3.Connection, last_position: Position) -> bytes | None:
    """The chain after the commit that ends at a position; None when no commit ends there."""
    row = connection.execute(_CHAIN_AT, (last_position,)).fetchone()
    return _chain(last_position, row[0]) if row else None


def page(connection: sqlite3.Connection, after: Position, categories: Collection[str], limit: int) -> Page:
    """Events behind `after`, up to the head of this moment.

    The head is read first and bounds what is read after it, so that no transaction is needed. A damaged chain at the
    head is no reader's business.
    """
    (end,) = connection.execute(_END).fetchone()
    end = Position(end or BEGINNING)
    if after >= end:
        return Page((), after, is_last=True)
    query, arguments = _behind(_holding(connection, after + 1), end, sorted(set(categories)), limit)
    events: list[RecordedEvent] = []
    size, is_full = 0, False
    with closing(connection.execute(query, arguments)) as rows:
        for segment in map(_segment, rows):
            if is_full:
                return Page(tuple(events), events[-1].position, is_last=False)
            first = max(0, after + 1 - segment.first_position)
            if first >= segment.event_count:
                continue
            found = fitting(segment.events(first, limit - len(events)), PAGE_BYTES_MAX - size)
            events += found
            size += sum([len(event.payload) for event in found])
            is_full = len(events) == limit or size >= PAGE_BYTES_MAX
            is_cut = first + len(found) < segment.event_count
            # Without categories, positions tell whether there is more; the next row is not looked at, damaged or not.
            if is_cut or (is_full and not categories):
                return Page(tuple(events), events[-1].position, is_last=events[-1].position >= end)
    return Page(tuple(events), end, is_last=True)


def stream_row(connection: sqlite3.Connection, stream: StreamName) -> StreamRow | None:
    """The row of a stream; None when it does not exist."""
    return stream_rows(connection, [stream])[stream]


def stream_rows(connection: sqlite3.Connection, streams: Collection[StreamName]) -> dict[StreamName, StreamRow | None]:
    """The row of each stream, None for one that does not exist; in few statements, as each costs more than its rows."""
    found: dict[StreamName, StreamRow | None] = dict.fromkeys(streams)
    names = list(found)
    for start in range(0, len(names), _STREAMS_A_QUERY_MAX):
        part = names[start : start + _STREAMS_A_QUERY_MAX]
        count = 1 << (len(part) - 1).bit_length()
        padded = part + part[-1:] * (count - len(part))
        cells = [cell for name in padded for cell in (name.category, name.id)]
        for row in connection.execute(_streams_query(count), cells):
            name = StreamName(row[0], row[1])
            if tuple(map(type, row[2:])) != _STREAM_TYPES:
                raise Corrupt(f"the newest event of stream {name} cannot be read; verify the log")
            found[name] = StreamRow(*row[2:])
    return found


@lru_cache
def _streams_query(count: int) -> str:
    """For so many streams; powers of two, so that few statements serve every number of them."""
    return f"WITH wanted (category, identifier) AS (VALUES {', '.join(['(?, ?)'] * count)}) {_STREAMS}"


def stream_upwards(
    connection: sqlite3.Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version upwards."""
    events: list[RecordedEvent] = []
    for segment in _stream_rows(connection, stream, _STREAM_UPWARDS, from_version):
        first = max(0, from_version - segment.first_version)
        events += segment.events(first, limit - len(events)) if first < segment.event_count else []
        if len(events) == limit:
            break
    return tuple(events)


def stream_downwards(
    connection: sqlite3.Connection, stream: StreamName, from_version: int, limit: int
) -> tuple[RecordedEvent, ...]:
    """Up to `limit` events of a stream from a version (-1: its newest) downwards."""
    newest = VERSION_MAX if from_version == -1 else from_version
    events: list[RecordedEvent] = []
    for segment in _stream_rows(connection, stream, _STREAM_DOWNWARDS, newest):
        end = min(segment.event_count, newest - segment.first_version + 1)
        first = max(0, end - (limit - len(events)))
        events += reversed(segment.events(first, end - first))
        if len(events) == limit:
            break
    return tuple(events)


def commits(connection: sqlite3.Connection, after: Position, limit: int) -> tuple[Commit, ...]:
    """Up to `limit` commits whose last position is behind `after`."""
    rows = connection.execute(_COMMITS_BEHIND, (min(after, VERSION_MAX), limit)).fetchall()
    for row in rows:
        if tuple(map(type, row)) != _COMMIT_TYPES:
            raise Corrupt(f"the commit that ends at position {row[1]} cannot be read; verify the log")
    return tuple(Commit(Position(first), Position(last), root, chain) for first, last, root, chain in rows)


def stored_positions(connection: sqlite3.Connection) -> tuple[Position, Position] | None:
    """The lowest and the highest position in the table; None when it is empty."""
    lowest, highest = connection.execute(_STORED_POSITIONS).fetchone()
    if lowest is not None and type(highest) is not int:
        raise Corrupt("the last event of the log cannot be read; verify the log")
    return None if lowest is None else (Position(lowest), Position(highest))


def storage_damage(connection: sqlite3.Connection) -> str:
    """The first thing that is wrong with pages, rows and indexes of the file; empty when there is none.

    SQLite's own check passes over some damage in an index that a search runs into, so each row is searched for, too.
    """
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        return str(found)
    row = connection.execute(_NOT_IN_STREAM).fetchone()
    return f"readers of its stream do not get the event at position {row[0]}" if row else ""


def _holding(connection: sqlite3.Connection, position: int) -> int:
    """Where the segment begins that holds the event at a position, or would, if it is missing."""
    (first_position,) = connection.execute(_HOLDING, (min(position, VERSION_MAX),)).fetchone()
    return first_position or 0


def _behind(start: int, end: Position, categories: Sequence[str], limit: int) -> tuple[str, list[str | int]]:
    """The query for the segments with the next events, with its arguments.

    Every category gives its next ones from the index, and the first of all these are taken: one more than there can be
    of `limit` events, besides the first, which may lie before them.
    """
    if not categories:
        return _ALL_BEHIND, [start, end]
    positions = " UNION ALL ".join([_CATEGORY_BEHIND] * len(categories)) + " ORDER BY first_position LIMIT ?"
    arguments = [argument for name in categories for argument in (name, start, end, limit + 2)]
    return f"{_SEGMENTS} WHERE g.first_position IN ({positions}) ORDER BY g.first_position", [*arguments, limit + 2]


def _stream_rows(connection: sqlite3.Connection, stream: StreamName, query: str, version: int) -> Iterator[Segment]:
    """The segments of a stream from the one that holds a version on; none when there is no such stream."""
    found = stream_row(connection, stream)
    if found is None:
        return
    arguments = {"stream": found.id, "version": min(version, VERSION_MAX)}
    with closing(connection.execute(query, arguments)) as rows:
        yield from map(_segment, rows)


def _segment(row: Row) -> Segment:
    """SQLite gives back whatever a damaged row says, a number for a text or nothing at all."""
    if tuple(map(type, row)) != _ROW_TYPES:
        raise _damaged(row[2])
    return Segment(_stream_name(row[0], row[1]), *row[2:])


def _damaged(position: int) -> Corrupt:
    return Corrupt(f"position {position} holds no event (its row has values of other types); verify the log")


def _chain(position: int, stored: object) -> bytes:
    if type(stored) is not bytes:
        raise Corrupt(f"the chain at position {position} cannot be read; verify the log")
    return stored
