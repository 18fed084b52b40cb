"""Which generations of a projection's tables exist, which one answers queries, and how far each is folded."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from services.eventstore.event import BEGINNING, Position
from services.kernel.errors import Conflict

_METADATA = MetaData()

GENERATIONS = Table(
    "projection_generations",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)


class GenerationState(StrEnum):
    """Whether a generation answers queries or is being folded beside the one that does."""

    LIVE = "live"
    BUILDING = "building"


@dataclass(frozen=True, slots=True)
class Generation:
    """One set of tables of a projection, folded up to `position`, whose leaf is `leaf`, by the fold of `version`."""

    name: str
    number: int
    version: int
    state: GenerationState
    position: Position
    leaf: bytes

    @property
    def suffix(self) -> str:
        """The end of its tables' names."""
        return f"__g{self.number}"


def create_table(connection: Connection) -> None:
    """Create the bookkeeping table when it is missing."""
    _METADATA.create_all(connection)


def generations_of(connection: Connection, name: str) -> list[Generation]:
    """Every generation of one projection, oldest first."""
    rows = connection.execute(select(GENERATIONS).where(GENERATIONS.c.name == name).order_by(GENERATIONS.c.generation))
    return [
        Generation(row.name, row.generation, row.version, GenerationState(row.state), Position(row.position), row.leaf)
        for row in rows
    ]


def live_generation(connection: Connection, name: str) -> Generation | None:
    """The generation that answers queries."""
    live = [known for known in generations_of(connection, name) if known.state is GenerationState.LIVE]
    return live[-1] if live else None


def add_generation(connection: Connection, name: str, version: int, state: GenerationState) -> Generation:
    """Register the next generation, folded up to nothing."""
    known = generations_of(connection, name)
    added = Generation(name, known[-1].number + 1 if known else 1, version, state, BEGINNING, b"")
    connection.execute(
        insert(GENERATIONS).values(
            name=name, generation=added.number, version=version, state=state, position=BEGINNING, leaf=b""
        )
    )
    return added


def move_checkpoint(
    connection: Connection, generation: Generation, before: Position, after: Position, leaf: bytes
) -> None:
    """Advance the checkpoint to `after`, whose leaf is `leaf`.

    Raises Conflict when somebody else moved it, which undoes the fold of this transaction.
    """
    moved = connection.execute(
        update(GENERATIONS)
        .where(
            GENERATIONS.c.name == generation.name,
            GENERATIONS.c.generation == generation.number,
            GENERATIONS.c.position == before,
        )
        .values(position=after, leaf=leaf)
    )
    if moved.rowcount != 1:
        raise Conflict(f'projection "{generation.name}" was folded by somebody else; start again from its checkpoint')


def make_live(connection: Connection, generation: Generation) -> None:
    """Let `generation` answer queries from now on."""
    connection.execute(
        update(GENERATIONS)
        .where(GENERATIONS.c.name == generation.name, GENERATIONS.c.generation == generation.number)
        .values(state=GenerationState.LIVE)
    )


def remove_generation(connection: Connection, generation: Generation) -> None:
    """Forget a generation."""
    connection.execute(
        delete(GENERATIONS).where(GENERATIONS.c.name == generation.name, GENERATIONS.c.generation == generation.number)
    )
