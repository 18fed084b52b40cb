"""Plays a small history against the log in memory, in which the checker must find nothing wrong."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.eventstore.event import (
    ANY_VERSION,
    NO_STREAM,
    Appended,
    Position,
    RecordedEvent,
    StreamName,
    WrongExpectedVersion,
)
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock, epoch_us
from tests.crash.history import Answer, Attempt, Delivery, HeadRead, History, Outcome, Session, StreamRead
from tests.crash.writer import Wish, event_of

START = datetime(2024, 1, 31, tzinfo=UTC)
CLIENTS = 3
READ_LIMIT = 20


class Play:
    """A log in memory, and clients that take turns; time is a counter."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._clock = SimulatedClock(START)
        self._store = MemoryEventStore(self._clock)
        self._now_ns = 0
        self._attempts: list[Attempt] = []
        self._heads: list[HeadRead] = []
        self._streams: list[StreamRead] = []

    def run(self, turns: int) -> tuple[History, tuple[RecordedEvent, ...]]:
        """So many turns; the history and the log."""
        for _ in range(turns):
            self._clock.advance(self._clock.now() + timedelta(milliseconds=1))
            self._append()
            self._look()
        log = self._store.read_all(after=Position(0)).events
        sessions = self._follow("follower/all", frozenset(), log)
        sessions += self._follow("follower/shared", frozenset({"shared"}), log)
        return History(tuple(self._attempts), sessions, tuple(self._heads), tuple(self._streams)), log

    def _append(self) -> None:
        """Mostly at the right version; sometimes nobody hears the answer, and then it is mostly asked again."""
        client = f"client-{self._chance.randrange(CLIENTS)}"
        stream = StreamName("shared", str(self._chance.randrange(2)))
        current = self._store.read_stream(stream, from_version=-1, limit=1, backwards=True)
        version = current[0].version if current else NO_STREAM
        expected = self._chance.choice((version, version, version, ANY_VERSION, max(NO_STREAM, version - 1)))
        ids = [UUID(int=self._chance.getrandbits(128)) for _ in range(self._chance.choice((1, 2, 3)))]
        wish = Wish(stream, tuple(map(event_of, ids)), expected)
        heard = self._attempt(client, wish, is_heard=self._chance.random() < 0.8)
        if not heard and expected != ANY_VERSION and self._chance.random() < 0.7:
            self._attempt(client, wish, is_heard=True)

    def _attempt(self, client: str, wish: Wish, *, is_heard: bool) -> bool:
        ids = tuple(event.id.hex for event in wish.events)
        begun = Attempt(client, str(wish.stream), wish.expected, ids, self._tick(), None, Outcome.UNKNOWN)
        if is_heard or self._chance.random() < 0.5:
            ended = self._ended(begun, wish)
            begun = ended if is_heard else begun
        self._attempts.append(begun)
        return is_heard

    def _ended(self, begun: Attempt, wish: Wish) -> Attempt:
        try:
            answer = self._store.append(wish.stream, wish.events, wish.expected)
        except WrongExpectedVersion as refused:
            return replace(begun, ended_ns=self._tick(), outcome=Outcome.REFUSED, detail=str(refused.actual))
        told = _told(answer)
        return replace(begun, ended_ns=self._tick(), outcome=Outcome.ACKNOWLEDGED, answer=told)

    def _look(self) -> None:
        since_ns = self._tick()
        self._heads.append(HeadRead("looker", since_ns, self._tick(), self._store.head().position))
        stream = StreamName("shared", "0")
        since_ns = self._tick()
        ids = tuple(event.id.hex for event in self._store.read_stream(stream, limit=READ_LIMIT))
        self._streams.append(StreamRead("looker", str(stream), READ_LIMIT, since_ns, self._tick(), ids))

    def _follow(self, client: str, categories: frozenset[str], log: tuple[RecordedEvent, ...]) -> tuple[Session, ...]:
        sessions, after = [], 0
        for part in _parts(log, self._chance):
            deliveries = []
            for piece in _parts(part, self._chance):
                wanted = tuple(
                    (event.position, event.id.hex)
                    for event in piece
                    if not categories or event.stream.category in categories
                )
                deliveries.append(Delivery(wanted, piece[-1].position))
            sessions.append(Session(client, categories, after, tuple(deliveries)))
            after = part[-1].position
        return tuple(sessions)

    def _tick(self) -> int:
        self._now_ns += 1
        return self._now_ns


def _told(answer: Appended) -> Answer:
    leaves = tuple(leaf.hex() for leaf in answer.leaves)
    return Answer(answer.position, answer.version, epoch_us(answer.recorded_at), leaves)


def _parts(events: tuple[RecordedEvent, ...], chance: random.Random) -> list[tuple[RecordedEvent, ...]]:
    """Cut in pieces, none of them empty."""
    parts = []
    while events:
        count = chance.randint(1, len(events))
        parts.append(events[:count])
        events = events[count:]
    return parts
