"""Wakes the subscriptions of a store when there is news, whoever in whichever process committed it."""

import threading
from collections.abc import Callable
from threading import Event as Signal

from services.eventstore.event import Position

POLL_S = 0.02
"""How often a waiting subscription looks for commits of other processes, and whether it was told to stop."""


class CommitBell:
    """Rung after each commit of this process; commits of other processes are found by looking every POLL_S."""

    def __init__(self, newest: Callable[[], Position]) -> None:
        """`newest` tells the log's last position, cheaply."""
        self._newest = newest
        self._rung = 0
        self._ringing = threading.Condition()

    def ring(self, position: Position) -> None:
        """Wake who waits for events behind an earlier position."""
        with self._ringing:
            self._rung = max(self._rung, position)
            self._ringing.notify_all()

    def wait(self, after: Position, stop: Signal) -> None:
        """Return when the log is longer than `after`, or when `stop` is set."""
        while not stop.is_set() and self._newest() <= after:
            with self._ringing:
                self._ringing.wait_for(lambda: self._rung > after, POLL_S)
