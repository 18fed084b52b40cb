"""A small projection whose rows depend on every event and on their order: one row a stream."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text, delete, insert, select

from services.eventstore.event import RecordedEvent

Rows = dict[str, tuple[int, bytes]]
"""Of each stream the number of its events, and a hash over their ids in log order."""

CATEGORIES = frozenset({"shared", "own"})


@dataclass(frozen=True, slots=True)
class TallyTables:
    """One row a stream."""

    tallies: Table


class TallyProjection:
    """Counts and hashes the events of each stream: an event folded twice, left out or out of order shows for ever."""

    name = "tallies"
    version = 1
    categories = CATEGORIES

    def tables(self, metadata: MetaData, suffix: str) -> TallyTables:
        columns = Column("stream", Text, primary_key=True), Column("events", Integer), Column("digest", LargeBinary)
        return TallyTables(Table("tallies" + suffix, metadata, *columns))

    def fold(self, connection: Connection, tables: TallyTables, events: Sequence[RecordedEvent]) -> None:
        names = {str(event.stream) for event in events}
        known = select(tables.tallies).where(tables.tallies.c.stream.in_(names))
        rows = folded(events, {row.stream: (row.events, row.digest) for row in connection.execute(known)})
        connection.execute(delete(tables.tallies).where(tables.tallies.c.stream.in_(names)))
        values = [{"stream": name, "events": count, "digest": digest} for name, (count, digest) in rows.items()]
        connection.execute(insert(tables.tallies), values)


def folded(events: Iterable[RecordedEvent], before: Rows | None = None) -> Rows:
    """The rows after these events; what the fold means, without a database."""
    rows = dict(before or {})
    for event in events:
        if event.stream.category in CATEGORIES:
            count, digest = rows.get(str(event.stream), (0, b""))
            rows[str(event.stream)] = (count + 1, sha256(digest + event.id.bytes).digest())
    return rows


def rows_of(connection: Connection, tables: TallyTables) -> Rows:
    """The rows as they stand."""
    return {row.stream: (row.events, row.digest) for row in connection.execute(select(tables.tallies))}
