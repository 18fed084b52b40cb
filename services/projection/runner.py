"""Folds one projection live in a thread of its own, or follows the replica that does; serves readers and operators."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection

from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.eventstore.event import BEGINNING, Batch, CaughtUp, Position
from services.eventstore.store import EventStore
from services.kernel.errors import NotFound, RuleViolated, TimedOut, Unavailable
from services.projection.arrivals import Arrivals
from services.projection.blame import CannotFold
from services.projection.database import Database
from services.projection.lasting_thread import LastingThread
from services.projection.live import LiveTables
from services.projection.looking_on import LookingOn
from services.projection.owner_lock import Follows
from services.projection.parked import ParkedEvent, parked_remark
from services.projection.projection import (
    Comparison,
    HeldRebuild,
    Projection,
    ProjectionStatus,
    RebuildMode,
    RebuildProgress,
)
from services.projection.rebuild import Workshop
from services.projection.rebuilding import Rebuilding
from services.projection.rewind import require_same_log
from services.projection.skipping import Decision, Skips

T = TypeVar("T")

log = structlog.get_logger()

BATCH_MAX = 1_000
REWIND_LOOK_S = 2.0
"""How often a projection that has nothing to fold looks whether its log is still the same."""


class ProjectionRunner(Generic[T]):
    """A worker that keeps one projection up to date; any thread may read it.

    The checkpoint moves in the transaction of the fold, so each event is folded once, whatever crashes. Events that
    this release does not know are parked; an event that the fold refuses stops it, until it can be folded, or is
    skipped. Of the processes that share a database one folds; the others look on, and one of them goes on from the
    checkpoint when that one is gone.
    """

    def __init__(
        self, store: EventStore, database: Database, projection: Projection[T], batch_max: int = BATCH_MAX
    ) -> None:
        self._store = store
        self._database = database
        self._projection = projection
        self._batch_max = batch_max
        self._stop = threading.Event()
        self._skips = Skips(store, projection.name)
        self._live = LiveTables(store, database, projection, self._skips)
        workshop = Workshop(store, database, projection, self._skips, batch_max, self._stop)
        self._rebuilding = Rebuilding(workshop, self._live)
        self._arrivals = Arrivals(store, projection.name, self.position, self._stop_reason)
        self._looking_on = LookingOn(store, database, self._live, self._arrivals.tell)
        self._thread = LastingThread(f"fold {projection.name}", self._work)
        self._watch = LastingThread(f"watch {projection.name}", self._look_for_rewind)
        self._is_caught_up = False
        self._is_folding = False
        self._stopping: ParkedEvent | None = None

    @property
    def name(self) -> str:
        """The projection's name."""
        return self._projection.name

    def start(self) -> None:
        """Open the live generation (a first or a new one where there is none of this version) and begin to fold; or
        look on, while another replica folds.

        Raises RuleViolated (LOG_REWOUND) when the log is not the one that was folded.
        """
        with suppress(Follows):  # another one was quicker
            if self._database.leads():
                self._take_over()
        self._thread.start()
        self._watch.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the batch in hand and stop; who waits for a position is told so."""
        self._stop.set()
        self._arrivals.stop()
        self._thread.stop(timeout_s)
        self._watch.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether the end of the log has been reached since the start, and folding, or looking on, goes on."""
        return (self._is_caught_up or self._looking_on.is_caught_up) and not self._stop_reason()

    def is_leading(self) -> bool:
        """Whether this process folds, and so does what one replica does for all; then as `is_ready`."""
        return self._is_folding and self._database.is_leading and self.is_ready()

    def require_leading(self) -> None:
        """Raises Follows when another replica folds."""
        self._database.require_leading()

    def problem(self) -> str:
        """Why folding stopped, or that events are parked; empty while all is well."""
        return self._stop_reason() or parked_remark(self.name, self._live.parked)

    def position(self) -> Position:
        """Log position up to which the live tables are folded."""
        return self._live.position

    def is_whole(self) -> bool:
        """Whether the tables hold every event up to their position that nobody decided to leave out.

        It asks nobody; only `require_whole` also looks whether the log is still the same.
        """
        return not self._live.parked

    def require_whole(self) -> None:
        """For what can never be taken back: raises RuleViolated while events are parked (EVENTS_PARKED), and when the
        tables are not of the log as it stands at this moment (LOG_REWOUND).
        """
        remark = parked_remark(self.name, self._live.parked)
        if remark:
            raise RuleViolated(remark, reason="EVENTS_PARKED")
        require_same_log(self._store, self._live.generation)

    def wait_for(self, position: Position, timeout_s: float) -> None:
        """Return when the live tables are folded up to `position`, which was appended: who wrote reads what it wrote.

        Raises TimedOut, and Unavailable when the service stops meanwhile.
        """
        self._arrivals.wait_for(position, timeout_s)

    def wait_for_move(self, position: Position, timeout_s: float) -> Position:
        """Where the live tables stand, as soon as that is not `position`; at the latest after `timeout_s`.

        For one who follows the fold. Raises Unavailable when the service stops meanwhile.
        """
        return self._arrivals.wait_for_move(position, timeout_s)

    def wait_for_reader(self, position: Position, timeout_s: float) -> None:
        """`wait_for` a position that a caller names, bounded so that readers never take all threads that answer calls.

        Raises InvalidInput for a position that the log has not reached, and Overloaded when too many wait.
        """
        self._arrivals.wait_for_reader(position, timeout_s)

    @contextmanager
    def read(self) -> Iterator[tuple[Connection, T]]:
        """One consistent snapshot of the tables that answer queries now."""
        with self._live.read() as snapshot:
            yield snapshot

    def status(self) -> ProjectionStatus:
        """Where the projection stands."""
        return ProjectionStatus(
            name=self.name,
            generation=self._live.number,
            position=self._live.position,
            head_position=self._store.head().position,
            is_caught_up=self.is_ready(),
            stop_reason=self._stop_reason(),
            parked=self._live.parked,
            skipped=len(self._skips.decisions),
            held=self._rebuilding.held,
            is_rebuilding=self._rebuilding.is_running,
            leader=self._database.leader(),
        )

    def rebuild(
        self,
        *,
        mode: RebuildMode,
        progress: Callable[[RebuildProgress], None],
        start: Position = BEGINNING,
        examples: int = 0,
    ) -> Comparison:
        """As in `Operable`."""
        self.require_leading()
        return self._rebuilding.rebuild(mode, progress, start, examples)

    def rebuild_until(
        self, *, until: Position, progress: Callable[[RebuildProgress], None], start: Position = BEGINNING
    ) -> HeldRebuild:
        """As in `Operable`."""
        self.require_leading()
        return self._rebuilding.rebuild_until(until, progress, start)

    def discard(self, position: Position | None) -> tuple[HeldRebuild, ...]:
        """As in `Operable`."""
        self.require_leading()
        return self._rebuilding.discard(position)

    def parked(self, after: Position, limit: int) -> tuple[ParkedEvent, ...]:
        """As in `Operable`."""
        return self._live.parked_events(after, limit)

    def stopping_event(self) -> ParkedEvent | None:
        """As in `Operable`."""
        return self._stopping

    def skipped(self) -> tuple[ProjectionEventSkipped, ...]:
        """As in `Operable`."""
        return self._skips.decisions

    def skip(self, position: Position, decision: Decision) -> ProjectionEventSkipped:
        """As in `Operable`."""
        self.require_leading()
        with self._rebuilding.alone():
            leaf = self._store.leaf_at(position)
            if leaf in self._skips.leaves:
                return self._skips.of(leaf)
            event = self._undecided(position)
            decided = self._skips.decide(event, decision)
            with self._live.folding:
                self._live.strike(event.leaf)
            self._rebuilding.discard_behind(position)
            return decided

    def _undecided(self, position: Position) -> ParkedEvent:
        stopping = self._stopping
        if stopping is not None and stopping.position == position:
            return stopping
        for event in self._live.parked_events(Position(position - 1), 1):
            if event.position == position:
                return event
        raise NotFound(
            f'position {position} is neither parked in "{self.name}" nor stops it; '
            "`meterlog projections parked` lists what can be decided about",
            reason="EVENT_NOT_PARKED",
        )

    def _stop_reason(self) -> str:
        return self._thread.problem or self._watch.problem or self._looking_on.remark

    def _work(self, stop: threading.Event) -> None:
        if self._database.leads():
            try:
                self._lead(stop)
            except Follows:
                log.warning("another replica folds now", projection=self.name)
            except (Unavailable, TimedOut):
                self._database.step_aside()  # what this one cannot reach, another may
                raise
        else:
            self._is_folding = False
            self._thread.well()
            self._looking_on.until_leading(stop)

    def _take_over(self) -> None:
        self._skips.refresh()
        self._live.open()
        self._rebuilding.open()
        self._is_folding = True
        log.info("folding", projection=self.name, position=self._live.position)

    def _lead(self, stop: threading.Event) -> None:
        if not self._is_folding:
            self._take_over()
        self._skips.refresh()
        self._live.look_again()
        news = self._store.subscribe(
            after=self._live.position, categories=self._projection.categories, batch_max=self._batch_max, stop=stop
        )
        for item in news:
            self._fold(item)
            self._thread.well()

    def _fold(self, item: Batch | CaughtUp) -> None:
        events = item.events if isinstance(item, Batch) else ()
        try:
            with self._live.folding:
                if item.position > self._live.position:
                    self._live.fold(events, item.position)
            self._stopping = None
            self._is_caught_up = self._is_caught_up or isinstance(item, CaughtUp)
        except CannotFold as refusal:
            self._stopping = ParkedEvent.of(refusal.events[0], refusal.why)
            raise
        finally:
            self._arrivals.tell()

    def _look_for_rewind(self, stop: threading.Event) -> None:
        """Who folds finds out here, too, that it has lost the lead; who follows, what was decided and is held."""
        while not stop.wait(REWIND_LOOK_S):
            if self._live.number:
                require_same_log(self._store, self._live.generation)
                if not (self._is_folding and self._database.leads()):
                    self._skips.refresh()
                    self._rebuilding.open()
            self._watch.well()
