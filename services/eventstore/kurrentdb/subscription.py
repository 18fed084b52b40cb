"""Follow a log on KurrentDB: the server pushes what matches, and reads tell how far nothing else matched.

The server says nothing about events that do not match while a subscription is idle. So whoever waits looks at the head
of the log (one look for all subscriptions of a store), and when it has moved, a filtered read from the last known
position to the end says for certain that nothing was missed up to there. When that read does find an event, the
subscription must bring it; if it does not for `stall_s`, it is dead without knowing it, and is opened again.
"""

from collections.abc import Collection, Iterator
from threading import Event as Signal

from services.eventstore.event import Batch, CaughtUp, Position
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.errors import is_passing
from services.eventstore.kurrentdb.feed import Feed
from services.eventstore.kurrentdb.feed_buffer import Taken
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.reads import KurrentReads
from services.kernel.clock import monotonic_s
from services.kernel.errors import DomainError


def follow(
    connection: KurrentConnection,
    reads: KurrentReads,
    *,
    after: Position,
    categories: Collection[str],
    batch_max: int,
    stop: Signal,
) -> Iterator[Batch | CaughtUp]:
    """What `EventStore.subscribe` yields."""
    with Feed(connection, after, categories).opened() as feed:
        following = _Following(feed, reads, categories, connection.limits, after)
        while not stop.is_set():
            try:
                news = following.next_news(batch_max, stop)
            except DomainError:
                if stop.is_set():
                    return
                raise
            yield from news


class _Following:
    """How far a subscription is, and what its reader is told of that."""

    def __init__(
        self, feed: Feed, reads: KurrentReads, categories: Collection[str], limits: KurrentLimits, after: Position
    ) -> None:
        self._is_live = False
        self._feed = feed
        self._reads = reads
        self._categories = categories
        self._limits = limits
        self._position = after
        self._told: Position | None = None
        self._stalled_at_s: float | None = None

    def next_news(self, batch_max: int, stop: Signal) -> list[Batch | CaughtUp]:
        """What there is to tell by now, after a bounded wait; perhaps nothing."""
        taken = self._feed.take(batch_max, self._limits.poll_s if self._is_live else self._limits.fill_s, stop)
        if taken.events:
            self._stalled_at_s = None
            self._position = taken.events[-1].position
            self._reads.note(taken.events[-1:])
        if taken.is_live and not (self._is_live and taken.events):
            # The first time, and whenever nothing came: how far did the log grow without an event for this reader?
            self._advance()
        self._is_live = taken.is_live
        self._restart_when_dead(taken)
        return [*self._batches(taken), *self._caught_up()]

    def _batches(self, taken: Taken) -> list[Batch]:
        return [Batch(taken.events, self._position)] if taken.events else []

    def _caught_up(self) -> list[CaughtUp]:
        """Nothing unless live, with nothing missing, and further than was told."""
        if not self._is_live or self._stalled_at_s is not None or self._position == self._told:
            return []
        self._told = self._position
        return [CaughtUp(self._position)]

    def _advance(self) -> None:
        try:
            head = self._reads.polled_head() if self._is_live else self._reads.head()
            reached = self._reads.empty_up_to(head, self._position, self._categories)
        except DomainError as error:
            # What is wrong with the connection is found out, repaired or reported by the feed.
            if not is_passing(error):
                raise
            return
        if reached is None:
            self._stalled_at_s = self._stalled_at_s or monotonic_s()
        else:
            self._stalled_at_s = None
            self._position = reached

    def _restart_when_dead(self, taken: Taken) -> None:
        stalled_at_s = self._stalled_at_s
        is_stalled = stalled_at_s is not None and monotonic_s() - stalled_at_s > self._limits.stall_s
        is_silent = not self._is_live and not taken.events and self._feed.is_silent(self._limits.silence_s)
        if is_stalled or is_silent:
            self._stalled_at_s = None
            self._feed.restart(
                "brought no event although one stands in the log"
                if is_stalled
                else f"was told nothing for {self._limits.silence_s:g} s, not even how far the server searched"
            )
