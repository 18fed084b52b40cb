"""Waiting until a projection has arrived at a log position."""

import threading
from collections.abc import Callable

from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, Overloaded, TimedOut, Unavailable

READERS_WAITING_MAX = 16
"""Readers that may wait for one projection; half of the threads that answer calls."""


class Arrivals:
    """`position` says where the projection named `name` stands, `why_not` why it does not move.

    Who moves it calls `tell`.
    """

    def __init__(
        self, store: EventStore, name: str, position: Callable[[], Position], why_not: Callable[[], str]
    ) -> None:
        self._store = store
        self._name = name
        self._position = position
        self._why_not = why_not
        self._moved = threading.Condition()
        self._is_stopping = False
        self._readers = threading.BoundedSemaphore(READERS_WAITING_MAX)

    def tell(self) -> None:
        """It may have moved."""
        with self._moved:
            self._moved.notify_all()

    def stop(self) -> None:
        """Send everybody away: the service stops."""
        with self._moved:
            self._is_stopping = True
            self._moved.notify_all()

    def wait_for(self, position: Position, timeout_s: float) -> None:
        """Return when it is at `position`, which was appended.

        Raises TimedOut, and Unavailable when the service stops meanwhile.
        """
        deadline = monotonic_s() + timeout_s
        with self._moved:
            while self._position() < position:
                self._require_running()
                left = deadline - monotonic_s()
                if left <= 0 or not self._moved.wait(left):
                    raise TimedOut(
                        f'projection "{self._name}" stands at position {self._position()}, not yet at {position}; '
                        f"{self._why_not() or 'it is catching up'}; repeat later"
                    )

    def wait_for_move(self, position: Position, timeout_s: float) -> Position:
        """Where it is, as soon as that is not `position`; at the latest after `timeout_s`.

        Raises Unavailable when the service stops meanwhile.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._position() != position or self._is_stopping, timeout_s)
            self._require_running()
            return self._position()

    def wait_for_reader(self, position: Position, timeout_s: float) -> None:
        """`wait_for` a position that a caller names, bounded so that readers never take all threads that answer calls.

        Raises InvalidInput for a position that the log has not reached, and Overloaded when READERS_WAITING_MAX wait.
        """
        if self._position() >= position:
            return
        head = self._store.head().position
        if position > head:
            raise InvalidInput(f"position {position} is behind the log's end, {head}; give one that was answered")
        if not self._readers.acquire(blocking=False):
            raise Overloaded(f'{READERS_WAITING_MAX} readers wait for projection "{self._name}" already; repeat later')
        try:
            self.wait_for(position, timeout_s)
        finally:
            self._readers.release()

    def _require_running(self) -> None:
        if self._is_stopping:
            raise Unavailable("the service is stopping; repeat later")
