"""What was pushed and not yet taken: bounded, so that a slow reader slows the server down instead of filling memory."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event as Signal

from services.eventstore.event import Position, RecordedEvent
from services.eventstore.reading import PAGE_BYTES_MAX
from services.kernel.clock import monotonic_s
from services.kernel.errors import DomainError

_LOOK_S = 0.05
"""How often who waits looks whether it was told to stop."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Events in log order, perhaps none; `is_live` when the server had sent all there was and nothing is left over."""

    events: tuple[RecordedEvent, ...]
    is_live: bool


class FeedBuffer:
    """Filled by one thread, emptied by another."""

    def __init__(self, after: Position, events_max: int) -> None:
        self._events_max = events_max
        self._changed = threading.Condition()
        self._events: deque[RecordedEvent] = deque()
        self._bytes = 0
        self._taken_to = after
        self._is_live = False
        self._is_newly_live = False
        self._failure: DomainError | None = None
        self._is_closed = False

    @property
    def taken_to(self) -> Position:
        """The position of the newest event that was taken."""
        return self._taken_to

    def put(self, event: RecordedEvent) -> bool:
        """Add an event, waiting for room; False when the buffer was closed."""
        with self._changed:
            while not self._is_closed and self._is_full(self._events_max):
                self._changed.wait(_LOOK_S)
            self._events.append(event)
            self._bytes += len(event.payload)
            self._changed.notify_all()
            return not self._is_closed

    def go_live(self) -> None:
        """All that the log held has been put."""
        with self._changed:
            self._is_live = self._is_newly_live = True
            self._changed.notify_all()

    def go_back(self) -> None:
        """The server has to catch up again."""
        with self._changed:
            self._is_live = self._is_newly_live = False

    def fail(self, failure: DomainError) -> None:
        """Nothing more will come; the reader gets what is there, then the error. The first failure counts."""
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def forget(self) -> None:
        """Drop what was not taken yet: it will be put again."""
        with self._changed:
            self._events.clear()
            self._bytes = 0

    def close(self) -> None:
        """Let the filling thread end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self, count_max: int, wait_s: float, stop: Signal) -> Taken:
        """Up to `count_max` events, at the latest after `wait_s`; raises the failure once everything else is taken.

        Live, events are handed out as they come; before that, a batch is worth waiting for until it is full.
        """
        until_s = monotonic_s() + wait_s
        with self._changed:
            while not self._is_due(count_max) and not stop.is_set() and monotonic_s() < until_s:
                self._changed.wait(min(_LOOK_S, max(0.0, until_s - monotonic_s())))
            if not self._events and self._failure:
                raise self._failure
            return Taken(self._popped(count_max), self._is_live and not self._events)

    def _is_due(self, count_max: int) -> bool:
        is_awaited = self._is_live and (self._is_newly_live or bool(self._events))
        return is_awaited or self._is_full(count_max) or self._failure is not None

    def _is_full(self, count: int) -> bool:
        return len(self._events) >= count or self._bytes >= PAGE_BYTES_MAX

    def _popped(self, count_max: int) -> tuple[RecordedEvent, ...]:
        taken: list[RecordedEvent] = []
        size = 0
        while self._events and len(taken) < count_max and size < PAGE_BYTES_MAX:
            taken.append(self._events.popleft())
            size += len(taken[-1].payload)
        self._bytes -= size
        self._is_newly_live = False
        self._taken_to = _end(taken, self._taken_to)
        self._changed.notify_all()
        return tuple(taken)


def _end(events: Sequence[RecordedEvent], otherwise: Position) -> Position:
    return events[-1].position if events else otherwise
