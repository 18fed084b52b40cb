"""Parked events: those that the live fold set aside because this release does not know them, noted beside the tables.

The note is written in the transaction that moves the checkpoint past the event, so none is lost and none is made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
)

from services.eventstore.catalogue import CATALOGUE
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.projection.columns import TEXT
from services.projection.generations import Generation

_METADATA = MetaData()

PARKED = Table(
    "projection_parked",
    _METADATA,
    Column("name", TEXT, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("reason", TEXT, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that is in the log and not in the tables, and why. `is_known` tells that this release can read it."""

    position: Position
    stream: StreamName
    version: int
    type: str
    schema_version: int
    leaf: bytes
    reason: str
    is_known: bool

    @staticmethod
    def of(recorded: RecordedEvent, reason: str) -> "ParkedEvent":
        """An event of the log as it is set aside."""
        return ParkedEvent(
            recorded.position,
            recorded.stream,
            recorded.version,
            recorded.type,
            recorded.schema_version,
            recorded.leaf,
            reason,
            CATALOGUE.is_known(recorded),
        )


def parked_remark(name: str, count: int) -> str:
    """That so many events are parked in a projection; empty when none is."""
    if not count:
        return ""
    return (
        f'events parked in "{name}", unknown to this release: {count}; `meterlog projections parked` lists '
        "them: upgrade and retry, or skip them"
    )


def create_table(connection: Connection) -> None:
    """Create the table of notes when it is missing."""
    _METADATA.create_all(connection)


def park(connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> None:
    """Note events that are set aside."""
    if events:
        connection.execute(insert(PARKED), [_row(generation, event) for event in events])


def unpark(connection: Connection, generation: Generation, leaf: bytes) -> None:
    """Strike the note of an event that was decided about; nothing happens when there is none."""
    connection.execute(delete(PARKED).where(_of(generation), PARKED.c.leaf == leaf))


def forget_parked(connection: Connection, generation: Generation) -> None:
    """Strike all notes of a generation."""
    connection.execute(delete(PARKED).where(_of(generation)))


def parked_count(connection: Connection, generation: Generation) -> int:
    """How many events a generation has set aside."""
    count = select(func.count()).select_from(PARKED).where(_of(generation))
    return connection.execute(count).scalar_one()


def parked_page(connection: Connection, generation: Generation, after: Position, limit: int) -> tuple[ParkedEvent, ...]:
    """Up to `limit` parked events behind a position, in log order."""
    chosen = select(PARKED).where(_of(generation), PARKED.c.position > after).order_by(PARKED.c.position).limit(limit)
    return tuple(
        ParkedEvent(
            Position(row.position),
            StreamName.parse(row.stream),
            row.version,
            row.type,
            row.schema_version,
            row.leaf,
            row.reason,
            CATALOGUE.knows(row.type, row.schema_version),
        )
        for row in connection.execute(chosen)
    )


def _of(generation: Generation) -> ColumnElement[bool]:
    return and_(PARKED.c.name == generation.name, PARKED.c.generation == generation.number)


def _row(generation: Generation, event: RecordedEvent) -> dict[str, object]:
    return {
        "name": generation.name,
        "generation": generation.number,
        "position": event.position,
        "stream": str(event.stream),
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "leaf": event.leaf,
        "reason": f"this release does not know {event.type} version {event.schema_version}",
    }
