"""Folds a projection anew into a generation of its own, beside the live one: from the first event, or on from later."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from services.eventstore.catalogue import UnknownEventType
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.errors import Unavailable
from services.projection.blame import CannotFold
from services.projection.bookkeeping import drop_generation
from services.projection.database import Database
from services.projection.folder import Folder
from services.projection.generations import Generation, GenerationState, add_generation, live_generation
from services.projection.held import Held, count_folded, hold, know_decisions
from services.projection.intake import Intake
from services.projection.projection import Projection, RebuildProgress
from services.projection.rewind import require_same_log
from services.projection.skipping import Skips
from services.projection.tableset import TableSet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workshop(Generic[T]):
    """What every rebuild of one projection works with. `stop` is set when the service stops."""

    store: EventStore
    database: Database
    projection: Projection[T]
    skips: Skips
    batch_max: int
    stop: threading.Event

    def begin(self) -> "Rebuild[T]":
        """A rebuild from the first event, with tables of its own."""
        with self.database.write() as connection:
            generation = add_generation(
                connection, self.projection.name, self.projection.version, GenerationState.BUILDING
            )
            hold(connection, generation, len(self.skips.decisions))
            TableSet.of(self.projection, generation).create(connection)
        return Rebuild(self, generation, 0)

    def go_on(self, held: Held) -> "Rebuild[T]":
        """The rebuild that was held; raises RuleViolated (LOG_REWOUND) when the log is another by now."""
        require_same_log(self.store, held.generation)
        with self.database.write() as connection:
            know_decisions(connection, held.generation, len(self.skips.decisions))
        return Rebuild(self, held.generation, held.events)

    def drop(self, generation: Generation) -> None:
        """Drop a generation that was built or held; one that is live by now stays, whoever heard of it or not."""
        with self.database.write() as connection:
            live = live_generation(connection, self.projection.name)
            if live is None or live.number != generation.number:
                drop_generation(connection, self.projection, generation)


class Rebuild(Generic[T]):
    """One rebuild under way. Each page is held with its checkpoint, so that it can be gone on with after a crash."""

    def __init__(self, workshop: Workshop[T], generation: Generation, events: int) -> None:
        self.events = events
        self._workshop = workshop
        self._folder = Folder(
            workshop.store, workshop.database, workshop.projection, generation, workshop.skips, self._beside
        )

    @property
    def generation(self) -> Generation:
        """Its generation, and how far it is folded."""
        return self._folder.generation

    @property
    def position(self) -> Position:
        """Log position up to which it is folded."""
        return self._folder.generation.position

    @property
    def table_set(self) -> TableSet[T]:
        """Its tables."""
        return self._folder.table_set

    def fold_until(self, until: Position, progress: Callable[[RebuildProgress], None]) -> None:
        """Fold every event up to and including `until`.

        Raises CannotFold at an event that the fold refuses or that this release does not know, and Unavailable when
        the service stops meanwhile.
        """
        while self.position < until:
            if self._workshop.stop.is_set():
                raise Unavailable("the service is stopping; go on with `meterlog rebuild --resume` when it is back")
            self._fold_page(until)
            self.tell(progress)

    def tell(self, progress: Callable[[RebuildProgress], None]) -> None:
        """Say how far it is; raises what `progress` raises, which ends the rebuild."""
        progress(RebuildProgress(self.position, self._workshop.store.head().position, self.events))

    def _fold_page(self, until: Position) -> None:
        page = self._workshop.store.read_all(
            after=self.position, categories=self._workshop.projection.categories, limit=self._workshop.batch_max
        )
        events = [event for event in page.events if event.position <= until]
        self._folder.fold(events, min(page.position, until))

    def _beside(self, connection: Connection, generation: Generation, intake: Intake) -> None:
        if intake.unknown:
            raise CannotFold(
                generation.name,
                intake.unknown,
                "a rebuild stops at what this release does not know. Upgrade it, then go on with `meterlog rebuild "
                f"{generation.name} --resume`; or leave the event out for ever with `meterlog projections skip`",
                reason=UnknownEventType.default_reason,
            )
        count_folded(connection, generation, len(intake.foldable))
        self.events += len(intake.foldable)
