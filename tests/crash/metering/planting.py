"""How a seeded bug gets into a service of metering: one function each, which replaces a part in its memory."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, update

from services.kernel.failpoint import fail_at

PAUSE_S = 0.02
"""How long a window stays open that a bug opens."""


def archive_position_in_a_second_transaction() -> None:
    """Files are listed and committed, and only then the archive's position is moved."""
    from services.aggregator.archive import usage_archive
    from services.aggregator.archive.archived_file import Listing

    move = vars(usage_archive)["move_listing"]

    def move_in_two(connection: Connection, before: Listing, after: Listing) -> None:
        half = replace(after, position=before.position, leaf=before.leaf)
        move(connection, before, half)
        connection.exec_driver_sql("COMMIT")
        fail_at("archive.before_commit")
        threading.Event().wait(PAUSE_S)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        move(connection, half, after)

    _replace(usage_archive, "move_listing", move_in_two)


def manifest_before_its_run() -> None:
    """The manifest names a run that is not written yet."""
    from services.ingest import index_runs
    from services.ingest.index_entries import Entries
    from services.ingest.index_manifest import Checkpoint
    from services.ingest.index_runs import Runs

    add = Runs.add

    def add_later(self: Runs, entries: Entries, checkpoints: Mapping[int, Checkpoint]) -> None:
        if len(entries):
            with self._lock:
                numbers = (*(int(run.path.stem) for run in self._runs), self._next_number)
                self._write_manifest(replace(self._manifest, runs=numbers, checkpoints=dict(checkpoints)))
            fail_at("index.before_spill")
            threading.Event().wait(PAUSE_S)
        add(self, entries, checkpoints)

    _replace(index_runs.Runs, "add", add_later)


def newest_forgotten() -> None:
    """The manifest says of entries that are only in memory that they are in its runs; a kill forgets them."""
    from services.ingest.dedupe_index import DedupeIndex, Fold

    fold = DedupeIndex.fold

    def fold_and_say_so(self: DedupeIndex, partition: int, added: Fold) -> bool:
        is_added = fold(self, partition, added)
        with self._runs._lock:
            self._runs._commit(self._runs.all(), self._checkpoints)
        return is_added

    _replace(DedupeIndex, "fold", fold_and_say_so)


def two_fold() -> None:
    """Replicas write the same tables without a lock, and nobody looks whether another has moved the checkpoint."""
    from services.projection import folder
    from services.projection.generations import GENERATIONS
    from services.projection.owner_lock import OwnerLock

    def move(connection: Connection, generation: Any, _before: Any, after: Any, leaf: bytes) -> None:
        mine = (GENERATIONS.c.name == generation.name) & (GENERATIONS.c.generation == generation.number)
        connection.execute(update(GENERATIONS).where(mine).values(position=after, leaf=leaf))

    _replace(OwnerLock, "take_when_connected", lambda *_arguments, **_options: None)
    _replace(folder, "move_checkpoint", move)


def recount_without_deleting() -> None:
    """What a correction touched is counted anew on top of what was counted before."""
    from services.aggregator.corrections import recounting

    _replace(recounting, "delete_rectangle", lambda *_arguments: None)


def corrections_not_noted() -> None:
    """Hours that a correction touched are counted anew, but not noted, so that closed periods stay as they were."""
    from services.aggregator import usage_windows
    from services.aggregator.corrections.touching import touched_by

    def touched(source: Any, corrections: Sequence[Any]) -> Any:
        for recorded in corrections:
            yield from touched_by(source, recorded)

    _replace(usage_windows, "_noted", touched)


def reverted_for_ever() -> None:
    """An answer as of a position before a correction was reverted knows that it will be."""
    from services.aggregator.corrections import acting

    _replace(acting, "_not_reverted", lambda table, _until: table.c.reverted_position.is_(None))


def _replace(owner: Any, name: str, replacement: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more; plant the bug elsewhere"
    setattr(owner, name, replacement)
