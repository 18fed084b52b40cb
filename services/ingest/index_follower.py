"""Keeps the dedupe index level with the log, from the start of the service to its end; rebuilds it on request."""

import threading
from collections.abc import Callable

import structlog

from services.eventstore.store import EventStore
from services.ingest.index_fold import READ_EVENTS_MAX, read_folds, require_same_log
from services.ingest.index_folder import IndexFolder
from services.ingest.index_rebuild import rebuild_index
from services.ingest.live_index import LiveIndex
from services.kernel.errors import Corrupt, DomainError, RuleViolated, Unavailable
from services.projection.lasting_thread import LastingThread
from services.projection.projection import Comparison, ProjectionStatus, RebuildMode, RebuildProgress

FOLLOW_PERIOD_S = 1.0
"""How often an idle replica folds what others wrote, so that its first batch after a quiet time need not."""

log = structlog.get_logger()


class IndexFollower:
    """A worker, and the projection "usage_dedupe". It opens the index, builds it anew when it is lost or damaged, and
    refuses a log that the index is not of.
    """

    name = "usage_dedupe"

    def __init__(self, store: EventStore, folder: IndexFolder, live: LiveIndex, partitions: int) -> None:
        self._store = store
        self._folder = folder
        self._live = live
        self._partitions = partitions
        self._stop = threading.Event()
        self._thread = LastingThread("follow usage", self._follow_until)
        self._rebuilding = threading.Lock()

    def start(self) -> None:
        """Begin to follow; raises RuleViolated when another process uses the folder, or the log was rewound.

        An index that cannot be opened now is opened or built by the worker.
        """
        self._folder.lock()
        try:
            self._open()
        except RuleViolated:
            self._folder.unlock()
            raise
        except Unavailable as error:
            log.warning("dedupe index not opened yet", reason=error.message)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop following and close the index."""
        self._stop.set()
        self._live.wake()
        self._thread.stop(timeout_s)
        try:
            self._live.close()
        except Unavailable as error:
            log.warning("dedupe index left as it is", reason=error.message)
        self._folder.unlock()

    def is_ready(self) -> bool:
        """Whether usage can be recorded: the index is level with the log."""
        return self._live.is_caught_up() and not self._thread.problem

    def problem(self) -> str:
        """Why the index is not level with the log; empty while all is well."""
        return self._thread.problem

    def status(self) -> ProjectionStatus:
        """Where the index stands."""
        live, head = self._live, self._store.head().position
        return ProjectionStatus(self.name, live.generation, live.position(), head, live.is_caught_up(), self.problem())

    def rebuild(self, *, mode: RebuildMode, progress: Callable[[RebuildProgress], None]) -> Comparison:
        """Build the index anew beside the live one, compare, and swap as `mode` says.

        While both are compared, about a second for ten million ids, usage waits.
        """
        if not self._rebuilding.acquire(blocking=False):
            raise RuleViolated(f'a rebuild of "{self.name}" runs already; wait for it', reason="REBUILD_RUNS")
        try:
            return rebuild_index(self._store, self._folder, self._live, mode, progress, self._stop)
        finally:
            self._rebuilding.release()

    def _follow_until(self, stop: threading.Event) -> None:
        while not (stop.is_set() or self._stop.is_set()):
            self._follow()

    def _follow(self) -> None:
        if self._live.is_there():
            self._require_same_log()
        else:
            self._open()
        self._catch_up_all()
        if not self._stop.is_set():
            self._live.set_caught_up()
            self._thread.well()
            self._live.wait(FOLLOW_PERIOD_S)

    def _open(self) -> None:
        generation, index = self._folder.create_live() if self._live.has_broken() else self._folder.open_live()
        try:
            require_same_log(self._store, index.checkpoints(), self._partitions)
        except DomainError:
            index.abandon()
            raise
        self._live.put(generation, index)
        log.info("dedupe index opened", generation=generation, position=index.position())

    def _require_same_log(self) -> None:
        """An index that knows more than the log, or other events, is lent to nobody who records."""
        with self._live.lent() as index:
            checkpoints = index.checkpoints()
        try:
            require_same_log(self._store, checkpoints, self._partitions)
        except (Corrupt, RuleViolated):
            self._live.withdraw()
            raise

    def _catch_up_all(self) -> None:
        """While the log holds what cannot be read, nobody can tell what is recorded already: nothing more is."""
        try:
            for partition in range(self._partitions):
                self._catch_up(partition)
        except Corrupt:
            self._live.withdraw()
            raise

    def _catch_up(self, partition: int) -> None:
        while not self._stop.is_set():
            with self._live.lent() as index:
                version = index.version(partition)
            folds = read_folds(self._store, partition, version, self._live.digests)
            for fold in folds:
                with self._live.lent() as index:
                    index.fold(partition, fold)
            if len(folds) < READ_EVENTS_MAX:
                return
