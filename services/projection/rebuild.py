"""Folds a projection from the first event into a generation of its own, beside the live one."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.errors import Unavailable
from services.projection.database import Database
from services.projection.generations import (
    Generation,
    GenerationState,
    add_generation,
    move_checkpoint,
    remove_generation,
)
from services.projection.projection import Projection, RebuildProgress
from services.projection.tableset import TableSet

T = TypeVar("T")


class Rebuild(Generic[T]):
    """One rebuild under way. `position` is the log position up to which the new generation is folded."""

    def __init__(
        self,
        store: EventStore,
        database: Database,
        projection: Projection[T],
        generation: Generation,
        batch_max: int,
        progress: Callable[[RebuildProgress], None],
        stop: threading.Event,
    ) -> None:
        self.generation = generation
        self.table_set = TableSet.of(projection, generation)
        self.position = BEGINNING
        self._store = store
        self._database = database
        self._projection = projection
        self._batch_max = batch_max
        self._progress = progress
        self._stop = stop
        self._events = 0

    @staticmethod
    def begin(
        store: EventStore,
        database: Database,
        projection: Projection[T],
        batch_max: int,
        progress: Callable[[RebuildProgress], None],
        stop: threading.Event,
    ) -> "Rebuild[T]":
        """Create the new generation with empty tables."""
        with database.write() as connection:
            generation = add_generation(connection, projection.name, projection.version, GenerationState.BUILDING)
            rebuild = Rebuild(store, database, projection, generation, batch_max, progress, stop)
            rebuild.table_set.create(connection)
        return rebuild

    def fold_until(self, until: Position) -> None:
        """Fold every event up to and including `until`; raises Unavailable when the service stops meanwhile."""
        while self.position < until:
            if self._stop.is_set():
                raise Unavailable("the service is stopping; start the rebuild again")
            self._fold_page(until)
            self._progress(RebuildProgress(self.position, self._store.head().position, self._events))

    def drop(self) -> None:
        """Drop the new generation."""
        with self._database.write() as connection:
            self.table_set.drop(connection)
            remove_generation(connection, self.generation)

    def _fold_page(self, until: Position) -> None:
        page = self._store.read_all(after=self.position, categories=self._projection.categories, limit=self._batch_max)
        events = [event for event in page.events if event.position <= until]
        reached = min(page.position, until)
        with self._database.write() as connection:
            if events:
                self._projection.fold(connection, self.table_set.tables, events)
            move_checkpoint(connection, self.generation, self.position, reached, self._store.leaf_at(reached))
        self.position = reached
        self.generation = replace(self.generation, position=reached)
        self._events += len(events)
