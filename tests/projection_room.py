"""A log in memory, a database in a file, and one small projection on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, select, update

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import NO_STREAM, NewEvent, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.ids import derived_uuid
from services.projection.columns import TEXT
from services.projection.database import Database
from services.projection.projection import RebuildProgress
from services.projection.runner import ProjectionRunner
from tests.databases import USUAL, tables_url

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class SlugTables:
    """One row a meter: how often it was heard of."""

    slugs: Table


RENAMED = ("MeterRenamed", 7)
"""An event type and version that no release knows yet."""


class SlugProjection:
    """Counts the events of each meter; `weight` stands for a bug in the fold."""

    name = "slugs"
    categories = frozenset({"meter"})

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.weight = 1
        self.poison = ""

    def tables(self, metadata: MetaData, suffix: str) -> SlugTables:
        return SlugTables(
            Table("slugs" + suffix, metadata, Column("slug", TEXT, primary_key=True), Column("events", Integer))
        )

    def fold(self, connection: Connection, tables: SlugTables, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            message = decode(event)
            assert isinstance(message, MeterCreated | MeterArchived)
            if message.slug == self.poison:
                raise ValueError("poison")
            slugs = tables.slugs
            counted = update(slugs).where(slugs.c.slug == message.slug).values(events=slugs.c.events + self.weight)
            if not connection.execute(counted).rowcount:
                connection.execute(insert(slugs).values(slug=message.slug, events=self.weight))


class Bench:
    """A log in memory, a database in a file, and one projection on them."""

    def __init__(self, path: Path, database: str = USUAL) -> None:
        self.path = path
        self.url = tables_url(database, path.parent, path.stem)
        self.store: EventStore = MemoryEventStore(SimulatedClock(NOON))
        self.database = Database.open(self.url)
        self.projection = SlugProjection()
        self.runner = ProjectionRunner(self.store, self.database, self.projection, batch_max=3)

    def meter(self, slug: str) -> Position:
        stream = StreamName("meter", slug)
        return self.store.append(stream, [encode(MeterCreated(slug=slug), stream, 0, NOON)], NO_STREAM).position

    def archive(self, slug: str) -> Position:
        stream = StreamName("meter", slug)
        return self.store.append(stream, [encode(MeterArchived(slug=slug), stream, 1, NOON)], 0).position

    def elsewhere(self) -> Position:
        stream = StreamName("customer", f"c{self.store.head().position}")
        return self.store.append(stream, [encode(MeterCreated(slug="x"), stream, 0, NOON)], NO_STREAM).position

    def renamed(self, slug: str, payload: bytes = b"") -> Position:
        """An event that a newer release wrote: it names the meter in a form that this one does not know."""
        stream = StreamName("meter", f"{slug}-renamed")
        event = NewEvent(derived_uuid(NOON, slug, "renamed"), *RENAMED, payload or slug.encode())
        return self.store.append(stream, [event], NO_STREAM).position

    def rows(self) -> dict[str, int]:
        with self.runner.read() as (connection, tables):
            return {row.slug: row.events for row in connection.execute(select(tables.slugs))}

    def restart(self, projection: SlugProjection) -> None:
        self.close()
        self.database = Database.open(self.url)
        self.projection = projection
        self.runner = ProjectionRunner(self.store, self.database, projection, batch_max=3)

    def close(self) -> None:
        self.runner.stop(WAIT_S)
        self.database.close()


def unheard(_progress: RebuildProgress) -> None:
    return None
