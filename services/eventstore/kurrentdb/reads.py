"""The reading half of a store on KurrentDB: what is asked, asked again when it failed, and remembered for a moment."""

import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from services.eventstore.event import BEGINNING, Page, Position, RecordedEvent, StreamName
from services.eventstore.kurrentdb import read
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.errors import NO_ANSWER
from services.eventstore.kurrentdb.session import Session
from services.kernel.clock import monotonic_s
from services.kernel.errors import Unavailable

LEAF_MEMORY_S: Final = 1.0
LEAVES_MAX: Final = 1_000


class KurrentReads:
    """Reads over one connection. Safe to share between threads."""

    def __init__(self, connection: KurrentConnection) -> None:
        self._connection = connection
        self._limits = connection.limits
        self._leaves = _LeafMemory()
        self._polling = threading.Lock()
        self._newest = BEGINNING
        self._polled_at_s = -self._limits.poll_s

    def stream(
        self, stream: StreamName, from_version: int, limit: int, *, backwards: bool
    ) -> tuple[RecordedEvent, ...]:
        """Events of one stream, as `EventStore.read_stream` says."""
        query = read.stream_downwards if backwards else read.stream_upwards
        timeout_s = self._limits.stream_timeout_s
        return self._connection.answered(lambda session: query(session, stream, from_version, limit, timeout_s))

    def page(self, after: Position, categories: Collection[str], limit: int) -> Page:
        """A page, as `EventStore.read_all` says; the head is read first."""
        head = self.head()
        if after >= head:
            return Page((), after, is_last=True)
        found = self._connection.answered(
            lambda session: read.page(session, head, after, categories, limit, self._limits.page_timeout_s)
        )
        self.note(found.events[-1:])
        return found

    def empty_up_to(self, head: Position, after: Position, categories: Collection[str]) -> Position | None:
        """How far the log holds nothing for this reader behind `after`, at least to `head`; None when it does.

        For who waits: asked once, with a short deadline.
        """
        if head <= after:
            return after
        with self._connection.calling() as session:
            found = read.page(session, head, after, categories, 1, self._limits.poll_timeout_s)
        return None if found.events else found.position

    def head(self) -> Position:
        """The position of the newest event, read now."""
        return self._connection.answered(lambda session: self._head(session, self._connection.call_timeout_s))

    def polled_head(self) -> Position:
        """The newest position as it was less than a poll ago: all subscriptions of a store share one look."""
        if not self._polling.acquire(timeout=self._limits.poll_timeout_s):
            raise Unavailable("another subscription has not learned the head of the log yet; repeat", reason=NO_ANSWER)
        try:
            if monotonic_s() - self._polled_at_s >= self._limits.poll_s:
                with self._connection.calling() as session:
                    self._newest = self._head(session, self._limits.poll_timeout_s)
                self._polled_at_s = monotonic_s()
            return self._newest
        finally:
            self._polling.release()

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`: empty between events, and where the log does not reach."""
        remembered = self._leaves.recent(position)
        if remembered:
            return remembered
        if position <= BEGINNING or position > self.head():
            return b""
        timeout_s = self._connection.call_timeout_s
        return self._connection.answered(lambda session: read.leaf_at(session, position, timeout_s))

    def note(self, events: tuple[RecordedEvent, ...]) -> None:
        """Remember leaves that were just read: whoever got these events is about to ask for the last one's."""
        for event in events:
            self._leaves.note(event.position, event.leaf)

    def _head(self, session: Session, timeout_s: float) -> Position:
        newest = read.newest(session, timeout_s)
        if newest is None:
            return BEGINNING
        self._leaves.note(Position(newest.commit_position), read.leaf_of(newest))
        return Position(newest.commit_position)


class _LeafMemory:
    """Leaves of the last second: it spares a call a checkpoint, and is too short to hide a log that was replaced."""

    def __init__(self) -> None:
        self._leaves: OrderedDict[Position, tuple[float, bytes]] = OrderedDict()
        self._changing = threading.Lock()

    def note(self, position: Position, leaf: bytes) -> None:
        with self._changing:
            self._leaves[position] = (monotonic_s(), leaf)
            self._leaves.move_to_end(position)
            if len(self._leaves) > LEAVES_MAX:
                self._leaves.popitem(last=False)

    def recent(self, position: Position) -> bytes:
        with self._changing:
            noted_at_s, leaf = self._leaves.get(position, (0.0, b""))
        return leaf if monotonic_s() - noted_at_s < LEAF_MEMORY_S else b""
