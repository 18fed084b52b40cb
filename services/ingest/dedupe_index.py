"""The dedupe index: every (source, id) of the log with its content and position.

It is a projection of the usage streams. The newest entries are in memory, all others in runs on the disk, and with the
runs stand the checkpoints that they were spilled at: after a kill the index goes on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from services.eventstore.event import BEGINNING, NO_STREAM, Position
from services.ingest.digests import Contents, Digests, Keys
from services.ingest.index_entries import I64, U64, IndexBroken, Mask
from services.ingest.index_filter import marks_of
from services.ingest.index_limits import IndexLimits
from services.ingest.index_manifest import Checkpoint, Manifest, read_manifest
from services.ingest.index_merge import SortedEntries, merged
from services.ingest.index_merger import Merger
from services.ingest.index_newest import Newest
from services.ingest.index_run import Run
from services.ingest.index_runs import Runs
from services.kernel.errors import RuleViolated
from services.kernel.failpoint import fail_at
from services.projection.digest import TwoDigests

MERGE_TIMEOUT_S: Final = 10.0
"""How long a spill waits for a merge when there are too many runs."""


@dataclass(frozen=True, slots=True)
class Fold:
    """What one event of a usage stream adds to the index: parallel keys and contents, and the new checkpoint."""

    checkpoint: Checkpoint
    keys: Keys
    contents: Contents


@dataclass(frozen=True, slots=True)
class Known:
    """What the index knows of keys, one entry a key: contents and positions of those that are known, else zeros."""

    is_known: Mask
    contents: U64
    positions: I64


class DedupeIndex:
    """One index in a folder of its own. Every method raises IndexBroken when a file fails or is damaged.

    Not safe to use from two threads at once; `digests` is. A thread of the index merges its runs meanwhile.
    """

    def __init__(self, folder: Path, boot_id: str, digests: Digests, limits: IndexLimits | None = None) -> None:
        """Opens the index in `folder`, or creates it; `boot_id` names this run of the machine, empty when unknown.

        Raises IndexBroken for a damaged index, for one of another format, and for one that was in use when the machine
        stopped, because it may have lost writes; RuleViolated (LOG_REWOUND) for one of another log.
        """
        self.digests = digests
        self._limits = limits or IndexLimits()
        manifest = _opened(folder, boot_id, digests)
        self._runs = Runs(folder, manifest, self._limits)
        self._runs.mark_in_use(boot_id)
        self._newest = Newest()
        self._folds = 0
        self._checkpoints = dict(manifest.checkpoints)
        self._position = max((known.position for known in self._checkpoints.values()), default=BEGINNING)
        self._merger = Merger(self._runs)
        self._merger.start()

    def lookup(self, keys: Keys) -> Known:
        """What is known of each key."""
        hi, lo = np.ascontiguousarray(keys["hi"]), np.ascontiguousarray(keys["lo"])
        known = Known(np.zeros(len(hi), np.bool_), np.zeros(len(hi), np.uint64), np.zeros(len(hi), np.int64))
        marks = marks_of(lo)
        numbers = self._newest.find(hi, lo, marks)
        rows = np.flatnonzero(numbers >= 0)
        _learn(known, rows, self._newest, numbers[rows])
        for run in reversed(self._runs.all()):  # the oldest last: what it says stays
            rows = np.flatnonzero(run.may_hold(hi, marks))
            rows = rows[np.argsort(hi[rows])]
            numbers = run.find(hi[rows], lo[rows])
            is_found = numbers >= 0
            _learn(known, rows[is_found], run, numbers[is_found])
        return known

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

        Returns whether it was added: an event that does not follow the checkpoint changes nothing. Raises Unavailable
        when merging is far behind; the event is not added then.
        """
        if fold.checkpoint.version != self.version(partition) + 1:
            return False
        if self.is_spill_due():
            self._spill()
        fail_at("index.before_commit")
        self._newest.add(fold.keys["hi"], fold.keys["lo"], fold.contents, fold.checkpoint.position)
        self._folds += 1
        self._checkpoints[partition] = fold.checkpoint
        self._position = max(self._position, fold.checkpoint.position)
        fail_at("index.after_commit")
        return True

    def is_spill_due(self) -> bool:
        """Whether the next fold writes a run first, and may wait for a merge for it; any thread may ask."""
        return len(self._newest) >= self._limits.spill_keys or self._folds >= self._limits.spill_folds

    def digest(self) -> str:
        """Two digests: `<of how many keys there are>-<of every key in order, with its content and position>`.

        Keys and contents stand here as this index's own secret codes them, so no other index of the log has the same.
        """
        digests, count = TwoDigests(), 0
        for part in merged([*self._runs.all(), SortedEntries(self._newest.entries())]):
            rows = (part.hi, part.lo, part.contents, part.positions.view(np.uint64))
            digests.add_rest(np.column_stack(rows).astype("<u8").tobytes())
            count += len(part.hi)
        digests.add_content(str(count).encode())
        return digests.text()

    def settle(self) -> None:
        """Return when no runs are left to merge; raises Unavailable when that takes longer than MERGE_TIMEOUT_S."""
        self._merger.settle(MERGE_TIMEOUT_S)

    def close(self) -> None:
        """Bring everything to the disk, and only then note that nothing can be lost."""
        self._merger.stop()
        if self._folds:
            self._spill()
        self._runs.mark_closed()

    def abandon(self) -> None:
        """Let go of the files as they are."""
        self._merger.stop()

    def _spill(self) -> None:
        if len(self._runs.all()) >= self._limits.runs_max:
            self.settle()
        self._runs.add(self._newest.entries(), self._checkpoints)
        self._newest.clear()
        self._folds = 0
        fail_at("index.after_spill")
        self._merger.tell()


def _learn(known: Known, rows: I64, holder: "Newest | Run", numbers: I64) -> None:
    known.is_known[rows] = True
    known.contents[rows] = holder.contents(numbers)
    known.positions[rows] = holder.positions(numbers)


def _opened(folder: Path, boot_id: str, digests: Digests) -> Manifest:
    """The manifest of a trusted index, or of an empty one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexBroken(f"{folder} cannot be made ({error.strerror}); check METERLOG_VAR") from error
    known = read_manifest(folder)
    if known is None:
        return Manifest(boot_id, is_closed=False, digests=digests.fingerprint, runs=(), checkpoints={})
    is_same_run = bool(boot_id) and known.boot_id == boot_id
    if not (known.is_closed or is_same_run):
        raise IndexBroken("the machine stopped while the dedupe index was in use; it is built anew from the log")
    if known.digests.partition("-")[0] != digests.log_fingerprint:
        raise RuleViolated(
            "the dedupe index is of another log: this one was replaced. Restore the right one, or stop ingest and "
            "delete its folder usage_dedupe to build the index anew from this one",
            reason="LOG_REWOUND",
        )
    if known.digests != digests.fingerprint:
        raise IndexBroken("the dedupe index was made with another secret; it is built anew from the log")
    return known
