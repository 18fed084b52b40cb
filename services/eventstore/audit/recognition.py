"""Finds out whether a log is still what was sealed of it, without reading all of it each time.

A log is known again by the event that was sealed last, and one with a chain by the chain's value there, which covers
every commit before. What was sealed since the sealer remembered that is compared, and some of the older events are read
once more each time, so that in time all of them are. Where the log is not known again, everything is compared. That
finds the first event that is another, or shows that only positions changed, because the log was moved to another store.
"""

from typing import Final

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.comparison import Broken, SealedRun, checked_leaf, is_event_of
from services.eventstore.audit.positions import Positions
from services.eventstore.audit.sealer_memory import SealerMemory
from services.eventstore.audit.tiles import TileReader
from services.eventstore.event import BEGINNING, Page, Position, RecordedEvent
from services.eventstore.store import POSITION_NOT_IN_LOG, EventStore
from services.kernel.errors import RuleViolated

REREAD_EVENTS_MAX: Final = 1_000
COMPARE_PAGE_MAX: Final = 1_000


class Recognition:
    """One log, and one folder that it was sealed into."""

    def __init__(self, store: EventStore, positions: Positions, sealed: TileReader) -> None:
        self._store = store
        self._positions = positions
        self._sealed = sealed

    def recognised(self, memory: SealerMemory) -> tuple[Position, int]:
        """The position of the last sealed event, and the index of the event to be read again next time.

        Raises Broken at the first event that is not the one that was sealed, or where the log ends too early.
        """
        size = self._sealed.size
        known = memory.size if self._is_known_again(memory) else 0
        if known:
            try:
                return self._compared(known, size), self._reread(memory.reread)
            except Broken:
                known = 0
        return self._compared(known, size), 0

    def chain_at(self, position: Position) -> bytes:
        """The chain's value behind the commit that covers a position; empty for a log without a chain."""
        if not isinstance(self._store, AuditableStore):
            return b""
        commits = self._store.read_commits(after=Position(position - 1), limit=1)
        return commits[0].chain if commits else b""

    def _is_known_again(self, memory: SealerMemory) -> bool:
        """The event that was sealed last still stands there, and the chain still has its value."""
        if not 0 < memory.size <= self._sealed.size:
            return False
        last = memory.size - 1
        position, before = self._positions.position_of(last), self._end_before(last)
        if position is None or before is None:
            return False
        try:
            found = self._behind(before, 1).events
        except Broken:
            return False
        stands_there = bool(found) and found[0].position == position
        if not stands_there or not is_event_of(self._sealed.leaf(last), found[0]):
            return False
        return self.chain_at(position) == memory.chain

    def _reread(self, start: int) -> int:
        """Compare some of the events once more; the index at which to go on next time, 0 behind the last."""
        start = start if start < self._sealed.size else 0
        end = min(start + REREAD_EVENTS_MAX, self._sealed.size)
        self._compared(start, end)
        return end if end < self._sealed.size else 0

    def _compared(self, start: int, end: int) -> Position:
        """The position of the event before `end`, when those from `start` to there are as sealed; keeps positions."""
        run = SealedRun(self._sealed, start, end)
        after = self._end_before(start)
        if after is None:
            raise Broken(BEGINNING + 1, "it is not known where the sealed events stand")
        while not run.is_whole:
            page = self._behind(after, min(COMPARE_PAGE_MAX, end - run.next_index))
            self._show(run, page.events)
            after = page.events[-1].position if page.events else after
            if page.is_last:
                break
        run.require_whole(after)
        return after

    def _show(self, run: SealedRun, events: tuple[RecordedEvent, ...]) -> None:
        first_index = run.next_index
        for index, event in enumerate(events, first_index):
            self._positions.require_next(index, event.position)
            run.show(event.position, checked_leaf(event))
        if self._positions.kept_from(first_index, len(events)) != [event.position for event in events]:
            self._positions.keep(first_index, [event.position for event in events])

    def _behind(self, after: Position, limit: int) -> Page:
        """Events behind a kept position; raises Broken where the log has no event at it, as one that was moved."""
        try:
            return self._store.read_all(after=after, limit=limit)
        except RuleViolated as error:
            if error.reason != POSITION_NOT_IN_LOG:
                raise
            raise Broken(after, "the event that stood here was sealed, and is not here any more") from error

    def _end_before(self, index: int) -> Position | None:
        return self._positions.position_of(index - 1) if index else BEGINNING
