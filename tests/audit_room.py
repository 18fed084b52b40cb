"""What the audit tests share: a small log, a key, a sealed folder, and a log with gaps between its positions."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Signal
from uuid import UUID

from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.note import SignerKey
from services.eventstore.audit.sealer import Sealer
from services.eventstore.audit.verify import WHOLE, Seal, Span, Verification, verify
from services.eventstore.event import (
    ANY_VERSION,
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
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.clock import SimulatedClock

KEY = SignerKey("example.com/billing", bytes(range(32)))
OTHER_KEY = SignerKey("example.com/billing", bytes(range(1, 33)))
KEYS = (KEY.verifier,)
CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))


def fill(store: EventStore, count: int, first: int = 1, payload: bytes = b"payload") -> None:
    """Append so many events with the ids from `first` on, in commits of up to five, to two streams by turns."""
    ids = list(range(first, first + count))
    for start in range(0, count, 5):
        stream = StreamName("meter" if (first + start) // 5 % 2 else "usage", "0")
        events = [NewEvent(UUID(int=each), "Happened", 1, payload) for each in ids[start : start + 5]]
        store.append(stream, events, ANY_VERSION)


def memory_log(count: int) -> MemoryEventStore:
    store = MemoryEventStore(CLOCK)
    fill(store, count)
    return store


def sealed(store: EventStore, folder: Path, key: SignerKey = KEY) -> SealedCheckpoint:
    checkpoint = Sealer(store, folder, key).seal()
    assert checkpoint is not None
    return checkpoint


def verified(store: EventStore, folder: Path, span: Span = WHOLE) -> Verification:
    return verify(store, span, Seal(folder, KEYS))


def flipped(content: bytes, place: int) -> bytes:
    """The content with the lowest bit of one byte turned."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class GappedStore:
    """A log without a chain of its own, whose positions are some apart, as KurrentDB's are: nobody may count them."""

    STEP = 7

    def __init__(self, inner: MemoryEventStore, step: int = STEP) -> None:
        self.inner = inner
        self._step = step

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        return self.inner.submit(stream, events, expected_version)

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        appended = self.inner.append(stream, events, expected_version)
        return replace(appended, position=self._outer(appended.position))

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        found = self.inner.read_stream(stream, from_version=from_version, limit=limit, backwards=backwards)
        return self._moved(found)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        page = self.inner.read_all(after=Position(after // self._step), categories=categories, limit=limit)
        return Page(self._moved(page.events), self._outer(page.position), page.is_last)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        return self.inner.subscribe(after=after, categories=categories, batch_max=batch_max, stop=stop)

    def leaf_at(self, position: Position) -> bytes:
        return b"" if position % self._step else self.inner.leaf_at(Position(position // self._step))

    def head(self) -> Head:
        return Head(self._outer(self.inner.head().position), b"")

    def close(self) -> None:
        self.inner.close()

    def _outer(self, position: Position) -> Position:
        return Position(position * self._step)

    def _moved(self, events: tuple[RecordedEvent, ...]) -> tuple[RecordedEvent, ...]:
        return tuple(replace(event, position=self._outer(event.position)) for event in events)
