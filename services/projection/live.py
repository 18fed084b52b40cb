"""The live generation of a projection: folded by one thread, read by all, replaced when a rebuilt one takes over."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection

from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.store import EventStore
from services.kernel.errors import Conflict, TimedOut, Unavailable
from services.kernel.failpoint import fail_at
from services.projection.bookkeeping import create_bookkeeping, drop_generation
from services.projection.database import Database
from services.projection.folder import Folder
from services.projection.generations import (
    Generation,
    GenerationState,
    add_generation,
    generations_of,
    live_generation,
    make_live,
)
from services.projection.held import forget_held, held_rebuilds
from services.projection.intake import Intake
from services.projection.parked import ParkedEvent, park, parked_count, parked_page, unpark
from services.projection.projection import Projection
from services.projection.rewind import require_same_log, stands_in_log
from services.projection.skipping import Skips
from services.projection.tableset import TableSet

T = TypeVar("T")

log = structlog.get_logger()


class LiveTables(Generic[T]):
    """Who folds, or must have them stand still, holds `folding`; anybody may read."""

    def __init__(self, store: EventStore, database: Database, projection: Projection[T], skips: Skips) -> None:
        self.folding = threading.Lock()
        self._store = store
        self._database = database
        self._projection = projection
        self._skips = skips
        self._folder: Folder[T] | None = None
        self._parked = 0
        self._table_sets: dict[int, TableSet[T]] = {}

    def open(self) -> None:
        """Take the live generation, or a first one where there is none of this version; drop what is of no use.

        Raises RuleViolated (LOG_REWOUND) when the log is not the one that it was folded from; then nothing is dropped.
        """
        with self._database.write() as connection:
            create_bookkeeping(connection)
            usable = self._usable(connection)
            for known in generations_of(connection, self._projection.name):
                if known not in usable:
                    drop_generation(connection, self._projection, known)
            live = next((known for known in usable if known.state is GenerationState.LIVE), None)
            self._use(live or self._create(connection))
            for leaf in self._skips.leaves:
                unpark(connection, self.generation, leaf)
            self._parked = parked_count(connection, self.generation)

    def look_again(self) -> None:
        """Take the live generation as the database has it: a commit whose answer was lost may have moved it.

        Where another process has folded meanwhile, and left none that is of use, it is as `open` says.
        """
        if not self.look_on():
            self.open()

    def look_on(self) -> bool:
        """Take the live generation as it stands in the database; False when there is none of this version."""
        with self.folding, self._database.read() as connection:
            standing = live_generation(connection, self._projection.name)
            if standing is None or standing.version != self._projection.version:
                return False
            if self._folder is None or standing != self.generation:
                self._use(standing)
            self._parked = parked_count(connection, standing)
            return True

    @property
    def generation(self) -> Generation:
        """The live generation, and how far it is folded."""
        assert self._folder is not None, "open() comes first"
        return self._folder.generation

    @property
    def number(self) -> int:
        """The number of the live generation; 0 before `open`."""
        return self._folder.generation.number if self._folder else 0

    @property
    def position(self) -> Position:
        """Log position up to which it is folded; BEGINNING before `open`."""
        return self._folder.generation.position if self._folder else BEGINNING

    @property
    def parked(self) -> int:
        """How many events are set aside and wait for a decision."""
        return self._parked

    def fold(self, events: Sequence[RecordedEvent], reached: Position) -> None:
        """Fold what the log holds up to `reached`; events that this release does not know are parked.

        Raises as `Folder.fold` does.
        """
        assert self._folder is not None, "open() comes first"
        self._folder.fold(events, reached)

    @contextmanager
    def read(self) -> Iterator[tuple[Connection, T]]:
        """One consistent snapshot of the tables that answer queries now."""
        with self._database.read() as connection:
            yield connection, self.tables_in(connection).tables

    def tables_in(self, connection: Connection) -> TableSet[T]:
        """The live tables as this snapshot has them."""
        generation = live_generation(connection, self._projection.name)
        if generation is None:
            raise TimedOut(f'projection "{self._projection.name}" has not started yet; repeat later')
        if generation.version != self._projection.version:
            raise Unavailable(
                f'the tables of projection "{self._projection.name}" are of another release, whose replica folds them; '
                "ask that one"
            )
        if generation.number not in self._table_sets:
            self._table_sets[generation.number] = TableSet.of(self._projection, generation)
        return self._table_sets[generation.number]

    def require_standing(self, connection: Connection) -> None:
        """Raises Conflict when another process has folded, or swapped, since this one did: it led in between."""
        standing, known = live_generation(connection, self._projection.name), self.generation
        if standing is None or (standing.number, standing.position) != (known.number, known.position):
            raise Conflict(
                f'the tables of projection "{self._projection.name}" were folded by another replica meanwhile; repeat'
            )

    def parked_events(self, after: Position, limit: int) -> tuple[ParkedEvent, ...]:
        """Up to `limit` parked events behind a position, in log order."""
        if self._folder is None:
            return ()
        with self._database.read() as connection:
            return parked_page(connection, self.generation, after, limit)

    def strike(self, leaf: bytes) -> None:
        """Forget that an event is parked: it was decided about. The caller holds `folding`."""
        with self._database.write() as connection:
            unpark(connection, self.generation, leaf)
            self._parked = parked_count(connection, self.generation)

    def swap_to(self, rebuilt: Generation) -> None:
        """Let a rebuilt generation, folded as far as this one, answer from now on. The caller holds `folding`."""
        old = self.generation
        with self._database.write() as connection:
            self.require_standing(connection)
            make_live(connection, rebuilt)
            forget_held(connection, rebuilt)
            drop_generation(connection, self._projection, old)
            fail_at("swap.before_commit")
        self._use(rebuilt)
        self._parked = 0
        fail_at("swap.after_commit")

    def _usable(self, connection: Connection) -> list[Generation]:
        """The live generation of this version, and the rebuilds that can be gone on with."""
        version = self._projection.version
        found = []
        live = live_generation(connection, self._projection.name)
        if live is not None and live.version == version:
            require_same_log(self._store, live)
            found.append(live)
        for held in held_rebuilds(connection, self._projection.name):
            is_useful = held.generation.version == version and held.generation.position > BEGINNING
            if is_useful and stands_in_log(self._store, held.generation) and held.is_usable(self._skips.decisions):
                found.append(held.generation)
        return found

    def _create(self, connection: Connection) -> Generation:
        generation = add_generation(connection, self._projection.name, self._projection.version, GenerationState.LIVE)
        TableSet.of(self._projection, generation).create(connection)
        return generation

    def _use(self, generation: Generation) -> None:
        if self._folder is not None and self._folder.generation.number == generation.number:
            self._folder.generation = generation
            return
        self._folder = Folder(self._store, self._database, self._projection, generation, self._skips, self._park)

    def _park(self, connection: Connection, generation: Generation, intake: Intake) -> None:
        park(connection, generation, intake.unknown)
        if intake.unknown:
            self._parked = parked_count(connection, generation)
            first = intake.unknown[0]
            log.warning(
                "events parked",
                projection=self._projection.name,
                parked=self._parked,
                position=first.position,
                type=first.type,
                schema_version=first.schema_version,
            )
