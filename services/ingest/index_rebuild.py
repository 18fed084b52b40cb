"""Builds the dedupe index anew beside the live one, compares both at the same checkpoints, and swaps."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.eventstore.store import EventStore
from services.ingest.dedupe_index import DedupeIndex, Fold
from services.ingest.index_entries import IndexBroken
from services.ingest.index_fold import fold_stream
from services.ingest.index_folder import IndexFolder
from services.ingest.live_index import LiveIndex
from services.kernel.errors import Unavailable
from services.projection.projection import Comparison, RebuildMode, RebuildProgress


def rebuild_index(
    store: EventStore,
    folder: IndexFolder,
    live: LiveIndex,
    mode: RebuildMode,
    progress: Callable[[RebuildProgress], None],
    stop: threading.Event,
) -> Comparison:
    """Fold the usage streams from their first event; the rebuilt index takes over as `mode` says."""
    generation, rebuilt = folder.create()
    fold = _Folding(store, rebuilt, progress, stop)
    is_swapped = False
    try:
        with live.lent() as index:
            versions = _versions(index)
        fold.until(versions)
        with live.lent() as index:
            fold.until(_versions(index))
            live_digest, rebuilt_digest = index.digest(), fold.digest()
            if mode.swaps(is_equal=live_digest == rebuilt_digest):
                live.swap(generation, rebuilt)
                is_swapped = True
                folder.make_live(generation)
        return Comparison(rebuilt.position(), live_digest, rebuilt_digest, is_swapped)
    finally:
        if not is_swapped:
            rebuilt.abandon()
            folder.drop(generation)


class _Folding:
    """Counts what is folded into the new index and tells how far it is."""

    def __init__(
        self,
        store: EventStore,
        index: DedupeIndex,
        progress: Callable[[RebuildProgress], None],
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._index = index
        self._progress = progress
        self._stop = stop
        self._events = 0

    def until(self, versions: dict[int, int]) -> None:
        with _not_the_live_one():
            for partition, version in versions.items():
                fold_stream(self._store, partition, self._index, version, self._tell, self._stop)

    def digest(self) -> str:
        with _not_the_live_one():
            return self._index.digest()

    def _tell(self, _fold: Fold) -> None:
        self._events += 1
        head = self._store.head().position
        self._progress(RebuildProgress(self._index.position(), head, self._events))


@contextmanager
def _not_the_live_one() -> Iterator[None]:
    """What breaks here is the index being built; the live one, lent at the time, must not be dropped for it."""
    try:
        yield
    except IndexBroken as error:
        raise Unavailable(f"the index could not be built beside the live one: {error.message}") from error


def _versions(index: DedupeIndex) -> dict[int, int]:
    return {partition: checkpoint.version for partition, checkpoint in index.checkpoints().items()}
