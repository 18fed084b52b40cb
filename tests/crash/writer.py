"""A process that appends: at random versions, in bursts, again when the outcome is unknown, again across its lives."""

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from services.eventstore.event import ANY_VERSION, NO_STREAM, Appended, NewEvent, StreamName, WrongExpectedVersion
from services.eventstore.group_commit import appended
from services.eventstore.store import EventStore
from services.kernel.clock import epoch_us
from services.kernel.errors import DomainError, Overloaded, TimedOut, Unavailable
from tests.crash.history import Attempt, Outcome
from tests.crash.history_file import HistoryFile, read_history
from tests.crash.log_laws import EVENT_TYPE, payload_of
from tests.crash.opening import PAUSE_S, TROUBLE, opened
from tests.crash.worker import Order
from tests.crash.worker_paths import history_path

THREADS = 3
SHARED_STREAMS = 3
REPEATS_MAX = 40
BURST_MAX = 4
ANSWER_TIMEOUT_S = 8.0
JOIN_TIMEOUT_S = 60.0
LEFT_OPEN_MAX = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """An append that a client wants; a repeat is the very same one."""

    stream: StreamName
    events: tuple[NewEvent, ...]
    expected: int


def write(order: Order, history: HistoryFile, stop: threading.Event) -> None:
    """Append from several threads until told to stop, or until each has done its share."""
    left_open = _left_open(read_history(history_path(order)).attempts)
    store = opened(order, stop)
    if store is None:
        return
    writers = [Writer(order, number, store, history, stop) for number in range(THREADS)]
    threads = [
        threading.Thread(target=writer.run, args=(left_open[number::THREADS],), daemon=True)
        for number, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not stop.is_set():
            thread.join(PAUSE_S)
        thread.join(JOIN_TIMEOUT_S)
    _close(store)


def _close(store: EventStore) -> None:
    try:
        store.close()
    except TROUBLE:
        return


def _left_open(attempts: Sequence[Attempt]) -> list[Wish]:
    """The newest appends of former lives whose outcome this client does not know."""
    last = {attempt.ids: attempt for attempt in attempts if attempt.is_recognisable}
    settled = {
        attempt.ids
        for attempt in attempts
        if attempt.outcome in (Outcome.ACKNOWLEDGED, Outcome.REFUSED, Outcome.TURNED_AWAY)
    }
    unknown = [attempt for ids, attempt in last.items() if ids not in settled]
    return [_wish_of(attempt) for attempt in unknown[-LEFT_OPEN_MAX:]]


def _wish_of(attempt: Attempt) -> Wish:
    events = tuple(event_of(UUID(hex=event_id)) for event_id in attempt.ids)
    return Wish(StreamName.parse(attempt.stream), events, attempt.expected)


def event_of(event_id: UUID) -> NewEvent:
    """The event that has this id: all else follows from it."""
    return NewEvent(event_id, EVENT_TYPE, 1, payload_of(event_id.bytes))


class Writer:
    """One thread that appends."""

    def __init__(
        self, order: Order, number: int, store: EventStore, history: HistoryFile, stop: threading.Event
    ) -> None:
        self.client = f"{order.name}/{order.life}/{number}"
        self._store = store
        self._history = history
        self._stop = stop
        self._chance = random.Random(f"{order.seed}/{self.client}")
        self._appends_max = order.appends
        self._pace_s = order.pace_s
        self._wishes = 0
        self._attempts = 0
        self._last: Wish | None = None

    def run(self, left_open: Sequence[Wish]) -> None:
        """First settle what a former life left open, then append."""
        for wish in left_open:
            self.settle(wish)
        for _ in range(self._appends_max):
            if self._stop.is_set():
                return
            self._act()
            self._stop.wait(self._chance.random() * self._pace_s)

    def _act(self) -> None:
        try:
            wishes = list(self._next_wishes())
        except TROUBLE:
            self._stop.wait(PAUSE_S)
            return
        if len(wishes) > 1:
            self._burst(wishes)
        else:
            self.settle(wishes[0])

    def _next_wishes(self) -> Iterator[Wish]:
        dice = self._chance.random()
        if dice < 0.06 and self._last is not None:
            yield self._last
        elif dice < 0.20:
            yield self._wish(self._shared(), ANY_VERSION)
        elif dice < 0.28:
            yield self._wish(StreamName("own", f"{self.client}/{self._wishes}"), NO_STREAM)
        elif dice < 0.36:
            version = self._version_of(own := StreamName("own", self.client))
            for _ in range(BURST_MAX):
                wish = self._wish(own, version)
                version += len(wish.events)
                yield wish
        else:
            stream = self._shared() if dice < 0.75 else StreamName("own", self.client)
            yield self._wish(stream, self._version_of(stream))

    def _shared(self) -> StreamName:
        return StreamName("shared", str(self._chance.randrange(SHARED_STREAMS)))

    def _version_of(self, stream: StreamName) -> int:
        newest = self._store.read_stream(stream, from_version=-1, limit=1, backwards=True)
        return newest[0].version if newest else NO_STREAM

    def _wish(self, stream: StreamName, expected: int) -> Wish:
        self._wishes += 1
        count = self._chance.choice((1, 1, 1, 2, 3, 5, 40))
        digests = [sha256(f"{self.client}/{self._wishes}/{index}".encode()).digest() for index in range(count)]
        return Wish(stream, tuple(event_of(UUID(bytes=digest[:16])) for digest in digests), expected)

    def settle(self, wish: Wish) -> None:
        """Append until the outcome is known, or for ever unknowable; the very same append each time."""
        for _ in range(REPEATS_MAX):
            outcome = self._ended(*self._begun(wish))
            if outcome is not Outcome.UNKNOWN:
                self._last = wish if outcome is Outcome.ACKNOWLEDGED and wish.expected != ANY_VERSION else self._last
                return
            if wish.expected == ANY_VERSION or self._stop.wait(PAUSE_S):
                return

    def _burst(self, wishes: Sequence[Wish]) -> None:
        """Several appends under way at once, each behind the one before; what fails is left as it is."""
        for number, submitted in [self._begun(wish) for wish in wishes]:
            self._ended(number, submitted)

    def _begun(self, wish: Wish) -> tuple[int, Future[Appended] | DomainError]:
        self._attempts += 1
        ids = [event.id.hex for event in wish.events]
        number = self._attempts
        self._history.write(
            "append", self.client, number=number, stream=str(wish.stream), expected=wish.expected, ids=ids
        )
        try:
            return number, self._store.submit(wish.stream, wish.events, wish.expected)
        except DomainError as error:
            return number, error

    def _ended(self, number: int, submitted: Future[Appended] | DomainError) -> Outcome:
        try:
            if isinstance(submitted, DomainError):
                raise submitted
            answer = appended(submitted, ANSWER_TIMEOUT_S)
        except DomainError as error:
            outcome, detail = outcome_of(error)
            self._history.write("ended", self.client, number=number, outcome=outcome, answer=None, detail=detail)
            return outcome
        told = (
            answer.position,
            answer.version,
            epoch_us(answer.recorded_at),
            [leaf.hex() for leaf in answer.leaves],
        )
        self._history.write("ended", self.client, number=number, outcome=Outcome.ACKNOWLEDGED, answer=told, detail="")
        return Outcome.ACKNOWLEDGED


def outcome_of(error: DomainError) -> tuple[Outcome, str]:
    """What an error tells about the append, and its detail."""
    match error:
        case WrongExpectedVersion():
            return Outcome.REFUSED, str(error.actual)
        case Overloaded():
            return Outcome.TURNED_AWAY, error.message
        case Unavailable() | TimedOut():
            return Outcome.UNKNOWN, error.message
        case _:
            return Outcome.UNFORESEEN, f"{type(error).__name__}: {error.message}"
