"""Folds events into one generation of a projection, each step with its checkpoint in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeAlias, TypeVar

from sqlalchemy import Connection

from services.eventstore.event import Position, RecordedEvent
from services.eventstore.store import EventStore
from services.kernel.failpoint import fail_at
from services.projection.blame import Blame, CannotFold
from services.projection.database import FOLD_WAIT_S, Database
from services.projection.generations import Generation, move_checkpoint
from services.projection.intake import Intake, take_in
from services.projection.projection import Projection
from services.projection.rewind import require_same_log
from services.projection.skipping import Skips
from services.projection.tableset import TableSet

T = TypeVar("T")

Beside: TypeAlias = Callable[[Connection, Generation, Intake], None]
"""What else belongs into the transaction of a step: what becomes of unknown events, and what is counted."""


class Folder(Generic[T]):
    """One generation and its fold. `generation` tells how far it is; one thread at a time may fold."""

    def __init__(
        self,
        store: EventStore,
        database: Database,
        projection: Projection[T],
        generation: Generation,
        skips: Skips,
        beside: Beside,
    ) -> None:
        self.generation = generation
        self.table_set = TableSet.of(projection, generation)
        self._store = store
        self._database = database
        self._projection = projection
        self._skips = skips
        self._beside = beside

    def fold(self, events: Sequence[RecordedEvent], reached: Position) -> None:
        """Fold `events`, all there are up to `reached` in the projection's categories, and move the checkpoint there.

        Raises RuleViolated (LOG_REWOUND) when the log is not the one that was folded so far, and CannotFold that names
        one event, after those before it were folded.
        """
        require_same_log(self._store, self.generation)
        self._fold(events, reached)

    def _fold(self, events: Sequence[RecordedEvent], reached: Position) -> None:
        """All in one step; when that fails by the fault of one of them, by halves, until it stands alone."""
        try:
            self._step(events, reached)
        except CannotFold:
            if len(events) < 2:
                raise
            middle = len(events) // 2
            self._fold(events[:middle], events[middle - 1].position)
            self._fold(events[middle:], reached)

    def _step(self, events: Sequence[RecordedEvent], reached: Position) -> None:
        before = self.generation.position
        leaf = self._leaf_at(events, reached)
        fail_at("fold.before_write")
        with self._database.write(FOLD_WAIT_S) as connection:
            if events:
                self._write(connection, events)
            fail_at("fold.before_checkpoint")
            move_checkpoint(connection, self.generation, before, reached, leaf)
            fail_at("fold.before_commit")
        self.generation = replace(self.generation, position=reached, leaf=leaf)
        fail_at("fold.after_commit")

    def _write(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        with Blame(self._projection.name, events):
            intake = take_in(events, self._skips.leaves)
            if intake.foldable:
                self._projection.fold(connection, self.table_set.tables, intake.foldable)
        self._beside(connection, self.generation, intake)

    def _leaf_at(self, events: Sequence[RecordedEvent], reached: Position) -> bytes:
        if events and events[-1].position == reached:
            return events[-1].leaf
        return self._store.leaf_at(reached)
