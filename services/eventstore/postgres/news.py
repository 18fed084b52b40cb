"""News of other processes' commits: the server's notifications, and a look now and then for those that get lost."""

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

import psycopg
from psycopg import sql

from services.eventstore.commit_bell import CommitBell
from services.eventstore.event import BEGINNING, Position
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import BoundedConnection, PostgresLimits, connect
from services.kernel.clock import monotonic_s
from services.kernel.errors import DomainError

_HEAR_S: Final = 0.1
_PAUSE_MIN_S: Final = 0.5
_PAUSE_MAX_S: Final = 30.0
_JOIN_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


class CommitNews:
    """Knows the newest position of the log without asking the server each time; safe to share between threads.

    The log is looked at when a notification came, and every `poll_s` by whoever waits. Nothing rests on notifications:
    without them, news come a little later.
    """

    def __init__(
        self,
        address: LogAddress,
        limits: PostgresLimits,
        newest: Callable[[], Position],
        is_own: Callable[[int], bool],
        *,
        writes: bool,
    ) -> None:
        """`newest` asks the log; `is_own` tells whether a notification comes from this store's own writer."""
        self._address = address
        self._limits = limits
        self._newest = newest
        self._is_own = is_own
        self._writes = writes
        self._known = BEGINNING
        self._times_learned = 0
        self._learning = threading.Lock()
        self._look_at_s = 0.0
        self._looking = threading.Lock()
        self._starting = threading.Lock()
        self._stopped = threading.Event()
        self._listener: threading.Thread | None = None
        self.bell = CommitBell(self._position)

    def listen(self) -> None:
        """Start to listen, the first time that somebody follows the log."""
        with self._starting:
            if self._listener is None and not self._stopped.is_set():
                self._listener = threading.Thread(target=self._listen, name="event-store-listener", daemon=True)
                self._listener.start()

    def tell(self, position: Position) -> None:
        """The log has grown to `position`, says who wrote it: wake who waits for it."""
        with self._learning:
            self._known = max(self._known, position)
            self._times_learned += 1
        self.bell.ring(position)

    def close(self) -> None:
        """End the listener. Safe to repeat."""
        with self._starting:
            self._stopped.set()
        if self._listener is not None:
            self._listener.join(_JOIN_TIMEOUT_S)

    def _position(self) -> Position:
        """The newest position that is known; one of those who ask looks anew when it is time."""
        if monotonic_s() >= self._look_at_s and self._looking.acquire(blocking=False):
            try:
                self._look_at_s = monotonic_s() + self._limits.poll_s
                self._look()
            finally:
                self._looking.release()
        return self._known

    def _look(self) -> Position:
        """Ask the log. What was learned since the question was put may be newer than the answer."""
        times_learned = self._times_learned
        position = self._newest()
        with self._learning:
            is_latest = self._times_learned == times_learned
            self._known = position if is_latest else max(self._known, position)
            self._times_learned += 1
        return position

    def _listen(self) -> None:
        pause_s = _PAUSE_MIN_S
        while not self._stopped.is_set():
            try:
                with closing(connect(self._address, self._limits, writes=self._writes)) as connection:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._address.schema)))
                    pause_s = _PAUSE_MIN_S
                    self._hear(connection)
            except (DomainError, psycopg.Error) as error:
                _log.info("no notifications of commits for a while, they are found by looking: %s", error)
                self._stopped.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _hear(self, connection: BoundedConnection) -> None:
        self.bell.ring(self._look())
        while not self._stopped.is_set():
            for notification in connection.notifies(timeout=_HEAR_S, stop_after=1):
                if not self._is_own(notification.pid):
                    self.bell.ring(self._look())
