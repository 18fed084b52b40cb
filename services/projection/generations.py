"""Which generations of a projection's tables exist, which one answers queries, and how far each is folded."""

from dataclasses import dataclass
from enum import StrEnum
from threading import Event
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from services.eventstore.event import BEGINNING, Position
from services.kernel.clock import monotonic_s
from services.kernel.errors import Conflict, Unavailable
from services.projection.columns import TEXT

READERS_TIMEOUT_S: Final = 60.0
TURN_MS: Final = 100
DROP_TIMEOUT_S: Final = 30.0
LOCK_NOT_AVAILABLE: Final = "55P03"

_METADATA = MetaData()

GENERATIONS = Table(
    "projection_generations",
    _METADATA,
    Column("name", TEXT, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", TEXT, nullable=False),
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


def wait_for_readers(connection: Connection) -> None:
    """Return when no snapshot is read any more and none begins before the end of this transaction.

    SQLite needs no such wait: there a snapshot keeps the tables that it shows. Readers are held up for TURN_MS at a
    time. Raises Unavailable when somebody reads all through READERS_TIMEOUT_S.
    """
    if connection.dialect.name == "sqlite":
        return
    deadline = monotonic_s() + READERS_TIMEOUT_S
    while not _locked_out(connection):
        if monotonic_s() > deadline:
            raise Unavailable(
                f"the tables were read without a pause for {READERS_TIMEOUT_S:.0f} s, so none could be dropped; "
                "repeat when fewer queries run"
            )
        Event().wait(TURN_MS / 1_000)


def _locked_out(connection: Connection) -> bool:
    """Whether this transaction has locked all readers out within TURN_MS."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {TURN_MS}")
            connection.exec_driver_sql(f"LOCK TABLE {GENERATIONS.name} IN ACCESS EXCLUSIVE MODE")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{DROP_TIMEOUT_S:.0f}s'")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


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
