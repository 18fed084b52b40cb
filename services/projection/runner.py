"""Folds one projection live in a thread of its own, serves its tables to readers, and swaps in a rebuilt one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from sqlalchemy import Connection

from services.eventstore.event import BEGINNING, Batch, CaughtUp, Position
from services.eventstore.store import EventStore
from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, Overloaded, RuleViolated, TimedOut, Unavailable
from services.projection.database import Database
from services.projection.generations import (
    Generation,
    GenerationState,
    add_generation,
    create_table,
    generations_of,
    live_generation,
    make_live,
    move_checkpoint,
    remove_generation,
)
from services.projection.lasting_thread import LastingThread
from services.projection.projection import Comparison, Projection, ProjectionStatus, RebuildMode, RebuildProgress
from services.projection.rebuild import Rebuild
from services.projection.tableset import TableSet

T = TypeVar("T")

BATCH_MAX = 1_000
READERS_WAITING_MAX = 16
"""Readers that may wait for one projection; half of the threads that answer calls."""


class ProjectionRunner(Generic[T]):
    """A worker that keeps one projection up to date; any thread may read it.

    The checkpoint moves in the transaction of the fold, so each event is folded once, whatever crashes.
    """

    def __init__(
        self, store: EventStore, database: Database, projection: Projection[T], batch_max: int = BATCH_MAX
    ) -> None:
        self._store = store
        self._database = database
        self._projection = projection
        self._batch_max = batch_max
        self._position = BEGINNING
        self._generation: Generation | None = None
        self._table_sets: dict[int, TableSet[T]] = {}
        self._moved = threading.Condition()
        self._readers_waiting = threading.BoundedSemaphore(READERS_WAITING_MAX)
        self._folding = threading.Lock()
        self._rebuilding = threading.Lock()
        self._stop = threading.Event()
        self._thread = LastingThread(f"fold {projection.name}", self._follow)
        self._is_caught_up = False

    @property
    def name(self) -> str:
        """The projection's name."""
        return self._projection.name

    def start(self) -> None:
        """Open the live generation (a first or a new one where there is none of this version) and begin to fold."""
        with self._database.write() as connection:
            create_table(connection)
            self._drop_all_but_live(connection)
            generation = live_generation(connection, self.name) or self._create_live(connection)
        self._require_same_log(generation)
        self._generation = generation
        self._position = generation.position
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the batch in hand and stop; who waits for a position is told so."""
        self._stop.set()
        with self._moved:
            self._moved.notify_all()
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether the end of the log has been reached since the start, and folding goes on."""
        return self._is_caught_up and not self._thread.problem

    def problem(self) -> str:
        """Why folding stopped; empty while it runs."""
        return self._thread.problem

    def position(self) -> Position:
        """Log position up to which the live tables are folded."""
        return self._position

    def wait_for(self, position: Position, timeout_s: float) -> None:
        """Return when the live tables are folded up to `position`, which was appended: who wrote reads what it wrote.

        Raises TimedOut, and Unavailable when the service stops meanwhile.
        """
        deadline = monotonic_s() + timeout_s
        with self._moved:
            while self._position < position:
                if self._stop.is_set():
                    raise Unavailable("the service is stopping; repeat later")
                left = deadline - monotonic_s()
                if left <= 0 or not self._moved.wait(left):
                    raise TimedOut(
                        f'projection "{self.name}" stands at position {self._position}, not yet at {position}; '
                        f"{self.problem() or 'it is catching up'}; repeat later"
                    )

    def wait_for_reader(self, position: Position, timeout_s: float) -> None:
        """`wait_for` a position that a caller names, bounded so that readers never take all threads that answer calls.

        Raises InvalidInput for a position that the log has not reached, and Overloaded when READERS_WAITING_MAX wait.
        """
        if self._position >= position:
            return
        head = self._store.head().position
        if position > head:
            raise InvalidInput(f"position {position} is behind the log's end, {head}; give one that was answered")
        if not self._readers_waiting.acquire(blocking=False):
            raise Overloaded(f'{READERS_WAITING_MAX} readers wait for projection "{self.name}" already; repeat later')
        try:
            self.wait_for(position, timeout_s)
        finally:
            self._readers_waiting.release()

    @contextmanager
    def read(self) -> Iterator[tuple[Connection, T]]:
        """One consistent snapshot of the tables that answer queries now."""
        with self._database.read() as connection:
            generation = live_generation(connection, self.name)
            if generation is None:
                raise TimedOut(f'projection "{self.name}" has not started yet; repeat later')
            yield connection, self._table_set(generation).tables

    def status(self) -> ProjectionStatus:
        """Where the projection stands."""
        number = self._generation.number if self._generation else 0
        head = self._store.head().position
        return ProjectionStatus(self.name, number, self._position, head, self._is_caught_up, self.problem())

    def rebuild(self, *, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        """Fold the log anew beside the live tables, compare at the same position, and swap as `mode` says."""
        if not self._rebuilding.acquire(blocking=False):
            raise RuleViolated(f'a rebuild of "{self.name}" runs already; wait for it', reason="REBUILD_RUNS")
        try:
            return self._rebuild(mode, progress)
        finally:
            self._rebuilding.release()

    def _require_same_log(self, generation: Generation) -> None:
        if self._store.leaf_at(generation.position) != generation.leaf:
            raise RuleViolated(
                f'projection "{self.name}" is folded up to position {generation.position} of another log: this one was '
                "cut short, restored or replaced. Restore the right one, or delete the projection's database to fold "
                "it anew",
                reason="LOG_REWOUND",
            )

    def _rebuild(self, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        rebuild = Rebuild.begin(self._store, self._database, self._projection, self._batch_max, progress, self._stop)
        is_swapped = False
        try:
            rebuild.fold_until(self._position)
            with self._folding:
                rebuild.fold_until(self._position)
                live_digest, rebuilt_digest = self._digests(rebuild.table_set)
                is_swapped = mode.swaps(is_equal=live_digest == rebuilt_digest)
                if is_swapped:
                    self._swap_to(rebuild.generation)
            return Comparison(rebuild.position, live_digest, rebuilt_digest, is_swapped)
        finally:
            if not is_swapped:
                rebuild.drop()

    def _digests(self, rebuilt: TableSet[T]) -> tuple[str, str]:
        with self._database.read() as connection:
            live = live_generation(connection, self.name)
            assert live is not None
            return self._table_set(live).digest(connection), rebuilt.digest(connection)

    def _swap_to(self, rebuilt: Generation) -> None:
        with self._database.write() as connection:
            make_live(connection, rebuilt)
            for old in generations_of(connection, self.name):
                if old.number != rebuilt.number:
                    self._table_set(old).drop(connection)
                    remove_generation(connection, old)
        self._generation = rebuilt

    def _follow(self, stop: threading.Event) -> None:
        news = self._store.subscribe(
            after=self._position, categories=self._projection.categories, batch_max=self._batch_max, stop=stop
        )
        for item in news:
            with self._folding:
                self._fold(item)
            self._thread.well()

    def _fold(self, item: Batch | CaughtUp) -> None:
        generation = self._generation
        assert generation is not None
        if item.position > self._position:
            with self._database.write() as connection:
                if isinstance(item, Batch):
                    self._projection.fold(connection, self._table_set(generation).tables, item.events)
                move_checkpoint(connection, generation, self._position, item.position, self._leaf_at_end(item))
        with self._moved:
            self._position = max(self._position, item.position)
            self._is_caught_up = self._is_caught_up or isinstance(item, CaughtUp)
            self._moved.notify_all()

    def _leaf_at_end(self, item: Batch | CaughtUp) -> bytes:
        if isinstance(item, Batch) and item.events[-1].position == item.position:
            return item.events[-1].leaf
        return self._store.leaf_at(item.position)

    def _create_live(self, connection: Connection) -> Generation:
        generation = add_generation(connection, self.name, self._projection.version, GenerationState.LIVE)
        self._table_set(generation).create(connection)
        return generation

    def _drop_all_but_live(self, connection: Connection) -> None:
        for known in generations_of(connection, self.name):
            is_usable = known.state is GenerationState.LIVE and known.version == self._projection.version
            if not is_usable:
                self._table_set(known).drop(connection)
                remove_generation(connection, known)

    def _table_set(self, generation: Generation) -> TableSet[T]:
        if generation.number not in self._table_sets:
            self._table_sets[generation.number] = TableSet.of(self._projection, generation)
        return self._table_sets[generation.number]
