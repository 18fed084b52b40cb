"""A log in memory, a database in a file, and one small projection on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated
from services.eventstore.catalogue import decode, encode
from services.eventstore.event import NO_STREAM, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.projection.database import Database
from services.projection.projection import RebuildProgress
from services.projection.runner import ProjectionRunner

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class SlugTables:
    """One row a meter: how often it was heard of."""

    slugs: Table


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
            Table("slugs" + suffix, metadata, Column("slug", Text, primary_key=True), Column("events", Integer))
        )

    def fold(self, connection: Connection, tables: SlugTables, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            message = decode(event)
            assert isinstance(message, MeterCreated | MeterArchived)
            if message.slug == self.poison:
                raise ValueError("poison")
            row = insert(tables.slugs).values(slug=message.slug, events=self.weight)
            count = tables.slugs.c.events + self.weight
            connection.execute(row.on_conflict_do_update(index_elements=["slug"], set_={"events": count}))


class Bench:
    """A log in memory, a database in a file, and one projection on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = MemoryEventStore(SimulatedClock(NOON))
        self.database = Database.open(f"sqlite:///{path}")
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

    def rows(self) -> dict[str, int]:
        with self.runner.read() as (connection, tables):
            return {row.slug: row.events for row in connection.execute(select(tables.slugs))}

    def restart(self, projection: SlugProjection) -> None:
        self.close()
        self.database = Database.open(f"sqlite:///{self.path}")
        self.projection = projection
        self.runner = ProjectionRunner(self.store, self.database, projection, batch_max=3)

    def close(self) -> None:
        self.runner.stop(WAIT_S)
        self.database.close()


def unheard(_progress: RebuildProgress) -> None:
    return None
