"""The port: what every backend of the event store promises. One contract suite holds them all to it."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from threading import Event as Signal
from typing import Protocol

from services.eventstore.event import Appended, Batch, CaughtUp, Head, NewEvent, Page, Position, StreamName
from services.eventstore.event import RecordedEvent as RecordedEvent

APPEND_TIMEOUT_S = 30.0
READ_LIMIT_MAX = 10_000
POSITION_NOT_IN_LOG = "POSITION_NOT_IN_LOG"


class EventStore(Protocol):
    """An append-only log of events in streams, with one order over all. Safe to share between threads.

    Versions count from 0 in each stream without gaps. Positions order all events; on SQL backends they are 1, 2, 3 …
    without gaps. A reader never sees a later event before an earlier one.
    """

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """Queue an append; the future ends when the events are durable (fsync), or with the error.

        All events of one append are written, or none. With an exact expected version (or NO_STREAM) a repeat is
        recognised by the event ids that stand there already and answered like the first time; other ids there fail
        with WrongExpectedVersion. Raises InvalidInput for what cannot be stored, Overloaded when the queue is full.
        The future fails with Unavailable when the outcome is unknown: repeat the very same append.
        """

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        """`submit`, waited for; TimedOut after APPEND_TIMEOUT_S, outcome then unknown."""

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """Up to `limit` events of one stream, starting at `from_version`, upwards or downwards.

        Backwards, -1 as `from_version` means the newest. A stream that does not exist has no events.
        """

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """Up to `limit` events of the given categories (none given: all) behind `after`, in log order.

        `after` is BEGINNING or where an event stands. Where none does, a backend whose positions have gaps may raise
        RuleViolated (POSITION_NOT_IN_LOG).
        """

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """Catch up from behind `after`, then follow live until `stop` is set; events come once each, in log order.

        `CaughtUp` comes each time the end of the log is reached with news since the last one, also when nothing
        matched, so that a checkpoint can advance over events of other categories.
        """

    def leaf_at(self, position: Position) -> bytes:
        """The leaf of the event at `position`; empty when the log has no event there.

        Who keeps a position keeps its leaf too, and compares: a log that was cut short and grew again has others.
        """

    def head(self) -> Head:
        """The newest position and the audit chain's value there."""

    def close(self) -> None:
        """Finish what is queued, then let go of files and connections. Safe to repeat."""
