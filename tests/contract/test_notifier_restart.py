"""What a notifier sends depends on the log alone: not on when it runs, what it lost, or where it was killed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from threading import Event as Signal
from typing import Any

import pytest

from meterlog.events.v1.webhook_pb2 import WebhookMessageCreated
from services.eventstore.catalogue import encode
from services.eventstore.event import BEGINNING, NO_STREAM, Appended, Batch, CaughtUp, NewEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.kernel.errors import Unavailable
from services.notifier import announcer, recorder, shift
from services.notifier.announcer import BATCH_MAX
from services.notifier.message import id_of, message_stream
from services.projection import lasting_thread
from services.projection.projection import RebuildMode, RebuildProgress
from tests.webhook_bench import NOON, POLL_S, Bench, eventually, never
from tests.webhook_receiver import Receiver


class FaultyStore:
    """A store that answers appends of some categories like one whose disk is gone, while `is_faulty`."""

    def __init__(self, store: EventStore, category: str) -> None:
        self._store = store
        self._category = category
        self.is_faulty = True
        self.refusals = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        if not self.is_faulty or stream.category != self._category:
            return self._store.submit(stream, events, expected_version)
        self.refusals += 1
        refused: Future[Appended] = Future()
        refused.set_exception(Unavailable("the disk is gone"))
        return refused


class HalfReadStore:
    """A store whose followers see the first events only, until it is opened."""

    def __init__(self, store: EventStore, events: int) -> None:
        self._store = store
        self._events = events
        self.is_open = Signal()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def subscribe(self, **arguments: Any) -> Iterator[Batch | CaughtUp]:
        seen = 0
        for item in self._store.subscribe(**arguments):
            if isinstance(item, Batch):
                seen += len(item.events)
            yield item
            while seen >= self._events and not self.is_open.wait(POLL_S) and not arguments["stop"].is_set():
                pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path, receiver: Receiver) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    receiver.release()
    made.close()


def unheard(_progress: RebuildProgress) -> None:
    return None


def test_killed_between_sending_and_recording_it_sends_again_with_the_same_id(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift, "DRAIN_S", 0.01)
    intact = bench.store
    bench.store = FaultyStore(intact, "delivery")
    bench.start().create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: bench.dispatcher.problem())
    bench.stop()
    bench.store = intact
    bench.start()
    eventually(lambda: bench.states() == ["delivered"])
    first, second = receiver.arrivals
    assert first.message_id == second.message_id
    assert first.body == second.body
    assert [attempt.number for attempt in bench.deliveries()[0].attempts] == [1]


def test_while_nothing_can_be_recorded_nothing_more_is_sent(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PAUSE_S", shift.LOOK_S)
    faulty = FaultyStore(bench.store, "delivery")
    bench.store = faulty
    bench.start().create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: bench.dispatcher.problem())
    bench.create_endpoint("others", receiver.url("/others"))
    bench.finalize(2)
    eventually(lambda: len(bench.messages()) == 2)
    refusals = faulty.refusals
    eventually(lambda: faulty.refusals > refusals + 10)
    assert not bench.dispatcher.is_ready()
    assert len(receiver.arrivals) == 1
    faulty.is_faulty = False
    eventually(lambda: bench.states() == ["delivered"] * 3)
    assert len(receiver.arrivals) == 3
    assert bench.dispatcher.is_ready()


def test_an_attempt_that_could_not_be_recorded_is_made_again_in_the_same_process(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PAUSE_S", 0.001)
    monkeypatch.setattr(recorder, "TRIES_MAX", 2)
    monkeypatch.setattr(lasting_thread, "RESTART_PAUSE_S", 0.01)
    faulty = FaultyStore(bench.store, "delivery")
    bench.store = faulty
    bench.start().create_endpoint("books", receiver.url())
    bench.finalize(1)
    eventually(lambda: len(receiver.arrivals) >= 2)
    eventually(lambda: bench.dispatcher.problem())
    faulty.is_faulty = False
    eventually(lambda: bench.states() == ["delivered"])
    assert len({arrival.message_id for arrival in receiver.arrivals}) == 1
    eventually(lambda: bench.dispatcher.is_ready())


def test_a_rebuild_gives_equal_tables_and_sends_nothing(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("books", receiver.url())
    receiver.then("/hooks", 500, 204, 410)
    for number in range(3):
        bench.finalize(number)
    eventually(lambda: len(bench.errors()) == 3)
    eventually(lambda: "pending" not in bench.states())
    bench.catch_up()
    comparison = bench.runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=unheard)
    assert comparison.is_equal
    assert comparison.is_swapped
    assert len(receiver.arrivals) == 3


def test_lost_tables_come_back_and_nothing_is_sent_again(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("books", receiver.url())
    for number in range(20):
        bench.finalize(number)
    eventually(lambda: bench.states() == ["delivered"] * 20)
    head = bench.store.head().position
    bench.stop()
    bench.start(with_lost_tables=True)
    eventually(lambda: bench.dispatcher.is_ready() and bench.announcer.is_ready())
    bench.finalize(20)
    eventually(lambda: bench.states() == ["delivered"] * 21)
    assert len(receiver.arrivals) == 21
    assert bench.store.head().position == head + 3


def test_nothing_is_sent_before_the_tables_have_caught_up(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("books", receiver.url())
    for number in range(5):
        bench.finalize(number)
    eventually(lambda: bench.states() == ["delivered"] * 5)
    bench.stop()
    half_read = HalfReadStore(bench.store, events=3)
    bench.store = half_read
    bench.start(with_lost_tables=True)
    eventually(lambda: "pending" in bench.states())
    never(lambda: len(receiver.arrivals) > 5, for_s=10 * shift.LOOK_S)
    half_read.is_open.set()
    eventually(lambda: bench.states() == ["delivered"] * 5)
    assert len(receiver.arrivals) == 5


def test_a_message_that_is_there_keeps_the_bytes_of_the_first_time(bench: Bench, receiver: Receiver) -> None:
    bench.create_endpoint("books", receiver.url())
    bench.finalize(1)
    earlier_id = id_of(StreamName("invoice", "inv-1"), 0, "invoice.finalized")
    earlier = WebhookMessageCreated(
        id=earlier_id, type="invoice.finalized", body=b"{}", source_position=1, endpoints=["books"]
    )
    stream = message_stream(earlier_id)
    bench.store.append(stream, [encode(earlier, stream, 0, NOON)], NO_STREAM)
    bench.finalize(2)
    bench.start()
    eventually(lambda: bench.states() == ["delivered"] * 2)
    bodies = {arrival.message_id: arrival.body for arrival in receiver.arrivals}
    assert bodies[earlier_id] == b"{}"
    assert bench.announcer.is_ready()


def test_facts_recorded_while_it_was_down_are_announced_as_if_it_had_been_up(bench: Bench, receiver: Receiver) -> None:
    bench.create_endpoint("early", receiver.url("/early"))
    bench.finalize(1)
    bench.create_endpoint("late", receiver.url("/late"))
    bench.finalize(2)
    bench.start()
    eventually(lambda: bench.states("early") == ["delivered"] * 2)
    eventually(lambda: bench.states("late") == ["delivered"])


def test_what_is_older_than_an_endpoint_is_not_for_it(bench: Bench, receiver: Receiver) -> None:
    bench.start()
    bench.finalize(1)
    bench.create_endpoint("books", receiver.url())
    bench.finalize(2)
    eventually(lambda: bench.states() == ["delivered"])
    assert len(bench.messages()) == 1


def test_an_endpoint_gets_its_types_and_no_others(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("periods", receiver.url("/periods"), ("usage.period.closed",))
    bench.create_endpoint("everything", receiver.url("/everything"))
    bench.finalize(1)
    eventually(lambda: bench.states("everything") == ["delivered"])
    assert bench.states("periods") == []


def test_a_gap_that_a_crash_left_in_the_last_batch_is_filled(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("books", receiver.url())
    for number in range(BATCH_MAX + 5):
        bench.finalize(number)
    eventually(lambda: len(bench.messages()) == BATCH_MAX + 5)
    eventually(lambda: set(bench.states()) == {"delivered"})
    whole = bench.messages()
    bench.stop()
    bench.store = copy_without_messages(bench, set(whole[10:20]))
    bench.start(with_lost_tables=True)
    eventually(lambda: bench.messages() == whole)


def test_the_same_log_gives_the_same_messages_however_it_is_cut(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create_endpoint("books", receiver.url())
    for number in range(7):
        bench.finalize(number)
    monkeypatch.setattr(announcer, "BATCH_MAX", 2)
    bench.start()
    eventually(lambda: bench.states() == ["delivered"] * 7)
    in_twos = bench.messages()
    bench.stop()
    bench.store = copy_without_messages(bench, set(in_twos))
    monkeypatch.setattr(announcer, "BATCH_MAX", 100)
    bench.start(with_lost_tables=True)
    eventually(lambda: bench.messages() == in_twos)


def copy_without_messages(bench: Bench, lost: set[str]) -> EventStore:
    """The log as it would be had some messages never been written."""
    copy = MemoryEventStore(bench.clock)
    for event in bench.store.read_all(after=BEGINNING).events:
        is_lost = any(message in event.stream.id for message in lost)
        if not is_lost:
            new = NewEvent(event.id, event.type, event.schema_version, event.payload)
            copy.append(event.stream, [new], event.version - 1 if event.version else NO_STREAM)
    return copy


def test_an_attempt_another_worker_recorded_first_is_not_recorded_twice(bench: Bench, receiver: Receiver) -> None:
    bench.start().create_endpoint("books", receiver.url())
    receiver.hang("/hooks")
    bench.finalize(1)
    eventually(lambda: receiver.arrivals)
    other = Bench(bench.folder)
    other.store = bench.store
    other.clock.advance(NOON + timedelta(seconds=1))
    other.start(with_lost_tables=True)
    eventually(lambda: len(receiver.arrivals) == 2)
    receiver.release()
    eventually(lambda: bench.states() == ["delivered"] and other.states() == ["delivered"])
    eventually(lambda: bench.dispatcher.is_ready() and other.dispatcher.is_ready())
    other.stop()
    assert [attempt.number for attempt in bench.deliveries()[0].attempts] == [1]
