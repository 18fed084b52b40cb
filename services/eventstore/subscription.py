"""Follow a log: first what stands there already, then what is committed, told apart by `CaughtUp`."""

from collections.abc import Collection, Iterator
from threading import Event as Signal
from typing import Protocol

from services.eventstore.commit_bell import CommitBell
from services.eventstore.event import Batch, CaughtUp, Page, Position


class PagedLog(Protocol):
    """A log that is read page by page, as `EventStore.read_all` says."""

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int) -> Page:
        """Up to `limit` events behind `after`, and how far the log was read for them."""


def follow(
    log: PagedLog, bell: CommitBell, *, after: Position, categories: Collection[str], batch_max: int, stop: Signal
) -> Iterator[Batch | CaughtUp]:
    """What `EventStore.subscribe` yields, over any log that can be read in pages and rings a bell."""
    position = after
    while not stop.is_set():
        page = log.read_all(after=position, categories=categories, limit=batch_max)
        position = page.position
        if page.events:
            yield Batch(page.events, position)
        if page.is_last:
            yield CaughtUp(position)
            bell.wait(position, stop)
