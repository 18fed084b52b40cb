"""An attempt is recorded once: repeated while the log is away, and left alone when another worker was first."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest

from meterlog.events.v1.webhook_pb2 import WebhookDeliveryAttempted
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, Appended, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import DomainError, Overloaded, TimedOut, Unavailable
from services.notifier import recorder
from services.notifier.delivery import delivery_stream
from services.notifier.recorder import Recorder

NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)
STREAM = delivery_stream(("msg_a", "books"))


class Moody:
    """A store that refuses some appends first; what is refused as unknown is written all the same."""

    def __init__(self, store: EventStore, *refusals: DomainError) -> None:
        self._store = store
        self._refusals = list(refusals)
        self.seen: list[str] = []
        self.recorder: Recorder | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        assert self.recorder is not None
        self.seen.append(self.recorder.problem)
        answer = self._store.submit(stream, events, expected_version)
        if self._refusals:
            answer = Future()
            answer.set_exception(self._refusals.pop(0))
        return answer


@pytest.fixture
def store() -> Iterator[EventStore]:
    opened = MemoryEventStore(SimulatedClock(NOON))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PAUSE_S", 0.001)


def event(duration_ms: int = 1) -> NewEvent:
    return encode(WebhookDeliveryAttempted(message_id="msg_a", duration_ms=duration_ms), STREAM, 0, NOON)


def recording(store: EventStore, *refusals: DomainError) -> tuple[Recorder, Moody]:
    moody = Moody(store, *refusals)
    moody.recorder = Recorder(moody)
    return moody.recorder, moody


def test_an_append_of_unknown_outcome_is_repeated_and_stands_once(store: EventStore) -> None:
    recorder_, moody = recording(store, Unavailable("gone"), TimedOut("slow"), Overloaded("full"))
    position = asyncio.run(recorder_.record(STREAM, event(), NO_STREAM))
    assert (position, len(store.read_stream(STREAM))) == (1, 1)
    assert moody.seen == [
        "",
        "attempts cannot be recorded: gone",
        "attempts cannot be recorded: slow",
        "attempts cannot be recorded: full",
    ]
    assert recorder_.problem == ""


def test_an_attempt_that_another_worker_recorded_is_left_alone(store: EventStore) -> None:
    store.append(STREAM, [event(duration_ms=2)], NO_STREAM)
    recorder_, _ = recording(store)
    assert asyncio.run(recorder_.record(STREAM, event(duration_ms=1), NO_STREAM)) == store.head().position
    assert [recorded.id for recorded in store.read_stream(STREAM)] == [event(duration_ms=2).id]


def test_it_gives_up_in_the_end_and_says_what_to_do(store: EventStore) -> None:
    recorder_, moody = recording(store, *[Unavailable("gone")] * recorder.TRIES_MAX)
    with pytest.raises(Unavailable, match="see to the event store"):
        asyncio.run(recorder_.record(STREAM, event(), NO_STREAM))
    assert len(moody.seen) == recorder.TRIES_MAX
    assert recorder_.problem == ""
