"""Merges the runs of a dedupe index in a thread of its own, while the index is used."""

import threading

from services.ingest.index_runs import Runs
from services.kernel.errors import Unavailable
from services.projection.lasting_thread import LastingThread

STOP_TIMEOUT_S = 20.0
IDLE_S = 60.0


class Merger:
    """A merge that finds no room on the disk is tried again: until then the index is slower, and as right as ever."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._news = threading.Condition()
        self._is_stopping = False
        self._thread = LastingThread("merge index", self._merge_until)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self) -> None:
        """The runs are not what they were."""
        with self._news:
            self._news.notify_all()

    def settle(self, timeout_s: float) -> None:
        """Return when nothing is due to be merged; raises Unavailable when that takes longer than `timeout_s`.

        Raises IndexBroken when a run cannot be read.
        """
        with self._news:
            is_settled = self._news.wait_for(lambda: not self._runs.is_due(), timeout_s)
        if not is_settled:
            raise Unavailable(
                f"the dedupe index was not merged within {timeout_s:g} s; check the disk, send again later"
            )
        self._runs.all()

    def stop(self) -> None:
        """End; what is half merged is dropped, and merged another time. Safe to repeat."""
        with self._news:
            self._is_stopping = True
            self._news.notify_all()
        self._thread.stop(STOP_TIMEOUT_S)

    def _merge_until(self, _: threading.Event) -> None:
        while not self._is_stopping:
            try:
                self._runs.merge(lambda: self._is_stopping)
            finally:
                self.tell()
            with self._news:
                self._news.wait_for(lambda: self._is_stopping or self._runs.is_due(), IDLE_S)
