"""Subscriptions: everything behind a position once and in order, then whatever is committed, until told to stop."""

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from services.eventstore.event import ANY_VERSION, BEGINNING, Batch, CaughtUp, NewEvent, Position, StreamName
from services.eventstore.store import EventStore
from services.kernel.errors import InvalidInput

WAIT_S = 60.0


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    signal = threading.Event()
    yield signal
    signal.set()


def append(store: EventStore, count: int, category: str = "usage") -> None:
    for _ in range(count):
        store.append(StreamName(category, "0"), [NewEvent(UUID(int=7), "Happened", 1, b"")], ANY_VERSION)


def positions(batch: Batch | CaughtUp) -> list[int]:
    assert isinstance(batch, Batch)
    return [event.position for event in batch.events]


def test_a_subscription_catches_up_then_follows(store: EventStore, stop: threading.Event) -> None:
    append(store, 3)
    following = store.subscribe(after=BEGINNING, stop=stop)
    assert positions(next(following)) == [1, 2, 3]
    assert next(following) == CaughtUp(Position(3))
    append(store, 1)
    assert positions(next(following)) == [4]
    assert next(following) == CaughtUp(Position(4))


def test_a_subscription_starts_behind_a_position(store: EventStore, stop: threading.Event) -> None:
    append(store, 4)
    assert positions(next(store.subscribe(after=Position(2), stop=stop))) == [3, 4]


def test_an_empty_log_is_caught_up_at_once(store: EventStore, stop: threading.Event) -> None:
    assert next(store.subscribe(after=BEGINNING, stop=stop)) == CaughtUp(BEGINNING)


def test_who_is_up_to_date_is_told_so_once(store: EventStore, stop: threading.Event) -> None:
    append(store, 2)
    following = store.subscribe(after=Position(2), stop=stop)
    assert next(following) == CaughtUp(Position(2))
    append(store, 1)
    assert positions(next(following)) == [3]


def test_batches_hold_no_more_than_asked(store: EventStore, stop: threading.Event) -> None:
    append(store, 5)
    following = store.subscribe(after=BEGINNING, batch_max=2, stop=stop)
    batches = [next(following) for _ in range(3)]
    assert [positions(batch) for batch in batches] == [[1, 2], [3, 4], [5]]
    assert [batch.position for batch in batches] == [2, 4, 5]
    assert next(following) == CaughtUp(Position(5))


def test_a_batch_limit_that_makes_no_sense_is_refused_at_once(store: EventStore, stop: threading.Event) -> None:
    with pytest.raises(InvalidInput):
        store.subscribe(after=BEGINNING, batch_max=0, stop=stop)


def test_events_of_other_categories_advance_the_caught_up_position(store: EventStore, stop: threading.Event) -> None:
    append(store, 2, "usage")
    following = store.subscribe(after=BEGINNING, categories=["meter"], stop=stop)
    assert next(following) == CaughtUp(Position(2))
    append(store, 3, "usage")
    later = next(following)
    while later.position < 5:
        later = next(following)
    assert later == CaughtUp(Position(5))
    append(store, 1, "meter")
    batch = next(following)
    assert (positions(batch), batch.position) == ([6], 6)


def test_a_batch_reads_on_over_what_does_not_match(store: EventStore, stop: threading.Event) -> None:
    append(store, 1, "meter")
    append(store, 2, "usage")
    batch = next(store.subscribe(after=BEGINNING, categories=["meter"], stop=stop))
    assert (positions(batch), batch.position) == ([1], 3)


def test_a_subscription_ends_when_told_to_stop(store: EventStore, stop: threading.Event) -> None:
    following = store.subscribe(after=BEGINNING, stop=stop)
    next(following)
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    assert list(following) == []
    timer.join(WAIT_S)


def test_a_waiting_subscription_gets_every_event_once_and_in_order(store: EventStore, stop: threading.Event) -> None:
    seen: list[int] = []

    def follow() -> None:
        for news in store.subscribe(after=BEGINNING, batch_max=3, stop=stop):
            if isinstance(news, Batch):
                seen.extend(positions(news))
            if len(seen) >= 60:
                return

    follower = threading.Thread(daemon=True, target=follow)
    follower.start()
    writers = [threading.Thread(daemon=True, target=append, args=(store, 20, category)) for category in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for thread in (*writers, follower):
        thread.join(WAIT_S)
    assert seen == list(range(1, 61))
