"""What a writer must know of the log before it can place appends, read in one statement under the writers' lock."""

from collections.abc import Collection
from dataclasses import dataclass

from services.eventstore.audit.chain import CHAIN_START
from services.eventstore.event import BEGINNING, NO_STREAM, Head, Position, StreamName
from services.eventstore.postgres.query import Connection, rows_of

_STATE = """
    SELECT
        (SELECT last_position FROM commits ORDER BY last_position DESC LIMIT 1),
        (SELECT chain FROM commits ORDER BY last_position DESC LIMIT 1),
        (SELECT id FROM streams ORDER BY id DESC LIMIT 1),
        (SELECT id FROM categories ORDER BY id DESC LIMIT 1),
        n.category, n.identifier, k.id, s.id, r.version
    FROM unnest(%b::text[], %b::text[]) AS n (category, identifier)
    LEFT JOIN categories AS k ON k.name = n.category
    LEFT JOIN LATERAL (
        SELECT id FROM streams WHERE category_id = k.id AND identifier = n.identifier LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT first_version + last_position - first_position AS version FROM runs
        WHERE stream_id = s.id ORDER BY first_version DESC LIMIT 1
    ) AS r ON true
"""


@dataclass(frozen=True, slots=True)
class StreamIds:
    """Numbers that stand for a stream and its category in the tables."""

    id: int
    category_id: int


@dataclass(frozen=True, slots=True)
class LogState:
    """The head, and for each stream that was asked for its version and its ids, as far as it exists."""

    head: Head
    versions: dict[StreamName, int]
    streams: dict[StreamName, StreamIds]
    categories: dict[str, int]
    last_stream_id: int
    last_category_id: int

    def version(self, stream: StreamName) -> int:
        """The version of a stream; NO_STREAM when it does not exist."""
        return self.versions.get(stream, NO_STREAM)


def log_state(connection: Connection, streams: Collection[StreamName]) -> LogState:
    """The log as it stands, for at least one stream. True as long as the writers' lock is held."""
    names = [stream.category for stream in streams], [stream.id for stream in streams]
    rows = rows_of(connection, _STATE, names)
    last_position, chain, last_stream_id, last_category_id = rows[0][:4]
    state = LogState(
        head=Head(BEGINNING, CHAIN_START) if last_position is None else Head(Position(last_position), chain),
        versions={},
        streams={},
        categories={},
        last_stream_id=last_stream_id or 0,
        last_category_id=last_category_id or 0,
    )
    for category, identifier, category_id, stream_id, version in (row[4:] for row in rows):
        stream = StreamName(category, identifier)
        if category_id is not None:
            state.categories[category] = category_id
        if stream_id is not None:
            state.streams[stream] = StreamIds(stream_id, category_id)
        if version is not None:
            state.versions[stream] = version
    return state
