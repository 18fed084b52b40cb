"""Checks samples of usage in the background, every so often."""

import threading
from contextlib import suppress
from datetime import timedelta

from services.aggregator.check.checking import Checking
from services.aggregator.deadline import Deadline
from services.aggregator.tables import UsageTables
from services.kernel.errors import Overloaded
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

USAGE_EVENTS_OF_A_ROUND_MAX = 1_000_000
ROUND_TIMEOUT_S = 120.0


class UsageCheckWorker:
    """A worker whose problem is what differs; queries are answered all the same."""

    name = "check usage"

    def __init__(
        self, checking: Checking, windows: ProjectionRunner[UsageTables], every: timedelta, samples: int
    ) -> None:
        self._checking = checking
        self._windows = windows
        self._every_s = every / timedelta(seconds=1)
        self._samples = samples
        self._thread = LastingThread(self.name, self._check_again_and_again)

    def start(self) -> None:
        """Begin; the first check is one pause away."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop; a round in hand is waited for."""
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Always: queries need no check."""
        return True

    def problem(self) -> str:
        """What differs from the log, or why the last round failed; empty while all is well."""
        return self._checking.problem() or self._thread.problem

    def check_once(self) -> None:
        """One round, when the read model has caught up and holds everything."""
        if self._windows.is_leading() and self._windows.is_whole():
            with suppress(Overloaded):
                self._checking.check_samples(
                    self._samples, 0, Deadline.after(ROUND_TIMEOUT_S), USAGE_EVENTS_OF_A_ROUND_MAX
                )

    def _check_again_and_again(self, stop: threading.Event) -> None:
        while not stop.wait(self._every_s):
            self.check_once()
            self._thread.well()
