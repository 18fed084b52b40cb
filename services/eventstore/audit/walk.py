"""Walks over the events of a log in order, and checks each by itself, in its stream, and against what was sealed."""

from collections.abc import Callable, Collection, Iterator
from typing import Final, Protocol

from services.eventstore.audit.comparison import Broken, SealedRun, checked_leaf
from services.eventstore.audit.versions import VersionOrder
from services.eventstore.event import BEGINNING, Page, Position, RecordedEvent, StreamName
from services.kernel.errors import Corrupt

VERIFY_PAGE_MAX: Final = 1_000


class ReadableLog(Protocol):
    """What a walk asks of a store, as `EventStore` says."""

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int) -> Page:
        """Events in log order."""

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """Events of a stream."""


class Walk:
    """The events behind `after`, one by one.

    `events` counts those that were found good, `sealed` those of them that were compared with a sealed leaf;
    `position` is that of the last. `found_good` is told of each.
    """

    def __init__(
        self,
        log: ReadableLog,
        after: Position = BEGINNING,
        run: SealedRun | None = None,
        found_good: Callable[[RecordedEvent], None] | None = None,
    ) -> None:
        self.events = 0
        self.sealed = 0
        self.position = after
        self._log = log
        self._run = run
        self._versions = VersionOrder(self._event_of)
        self._found_good = found_good
        self._ahead = events_behind(log, after)

    def next_event(self) -> RecordedEvent | None:
        """The next event of the log, unchecked; None at its end. Raises Broken for stored bytes that are no event."""
        return next(self._ahead, None)

    def check(self, event: RecordedEvent) -> bytes:
        """The leaf of the event, when nothing is wrong with it; else raises Broken."""
        leaf = checked_leaf(event)
        self._versions.require_next(event)
        if self._run is not None and not self._run.is_whole:
            self._run.show(event.position, leaf)
            self.sealed += 1
        self.events += 1
        self.position = event.position
        if self._found_good is not None:
            self._found_good(event)
        return leaf

    def _event_of(self, stream: StreamName, version: int) -> RecordedEvent | None:
        found = self._log.read_stream(stream, from_version=version, limit=1)
        return found[0] if found else None


def events_behind(log: ReadableLog, after: Position, categories: Collection[str] = ()) -> Iterator[RecordedEvent]:
    """The events behind a position, up to the end of the log; raises Broken for stored bytes that are no event."""
    while True:
        page = _readable_page(log, after, categories, VERIFY_PAGE_MAX)
        yield from page.events
        if page.is_last:
            return
        if page.position <= after:
            raise Broken(after + 1, "the log cannot be read on from here")
        after = page.position


def _readable_page(log: ReadableLog, after: Position, categories: Collection[str], limit: int) -> Page:
    """The next events; fewer when one of them cannot be read, until that one is the next."""
    try:
        return log.read_all(after=after, categories=categories, limit=limit)
    except Corrupt as error:
        if limit == 1:
            raise Broken(after + 1, error.message) from error
    return _readable_page(log, after, categories, limit // 2)
