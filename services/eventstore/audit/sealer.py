"""Seals a log: follows it, keeps the hashes of its tree outside the database, and signs how long it is and its root.

It never signs what does not go on from what it signed before. A log that is shorter than what was sealed, or holds
other events there, is the alarm that all of this is for.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from services.eventstore.audit.checkpoint import SealedCheckpoint, origin_of, sealed_checkpoint
from services.eventstore.audit.comparison import Broken, checked_leaf
from services.eventstore.audit.durable_file import DurableFolder
from services.eventstore.audit.note import SignerKey, VerifierKey
from services.eventstore.audit.positions import positions_of
from services.eventstore.audit.recognition import Recognition
from services.eventstore.audit.sealed_folder import SealedFolder
from services.eventstore.audit.sealer_memory import SealerMemory
from services.eventstore.audit.tiles import GrowingTiles, TileReader, remove_passed
from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt

SEAL_PAGE_MAX: Final = 1_000
SEAL_EVENTS_MAX: Final = 1_000_000
"""Events between two checkpoints at most, so that a sealer that was killed goes on from not far behind."""


class Sealer:
    """Seals one log into one folder. Several may be at work on the folder; each waits for the other.

    `older_keys` are those that earlier checkpoints may be signed with, when the key was changed.
    """

    def __init__(
        self, store: EventStore, folder: Path, key: SignerKey, older_keys: Collection[VerifierKey] = ()
    ) -> None:
        self._store = store
        self._folder = SealedFolder(folder)
        self._key = key
        self._keys = (key.verifier, *older_keys)

    def seal(self) -> SealedCheckpoint | None:
        """Seal everything up to the head of this moment; the newest checkpoint, None for a log without events.

        Raises Corrupt (LOG_NOT_AS_SEALED, with the first bad position in the metadata) when the log is not what was
        sealed, or when an event's bytes are not what was stored; Corrupt that names a file when the sealed folder
        was changed. Then nothing is signed. Raises Unavailable when folder or store cannot be used.
        """
        end = self._store.head().position
        while True:
            with self._folder.locked():
                checkpoint, is_done = self._seal_up_to(end)
            if is_done:
                return checkpoint

    def _seal_up_to(self, end: Position) -> tuple[SealedCheckpoint | None, bool]:
        """The newest checkpoint, one further than before if there is news, and whether it reaches `end`."""
        newest = self._newest()
        step = _Step(self._store, self._folder.path, newest)
        if newest is not None:
            self._folder.complete(newest, step.files)
        try:
            step.recognise()
            is_done = step.extend(end)
        except Broken as broken:
            raise _alarm(broken) from broken
        checkpoint = newest
        if newest is None or step.tiles.size > newest.size:
            checkpoint = self._publish(newest, step)
        step.remember()
        return checkpoint, is_done

    def _newest(self) -> SealedCheckpoint | None:
        try:
            return self._folder.newest(self._keys)
        except Corrupt as error:
            if error.reason != "NOTE_NOT_TRUSTED":
                raise
            raise Corrupt(
                f"{error.message}; nothing was signed; if the key was changed, name the public half of the one before: "
                "`meterlog audit seal --older-key`",
                reason=error.reason,
                metadata=error.metadata,
            ) from error

    def _publish(self, newest: SealedCheckpoint | None, step: "_Step") -> SealedCheckpoint | None:
        size = step.tiles.size
        if size == 0:
            return None
        step.tiles.write_edges()
        checkpoint = sealed_checkpoint(step.origin, size, step.tiles.frontier().root(), self._key)
        self._folder.publish(checkpoint, step.files)
        if newest is not None:
            remove_passed(step.files, newest.size, size)
        return checkpoint


class _Step:
    """The way from one checkpoint to the next: the log and the sealed tree side by side."""

    def __init__(self, store: EventStore, folder: Path, newest: SealedCheckpoint | None) -> None:
        self.files = DurableFolder(folder)
        self.origin = newest.origin if newest else ""
        sealed = TileReader(folder, newest.size if newest else 0)
        self.tiles = GrowingTiles(self.files, sealed)
        self._store = store
        self._positions = positions_of(store, folder)
        self._recognition = Recognition(store, self._positions, sealed)
        self._position = BEGINNING
        self._reread = 0
        if newest is not None:
            _require_tiles(self.tiles, sealed, newest)

    def recognise(self) -> None:
        """Find the end of what was sealed; raises Broken when the log is not what was sealed."""
        if self.tiles.size:
            memory = SealerMemory.read(self.files.path)
            self._position, self._reread = self._recognition.recognised(memory)

    def extend(self, end: Position) -> bool:
        """Add the events behind the last sealed one, SEAL_EVENTS_MAX at most; whether `end` is reached.

        Raises Broken for an event that does not give its leaf, or that is missing.
        """
        most = self.tiles.size + SEAL_EVENTS_MAX
        while self._position < end and self.tiles.size < most:
            page = self._store.read_all(after=self._position, limit=min(SEAL_PAGE_MAX, most - self.tiles.size))
            self._add(page.events)
            if page.is_last:
                return True
        return self._position >= end

    def remember(self) -> None:
        """Write down where the log stood, for the next time. Raises Unavailable."""
        if self.tiles.size:
            chain = self._recognition.chain_at(self._position)
            SealerMemory(self.tiles.size, chain, self._reread).write(self.files)

    def _add(self, events: tuple[RecordedEvent, ...]) -> None:
        first_index = self.tiles.size
        leaves = [self._leaf(event, index) for index, event in enumerate(events, first_index)]
        if leaves:
            self.origin = self.origin or origin_of(leaves[0])
            self._positions.keep(first_index, [event.position for event in events])
            self.tiles.add(leaves)
            self._position = events[-1].position

    def _leaf(self, event: RecordedEvent, index: int) -> bytes:
        self._positions.require_next(index, event.position)
        return checked_leaf(event)


def _require_tiles(tiles: GrowingTiles, sealed: TileReader, newest: SealedCheckpoint) -> None:
    if tiles.frontier().root() != newest.root or origin_of(sealed.leaf(0)) != newest.origin:
        raise Corrupt(
            f"the tiles do not give the root of the checkpoint of {newest.size} events; nothing was signed; "
            "`meterlog audit verify` names the file that was changed",
            reason="TILE_DAMAGED",
        )


def _alarm(broken: Broken) -> Corrupt:
    return Corrupt(
        f"position {broken.position}: {broken.problem}; nothing was signed; "
        "keep log and sealed folder as they are, and find out who changed the log",
        reason="LOG_NOT_AS_SEALED",
        metadata={"first_bad_position": str(broken.position)},
    )
