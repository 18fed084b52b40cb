"""A store whose positions have gaps, seen as if they were 1, 2, 3 …, so that one test counts on every backend.

Positions are opaque: a test may rename them as long as their order stays. Every position that goes in or comes out is
renamed, by what the log holds at that moment; one behind the end keeps its distance to the end.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from threading import Event as Signal

from services.eventstore.audit.chain import Commit
from services.eventstore.event import (
    BEGINNING,
    Appended,
    Batch,
    CaughtUp,
    Head,
    NewEvent,
    Page,
    Position,
    RecordedEvent,
    StreamName,
)
from services.eventstore.kurrentdb.store import KurrentEventStore
from services.eventstore.store import APPEND_TIMEOUT_S, READ_LIMIT_MAX
from services.kernel.clock import Clock
from tests.kurrentdb_server import KurrentServer, Options

LARGEST_APPEND_BYTES = 16 * 1024 * 1024
"""Room for the largest append of the contract with the headers of its events, as on servers since 25.1."""


def numbered_kurrentdb_store(clock: Clock) -> "NumberedPositions":
    """An empty log on a server of its own, which ends with the store."""
    server = KurrentServer(options=Options(append_bytes_max=LARGEST_APPEND_BYTES))
    server.start()
    return NumberedPositions(KurrentEventStore(server.url, clock), server)


BEHIND_ALL = 2**40
"""A place that no log of a test reaches; just behind its last event there may be a record of the server's own."""


class NumberedPositions:
    """An EventStore and RestorableStore over one on KurrentDB; wholly for tests: it keeps every position in memory."""

    def __init__(self, store: KurrentEventStore, server: KurrentServer) -> None:
        self.store = store
        self._server = server
        self._positions: list[Position] = []
        self._learning = threading.Lock()

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        numbered: Future[Appended] = Future()

        def number(answered: Future[Appended]) -> None:
            error = answered.exception()
            if error is not None:
                numbered.set_exception(error)
            else:
                answer = answered.result()
                numbered.set_result(replace(answer, position=self.number(answer.position)))

        self.store.submit(stream, events, expected_version).add_done_callback(number)
        return numbered

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        return self.submit(stream, events, expected_version).result(APPEND_TIMEOUT_S)

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        events = self.store.read_stream(stream, from_version=from_version, limit=limit, backwards=backwards)
        return self._numbered(events)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        page = self.store.read_all(after=self._position(after), categories=categories, limit=limit)
        return Page(self._numbered(page.events), self.number(page.position), page.is_last)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        news = self.store.subscribe(after=self._position(after), categories=categories, batch_max=batch_max, stop=stop)
        return (self._numbered_news(each) for each in news)

    def leaf_at(self, position: Position) -> bytes:
        return self.store.leaf_at(self._position(position))

    def head(self) -> Head:
        head = self.store.head()
        return Head(self.number(head.position), head.chain)

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:
        self.store.restore(events, commits)

    def close(self) -> None:
        self.store.close()
        self._server.stop()

    def number(self, position: Position) -> Position:
        """Which event it is, counted from 1."""
        if position == BEGINNING:
            return BEGINNING
        if position > BEHIND_ALL:
            return Position(position - BEHIND_ALL)
        with self._learning:
            if position not in self._positions:
                self._learn()
            if position in self._positions:
                return Position(self._positions.index(position) + 1)
            last = self._positions[-1] if self._positions else BEGINNING
            assert position > last, f"{position} is the position of no event"
            return Position(len(self._positions) + position - last)

    def _position(self, number: Position) -> Position:
        if number <= BEGINNING:
            return number
        with self._learning:
            if number > len(self._positions):
                self._learn()
            if number <= len(self._positions):
                return self._positions[number - 1]
            return Position(BEHIND_ALL + number)

    def _learn(self) -> None:
        while True:
            page = self.store.read_all(after=self._positions[-1] if self._positions else BEGINNING)
            self._positions += [event.position for event in page.events]
            if page.is_last:
                return

    def _numbered(self, events: Sequence[RecordedEvent]) -> tuple[RecordedEvent, ...]:
        return tuple(replace(event, position=self.number(event.position)) for event in events)

    def _numbered_news(self, news: Batch | CaughtUp) -> Batch | CaughtUp:
        if isinstance(news, CaughtUp):
            return CaughtUp(self.number(news.position))
        return Batch(self._numbered(news.events), self.number(news.position))
