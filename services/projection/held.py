"""Held rebuilds: generations that were stopped before their end, with what must be known to go on with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.projection.columns import TEXT
from services.projection.generations import Generation, GenerationState, generations_of
from services.projection.projection import HeldRebuild

_METADATA = MetaData()

REBUILDS = Table(
    "projection_rebuilds",
    _METADATA,
    Column("name", TEXT, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("events", BigInteger, nullable=False),
    Column("decisions", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Held:
    """A generation beside the live one, the events folded into it, and how many skip decisions it knew of."""

    generation: Generation
    events: int
    decisions: int

    def is_usable(self, decisions: Sequence[ProjectionEventSkipped]) -> bool:
        """Whether it left out all that it should: no later decision concerns an event that it has folded already."""
        later = decisions[self.decisions :]
        return all(decision.position > self.generation.position for decision in later)

    def shown(self) -> HeldRebuild:
        """As an operator sees it."""
        return HeldRebuild(self.generation.position, self.events, self.generation.number)


def create_table(connection: Connection) -> None:
    """Create the bookkeeping table when it is missing."""
    _METADATA.create_all(connection)


def hold(connection: Connection, generation: Generation, decisions: int) -> None:
    """Register a rebuild that begins."""
    row = {"name": generation.name, "generation": generation.number, "events": 0, "decisions": decisions}
    connection.execute(insert(REBUILDS), row)


def count_folded(connection: Connection, generation: Generation, events: int) -> None:
    """Add to what was folded into a rebuild."""
    connection.execute(update(REBUILDS).where(_of(generation)).values(events=REBUILDS.c.events + events))


def know_decisions(connection: Connection, generation: Generation, decisions: int) -> None:
    """Note that a rebuild which goes on knows of so many decisions."""
    connection.execute(update(REBUILDS).where(_of(generation)).values(decisions=decisions))


def forget_held(connection: Connection, generation: Generation) -> None:
    """Strike a rebuild from the list: it went to its end, or its tables are dropped."""
    connection.execute(delete(REBUILDS).where(_of(generation)))


def held_rebuilds(connection: Connection, name: str) -> list[Held]:
    """The rebuilds of a projection that are held, by position."""
    rows = {row.generation: row for row in connection.execute(select(REBUILDS).where(REBUILDS.c.name == name))}
    found = [
        Held(generation, rows[generation.number].events, rows[generation.number].decisions)
        for generation in generations_of(connection, name)
        if generation.state is GenerationState.BUILDING and generation.number in rows
    ]
    return sorted(found, key=lambda held: (held.generation.position, held.generation.number))


def _of(generation: Generation) -> ColumnElement[bool]:
    return and_(REBUILDS.c.name == generation.name, REBUILDS.c.generation == generation.number)
