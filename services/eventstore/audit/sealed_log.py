"""A log together with what was sealed of it: the newest checkpoint, the tiles, and which event each leaf belongs to."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.comparison import SealedRun
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.positions import POSITIONS_FILE, Positions, positions_of
from services.eventstore.audit.sealed_check import damaged
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.tiles import TileReader
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore

KEPT_PAGE_MAX: Final = 1_000

_REMEDY: Final = "remove it, and seal the log again, which renews it"


@dataclass(frozen=True, slots=True)
class SealedLog:
    """What was sealed of one log. The tiles are proved by whoever computes the checkpoint's root from them."""

    newest: SealedCheckpoint
    tiles: TileReader
    positions: Positions
    store: AuditableStore | EventStore

    @staticmethod
    def opened(store: AuditableStore | EventStore, folder: Path, keys: Collection[VerifierKey]) -> "SealedLog":
        """Raises NotFound when nothing was sealed, Corrupt when the newest checkpoint is not to be trusted."""
        newest = SealedFolder(folder).required(keys)
        return SealedLog(newest, TileReader(folder, newest.size), positions_of(store, folder), store)

    def run_from(self, after: Position, last: Position | None) -> SealedRun:
        """The sealed leaves of the events behind `after`, up to `last` (None: all that was sealed).

        Raises Corrupt when it is not known at which positions they stand, or when tiles are missing.
        """
        size = self.newest.size
        if after == BEGINNING and last is None:
            return SealedRun(self.tiles, 0, size)
        start = self._index_from(Position(after + 1))
        end = size if last is None else self._index_from(Position(last + 1))
        return SealedRun(self.tiles, start, max(start, end))

    def index_of(self, position: Position) -> int | None:
        """The index of the sealed event at a position; None when none was sealed there."""
        index = self._index_from(position)
        is_there = index < self.newest.size and self.positions.position_of(index) == position
        return index if is_there else None

    def end(self) -> Position:
        """The position of the last event that was sealed; raises Corrupt when it was not kept."""
        last = self.positions.position_of(self.newest.size - 1)
        if last is None:
            raise damaged(POSITIONS_FILE, f"it does not hold all sealed events; {_REMEDY}")
        return last

    def end_before(self, first: Position) -> Position:
        """The position of the last sealed event in front of `first`; BEGINNING when there is none.

        Raises Corrupt when another event or none stands there: what comes behind it could not be told.
        """
        if first <= BEGINNING + 1:
            return BEGINNING
        start = self._index_from(first)
        before = self.positions.position_of(start - 1) if start else BEGINNING
        assert before is not None, "the positions of all sealed events are kept"
        if start:
            self._require_standing(start - 1, before)
        return before

    def kept_from(self, index: int) -> Iterator[Position]:
        """The kept positions of the sealed events from an index on."""
        while index < self.newest.size:
            kept = self.positions.kept_from(index, KEPT_PAGE_MAX)
            yield from kept
            if not kept:
                return
            index += len(kept)

    def require_root(self, run: SealedRun, behind: Position) -> None:
        """The events that were shown give the signed root; raises Broken when some are missing, Corrupt when not."""
        run.require_whole(behind)
        if run.root() != self.newest.root:
            raise damaged(
                "tile",
                f"the tiles do not give the root of the checkpoint of {self.newest.size} events; verify them all",
            )

    def _require_standing(self, index: int, position: Position) -> None:
        if not isinstance(self.store, AuditableStore) and self.store.leaf_at(position) != self.tiles.leaf(index):
            raise damaged(
                POSITIONS_FILE,
                f"what was sealed as event {index + 1} does not stand at position {position} of this log: the "
                "positions are of another store, or the log was changed; seal it once more, which compares all of it",
            )

    def _index_from(self, position: Position) -> int:
        """The index of the first sealed event at a position or behind it; raises Corrupt when positions are missing."""
        self.end()
        return self.positions.index_from(position, self.newest.size)


def require_kept(position: Position, kept: Iterator[Position]) -> None:
    """The next kept position is the one that the event stands at; raises Corrupt."""
    if next(kept, None) != position:
        raise damaged(POSITIONS_FILE, f"it does not hold position {position} for the event there; {_REMEDY}")
