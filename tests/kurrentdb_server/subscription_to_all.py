"""A subscription to the whole log: catch up page by page, then follow, without gap and without repeat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.kurrentdb_server import progress
from tests.kurrentdb_server.event_filter import Allowed
from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.options import Options
from tests.kurrentdb_server.reading import PAGE_MAX, Response, scan
from tests.kurrentdb_server.record import Record
from tests.kurrentdb_server.refusal import invalid_position


@dataclass(frozen=True, slots=True)
class Wish:
    """Which events, looked at in pages of `window`; a checkpoint every `checkpoint_interval` of them, if any."""

    allowed: Allowed
    window: int
    checkpoint_interval: int | None


class SubscriptionToAll:
    """Follows AllSubscriptionFiltered of the server: the same pages, the same checkpoints, the same order of both.

    `require_leader` is called before each page and raises Refusal where this node may not serve it.
    """

    def __init__(
        self,
        log: EventLog,
        wish: Wish,
        options: Options,
        is_wanted: Callable[[], bool],
        require_leader: Callable[[], None],
    ) -> None:
        self._log = log
        self._wish = wish
        self._options = options
        self._is_wanted = is_wanted
        self._require_leader = require_leader
        self._checkpoint = progress.HEAD
        self._told_checkpoint = progress.HEAD
        self._subscribed_index = log.length
        self._index = log.length

    def responses(self, position: int | None) -> Iterator[Response]:
        """Everything behind `position`, until nobody wants it; HEAD is the start, None the end."""
        last = self._log.records(self._index - 1, self._index)[0].position
        yield progress.confirmation()
        self._checkpoint = last if position is None else position
        if self._checkpoint < last:
            yield from self._catch_up()
        while self._is_wanted():
            yield progress.caught_up(self._checkpoint, says_where=self._options.caught_up_says_position)
            yield from self._follow()
            if self._is_wanted():
                yield from self._catch_up()

    def _catch_up(self) -> Iterator[Response]:
        counter = 0
        current = max(self._checkpoint, 0)
        index = self._start_index(current)
        interval = self._wish.checkpoint_interval
        while self._is_wanted():
            self._require_leader()
            page = scan(self._log, index, PAGE_MAX, self._wish.window, self._wish.allowed)
            yield from self._unseen(page.events)
            following = self._log.position_at(page.next_index)
            if self._checkpoint < current < following:
                self._checkpoint = current
            counter += page.considered
            if page.is_end:
                if self._checkpoint == progress.HEAD:
                    self._checkpoint = 0
                self._index = page.next_index
                yield from self._tell_checkpoint()
                return
            if interval and counter >= interval:
                counter %= interval
                yield from self._tell_checkpoint()
            current, index = following, page.next_index

    def _follow(self) -> Iterator[Response]:
        """Until nobody wants it, or more came at once than the server keeps for a reader."""
        while self._is_wanted():
            self._log.wait_for_news(self._index, self._is_wanted)
            news = self._log.records(self._index)
            waiting = sum(1 for record in news if self._is_new(record))
            if waiting > self._options.live_buffer_events:
                if self._options.says_fell_behind:
                    yield progress.fell_behind(self._checkpoint)
                yield from self._tell_checkpoint()
                return
            for record in news:
                yield from self._tell_live(record)

    def _tell_live(self, record: Record) -> Iterator[Response]:
        self._index += 1
        if self._is_new(record):
            self._checkpoint = record.position
            yield record.response
        interval = self._wish.checkpoint_interval
        if interval and (self._index - self._subscribed_index) % interval == 0 and record.position >= self._checkpoint:
            self._checkpoint = record.position
            yield from self._tell_checkpoint()

    def _is_new(self, record: Record) -> bool:
        return record.position > self._checkpoint and self._wish.allowed(record)

    def _unseen(self, events: list[Record]) -> Iterator[Response]:
        for record in events:
            if record.position > self._checkpoint:
                self._checkpoint = record.position
                yield record.response

    def _tell_checkpoint(self) -> Iterator[Response]:
        """Only to readers with a filter, and each place only once."""
        if self._wish.checkpoint_interval and self._checkpoint > self._told_checkpoint:
            self._told_checkpoint = self._checkpoint
            yield progress.checkpoint(self._checkpoint)

    def _start_index(self, position: int) -> int:
        index = self._log.index_of(position)
        if index is None:
            raise invalid_position()
        return index
