"""The dedupe index: every (source, id) of the log with its content and position, in an embedded key-value store.

It is a projection of the usage streams. Keys, and the checkpoint of the stream that they came from, are written in one
transaction, so the index always stands exactly at a version of each stream.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from services.eventstore.event import BEGINNING, NO_STREAM, Position
from services.ingest.growing_map import MAP_BYTES_MIN, GrowingMap, IndexBroken
from services.kernel.failpoint import fail_at
from services.projection.digest import TwoDigests

if TYPE_CHECKING:
    import lmdb

FORMAT = b"1"
"""Changes with the digests or the layout; an index of another format is built anew."""

_DIGEST_ROWS = 10_000
_POSITION_BYTES = 8
_CHECKPOINT = struct.Struct(">qq16s")
_FORMAT, _BOOT, _IS_CLOSED = b"format", b"boot", b"closed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Up to where a stream is folded: the version, position and id of the last event."""

    version: int
    position: Position
    event_id: bytes


@dataclass(frozen=True, slots=True)
class Fold:
    """What one event of a usage stream adds to the index: parallel keys and contents, and the new checkpoint."""

    checkpoint: Checkpoint
    keys: Sequence[bytes]
    contents: Sequence[bytes]


def entry_of(content: bytes, position: Position) -> bytes:
    """What the index holds for a key: content digest and log position."""
    return content + position.to_bytes(_POSITION_BYTES, "big")


def entry_content(entry: bytes) -> bytes:
    """The content digest of an entry."""
    return entry[:-_POSITION_BYTES]


def entry_position(entry: bytes) -> Position:
    """The log position of an entry."""
    return Position(int.from_bytes(entry[-_POSITION_BYTES:], "big"))


class DedupeIndex:
    """One index in a folder of its own. Every method raises IndexBroken when the file fails.

    Not safe to use from two threads at once.
    """

    def __init__(self, folder: Path, boot_id: str, map_bytes_min: int = MAP_BYTES_MIN) -> None:
        """Opens the index in `folder`, or creates it; `boot_id` names this run of the machine, empty when unknown.

        Raises IndexBroken for a damaged index, for one of another format, and for one that was in use when the machine
        stopped, because it may have lost writes.
        """
        self._map = GrowingMap(folder, map_bytes_min)
        try:
            self._keys, self._marks, self._meta = map(self._map.table, (b"keys", b"checkpoints", b"meta"))
            if not self._map.is_new:
                self._require_trusted(boot_id.encode())
            self._map.write(lambda transaction: self._mark_in_use(transaction, boot_id.encode()))
            self._map.sync()
            self._checkpoints = self._read_checkpoints()
            self._position = max((known.position for known in self._checkpoints.values()), default=BEGINNING)
        except BaseException:
            self._map.close()
            raise

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries of those keys that are known."""
        with self._map.read() as transaction:
            return dict(transaction.cursor(self._keys).getmulti(keys))

    def version(self, partition: int) -> int:
        """The version up to which a partition's stream is folded; NO_STREAM when nothing of it is."""
        checkpoint = self._checkpoints.get(partition)
        return checkpoint.version if checkpoint else NO_STREAM

    def position(self) -> Position:
        """The log position of the newest event folded."""
        return self._position

    def checkpoints(self) -> Mapping[int, Checkpoint]:
        """The checkpoint of each partition that has one."""
        return dict(self._checkpoints)

    def fold(self, partition: int, fold: Fold) -> bool:
        """Add the event that follows the checkpoint; the first entry of a key stays for ever.

        Returns whether it was added: an event that does not follow the checkpoint changes nothing.
        """
        if fold.checkpoint.version != self.version(partition) + 1:
            return False
        position = fold.checkpoint.position.to_bytes(_POSITION_BYTES, "big")
        entries = [(key, content + position) for key, content in zip(fold.keys, fold.contents, strict=True)]
        self._map.write(lambda transaction: self._put(transaction, partition, fold.checkpoint, entries))
        self._checkpoints[partition] = fold.checkpoint
        self._position = max(self._position, fold.checkpoint.position)
        fail_at("index.after_commit")
        return True

    def digest(self) -> str:
        """The digests over every key, in key order: `<with its content>-<with its position>`."""
        digests = TwoDigests()
        with self._map.read() as transaction:
            items = iter(transaction.cursor(self._keys))
            while rows := list(islice(items, _DIGEST_ROWS)):
                digests.add_content(b"".join([key + entry_content(entry) for key, entry in rows]))
                digests.add_rest(b"".join([key + entry[-_POSITION_BYTES:] for key, entry in rows]))
        return digests.text()

    def close(self) -> None:
        """Bring everything to the disk, and only then note that nothing can be lost."""
        try:
            self._map.sync()
            self._map.write(lambda transaction: transaction.put(_IS_CLOSED, b"1", db=self._meta))
            self._map.sync()
        finally:
            self._map.close()

    def abandon(self) -> None:
        """Let go of the files as they are."""
        self._map.close()

    def _require_trusted(self, boot_id: bytes) -> None:
        with self._map.read() as transaction:
            meta = dict(transaction.cursor(self._meta))
        if meta.get(_FORMAT) != FORMAT:
            raise IndexBroken("the dedupe index has another format; it is built anew from the log")
        is_same_run = bool(boot_id) and meta.get(_BOOT) == boot_id
        if meta.get(_IS_CLOSED) != b"1" and not is_same_run:
            raise IndexBroken("the machine stopped while the dedupe index was in use; it is built anew from the log")

    def _mark_in_use(self, transaction: "lmdb.Transaction[bytes]", boot_id: bytes) -> None:
        for key, value in ((_FORMAT, FORMAT), (_BOOT, boot_id), (_IS_CLOSED, b"0")):
            transaction.put(key, value, db=self._meta)

    def _read_checkpoints(self) -> dict[int, Checkpoint]:
        with self._map.read() as transaction:
            try:
                return dict(map(_checkpoint_of, transaction.cursor(self._marks)))
            except (struct.error, ValueError) as error:
                raise IndexBroken("the dedupe index has broken checkpoints; it is built anew from the log") from error

    def _put(
        self,
        transaction: "lmdb.Transaction[bytes]",
        partition: int,
        checkpoint: Checkpoint,
        entries: Sequence[tuple[bytes, bytes]],
    ) -> None:
        transaction.cursor(self._keys).putmulti(entries, overwrite=False)
        mark = _CHECKPOINT.pack(checkpoint.version, checkpoint.position, checkpoint.event_id)
        transaction.put(str(partition).encode(), mark, db=self._marks)
        fail_at("index.before_commit")


def _checkpoint_of(row: tuple[bytes, bytes]) -> tuple[int, Checkpoint]:
    version, position, event_id = _CHECKPOINT.unpack(row[1])
    return int(row[0]), Checkpoint(version, Position(position), event_id)
