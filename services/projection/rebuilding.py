"""Rebuilds of one projection: one at a time, compared with the live tables, swapped in, or held to be gone on with."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Generic, TypeAlias, TypeVar

from services.eventstore.event import BEGINNING, Position
from services.kernel.errors import DomainError, InvalidInput, RuleViolated, Unavailable
from services.projection.difference import table_differences
from services.projection.held import Held, held_rebuilds
from services.projection.live import LiveTables
from services.projection.projection import Comparison, HeldRebuild, RebuildMode, RebuildProgress
from services.projection.rebuild import Rebuild, Workshop

T = TypeVar("T")

HELD_MAX = 3
"""Rebuilds of one projection that are held at once: each takes the disk space of the live tables."""

Heard: TypeAlias = Callable[[RebuildProgress], None]


class Rebuilding(Generic[T]):
    """Whatever ends a rebuild before its end (a crash, a cancellation, an event that cannot be folded), it is held."""

    def __init__(self, workshop: Workshop[T], live: LiveTables[T]) -> None:
        self._workshop = workshop
        self._live = live
        self._name = workshop.projection.name
        self._running = threading.Lock()
        self._held: tuple[HeldRebuild, ...] = ()
        self._is_open = False

    def open(self) -> None:
        """Find the rebuilds that are held; after `LiveTables.open`, which has dropped those of no use."""
        self._look()
        self._is_open = True

    @property
    def is_running(self) -> bool:
        """Whether a rebuild runs."""
        return self._running.locked()

    @property
    def held(self) -> tuple[HeldRebuild, ...]:
        """The rebuilds that are held, by position; the one that runs is not among them."""
        return self._held

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no rebuild runs, and none can begin; raises RuleViolated (REBUILD_RUNS).

        Raises Unavailable before `open`: what there is, and how far it is folded, is not known yet.
        """
        if not self._is_open:
            raise Unavailable(f'projection "{self._name}" has not started yet; repeat later')
        if not self._running.acquire(blocking=False):
            raise RuleViolated(
                f'a rebuild of "{self._name}" runs already; wait for it, or end it with `meterlog rebuild --cancel '
                f"{self._name}`",
                reason="REBUILD_RUNS",
            )
        try:
            yield
        finally:
            self._running.release()

    def rebuild(self, mode: RebuildMode, progress: Heard, start: Position, examples: int) -> Comparison:
        """Fold to where the live tables stand, compare at the same position, and swap as `mode` says.

        `start` is BEGINNING, or the position that a rebuild is held at.
        """
        with self.alone(), self._held_on_failure(start) as rebuild:
            rebuild.fold_until(self._live.position, progress)
            with self._swap_found_out():
                comparison = self._compare(rebuild, mode, progress, examples)
            if not comparison.is_swapped:
                self._workshop.drop(rebuild.generation)
            return comparison

    def rebuild_until(self, until: Position, progress: Heard, start: Position) -> HeldRebuild:
        """Fold up to `until` and hold the rebuild there; nothing is compared."""
        self._require_reachable(until, start)
        with self.alone(), self._held_on_failure(start) as rebuild:
            rebuild.fold_until(until, progress)
            return HeldRebuild(rebuild.position, rebuild.events, rebuild.generation.number)

    def discard(self, position: Position | None) -> tuple[HeldRebuild, ...]:
        """Drop the rebuild held at `position`, or all; returns those that are gone."""
        with self.alone():
            gone = [held for held in self._read() if position is None or held.generation.position == position]
            return self._drop(gone)

    def discard_behind(self, position: Position) -> None:
        """Drop the rebuilds that have folded the event at `position`, now left out; the caller is `alone`."""
        self._drop([held for held in self._read() if held.generation.position >= position])

    def _drop(self, gone: list[Held]) -> tuple[HeldRebuild, ...]:
        for held in gone:
            self._workshop.drop(held.generation)
        self._look()
        return tuple(held.shown() for held in gone)

    @contextmanager
    def _held_on_failure(self, start: Position) -> Iterator[Rebuild[T]]:
        """A rebuild that is held when the body fails, unless nothing was folded yet."""
        rebuild = self._started(start)
        self._held = tuple(held for held in self._held if held.generation != rebuild.generation.number)
        try:
            yield rebuild
        finally:
            if rebuild.position == BEGINNING and rebuild.generation.number != self._live.number:
                self._workshop.drop(rebuild.generation)
            self._look()

    def _started(self, start: Position) -> Rebuild[T]:
        held = self._read()
        if start != BEGINNING:
            return self._workshop.go_on(self._held_at(held, start))
        if len(held) >= HELD_MAX:
            raise RuleViolated(
                f'{HELD_MAX} rebuilds of "{self._name}" are held, at {_positions(held)}; go on with one (`--from`), or '
                f"drop them with `meterlog rebuild --discard {self._name}`",
                reason="REBUILDS_HELD",
            )
        return self._workshop.begin()

    def _held_at(self, held: list[Held], position: Position) -> Held:
        found = [each for each in held if each.generation.position == position]
        if not found:
            raise RuleViolated(
                f'no rebuild of "{self._name}" is held at position {position}; held are: {_positions(held)}',
                reason="NO_REBUILD_HELD",
            )
        return found[-1]

    def _require_reachable(self, until: Position, start: Position) -> None:
        head = self._workshop.store.head().position
        if not start < until <= head:
            raise InvalidInput(
                f"a rebuild cannot stop at position {until}; choose one behind {start}, up to the log's end, {head}",
                field="until_position",
            )

    @contextmanager
    def _swap_found_out(self) -> Iterator[None]:
        """A swap that was committed unheard is taken note of, before anybody asks for tables that are gone."""
        try:
            yield
        except BaseException:
            with suppress(DomainError):  # it cannot be asked now: the next fold fails, and then looks again
                self._live.look_again()
            raise

    def _compare(self, rebuild: Rebuild[T], mode: RebuildMode, progress: Heard, examples: int) -> Comparison:
        """Both digests at one position. Folding stands still for them, but not for a look at the differences.

        Who cancels while they are taken is heard: nothing is swapped.
        """
        with ExitStack() as snapshot:
            with self._live.folding:
                self._require_not_ahead(rebuild)
                rebuild.fold_until(self._live.position, progress)
                connection = snapshot.enter_context(self._workshop.database.read())
                self._live.require_standing(connection)
                live = self._live.tables_in(connection)
                live_digest, rebuilt_digest = live.digest(connection), rebuild.table_set.digest(connection)
                is_equal = live_digest == rebuilt_digest
                rebuild.tell(progress)
                is_swapped = mode.swaps(is_equal=is_equal)
                if is_swapped:
                    snapshot.close()
                    self._live.swap_to(rebuild.generation)
            is_of_interest = not is_equal and not is_swapped
            differences = table_differences(connection, live, rebuild.table_set, examples) if is_of_interest else ()
        return Comparison(rebuild.position, live_digest, rebuilt_digest, is_swapped, differences)

    def _require_not_ahead(self, rebuild: Rebuild[T]) -> None:
        if rebuild.position > self._live.position:
            raise RuleViolated(
                f'the rebuild of "{self._name}" stands at {rebuild.position}, ahead of the live tables at '
                f"{self._live.position}; repeat with --resume when those have caught up",
                reason="REBUILD_AHEAD",
            )

    def _read(self) -> list[Held]:
        with self._workshop.database.read() as connection:
            return held_rebuilds(connection, self._name)

    def _look(self) -> None:
        self._held = tuple(held.shown() for held in self._read())


def _positions(held: list[Held]) -> str:
    return ", ".join(str(each.generation.position) for each in held) or "none"
