"""Appending to KurrentDB when answers get lost: what was appended stands there once, and is answered as it stands."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.eventstore.event import (
    ANY_VERSION,
    APPEND_EVENTS_MAX,
    BEGINNING,
    NO_STREAM,
    Appended,
    Batch,
    NewEvent,
    StreamName,
    WrongExpectedVersion,
)
from services.eventstore.group_commit import GroupLimits
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.store import KurrentEventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from services.kernel.errors import InvalidInput, Overloaded, Unavailable
from tests.kurrentdb_server import Fault, KurrentServer, Options
from tests.patience import TooSlow, in_time, patiently

METER = StreamName("meter", "tokens")
WAIT_S = 60.0
QUICK = KurrentLimits(call_timeout_s=0.3, append_total_s=WAIT_S, read_total_s=WAIT_S, pause_first_s=0.01)
IMPATIENT = KurrentLimits(call_timeout_s=0.2, append_total_s=0.1, read_attempts_max=1)

FORGETFUL = Options(recent_ids_bytes=0)
"""A server that forgets at once which ids it wrote, so that nobody relies on its memory."""

LOST_ANSWERS = [
    Fault.UNAVAILABLE_BEFORE_COMMIT,
    Fault.UNAVAILABLE_AFTER_COMMIT,
    Fault.RESET_BEFORE_COMMIT,
    Fault.RESET_AFTER_COMMIT,
    Fault.TIMEOUT_BEFORE_COMMIT,
    Fault.TIMEOUT_AFTER_COMMIT,
    Fault.SILENT_BEFORE_COMMIT,
    Fault.SILENT_AFTER_COMMIT,
    Fault.NOT_READY,
    Fault.NOT_LEADER,
]


def event(number: int, payload: bytes = b"content") -> NewEvent:
    return NewEvent(UUID(int=number), "MeterCreated", 1, payload)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer(options=FORGETFUL) as started:
        yield started


@pytest.fixture
def store(server: KurrentServer, clock: SimulatedClock) -> Iterator[KurrentEventStore]:
    opened = KurrentEventStore(server.url, clock, limits=QUICK)
    yield opened
    opened.close()


def another_store(server: KurrentServer, clock: SimulatedClock, limits: KurrentLimits = QUICK) -> KurrentEventStore:
    """As another process has it."""
    return KurrentEventStore(server.url, clock, limits=limits)


def standing(store: KurrentEventStore, stream: StreamName = METER) -> list[int]:
    return [each.id.int for each in store.read_stream(stream)]


def require_within(limit_s: float, holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    until_s = monotonic_s() + limit_s
    while not holds():
        assert monotonic_s() < until_s
        threading.Event().wait(0.005)


def require_answered_as_it_stands(store: KurrentEventStore, answer: Appended, count: int) -> None:
    last = store.read_stream(METER)[-count:]
    assert (answer.position, answer.version) == (last[-1].position, last[-1].version)
    assert {each.recorded_at for each in last} == {answer.recorded_at}
    assert tuple(each.leaf for each in last) == answer.leaves


@pytest.mark.parametrize("expected_version", [1, ANY_VERSION])
@pytest.mark.parametrize("fault", LOST_ANSWERS)
def test_an_append_whose_answer_was_lost_is_there_once(
    server: KurrentServer, store: KurrentEventStore, fault: Fault, expected_version: int
) -> None:
    store.append(METER, [event(1), event(2)], NO_STREAM)
    server.faults.arm(fault, times=2)
    answer = store.append(METER, [event(3), event(4)], expected_version)
    assert server.faults.struck(fault) >= 1
    assert standing(store) == [1, 2, 3, 4]
    require_answered_as_it_stands(store, answer, 2)


def test_a_first_copy_that_arrives_late_is_no_second_append(server: KurrentServer, store: KurrentEventStore) -> None:
    server.faults.arm(Fault.SLOW_COMMIT, amount=0.6)
    answer = store.append(METER, [event(1)], NO_STREAM)
    store.append(METER, [event(2)], 0)
    assert standing(store) == [1, 2]
    assert answer.version == 0


def test_who_repeats_in_another_process_gets_the_first_answer(clock: SimulatedClock) -> None:
    def repeat(deadline_s: float) -> None:
        with KurrentServer(options=FORGETFUL) as server:
            with closing(another_store(server, clock, replace(IMPATIENT, call_timeout_s=deadline_s))) as impatient:
                server.faults.arm(Fault.SILENT_AFTER_COMMIT)
                with pytest.raises(Unavailable, match="repeat the very same append"):
                    impatient.append(METER, [event(1)], NO_STREAM)
                in_time(server.faults.struck(Fault.SILENT_AFTER_COMMIT) > 0)
            recorded_at = clock.now()
            clock.advance(recorded_at + timedelta(hours=1))
            with closing(another_store(server, clock)) as store:
                answer = store.append(METER, [event(1)], NO_STREAM)
                assert answer.recorded_at == recorded_at
                require_answered_as_it_stands(store, answer, 1)

    patiently(repeat)


def test_a_repeat_at_the_same_instant_is_known_too(
    server: KurrentServer, store: KurrentEventStore, clock: SimulatedClock
) -> None:
    first = store.append(METER, [event(1)], NO_STREAM)
    store.append(METER, [event(2)], 0)
    other = another_store(server, clock)
    assert other.append(METER, [event(1)], NO_STREAM) == first
    other.close()


def test_the_answer_says_whose_event_won_when_the_first_try_was_lost(clock: SimulatedClock) -> None:
    def race(deadline_s: float) -> None:
        slow = replace(QUICK, call_timeout_s=deadline_s)
        with (
            KurrentServer(options=FORGETFUL) as server,
            closing(another_store(server, clock, slow)) as store,
            closing(another_store(server, clock)) as other,
        ):
            server.faults.arm(Fault.SILENT_BEFORE_COMMIT)
            losing = store.submit(METER, [event(1)], NO_STREAM)
            require_within(WAIT_S, lambda: server.faults.struck(Fault.SILENT_BEFORE_COMMIT) == 1)
            try:
                other.append(METER, [event(2)], NO_STREAM)
            except WrongExpectedVersion as error:
                raise TooSlow from error
            with pytest.raises(WrongExpectedVersion) as refused:
                losing.result(WAIT_S)
            assert refused.value.actual == 0
            assert standing(store) == [2]

    patiently(race)


def test_appends_that_do_not_care_are_each_written_once_by_many_processes(
    server: KurrentServer, store: KurrentEventStore, clock: SimulatedClock
) -> None:
    server.faults.rate(Fault.UNAVAILABLE_AFTER_COMMIT, 0.1)
    server.faults.rate(Fault.UNAVAILABLE_BEFORE_COMMIT, 0.1)
    stores = [store, *(another_store(server, clock) for _ in range(3))]
    in_flight = [each.submit(METER, [event(n)], ANY_VERSION) for n in range(12) for each in stores]
    wait(in_flight, WAIT_S)
    assert sorted(standing(store)) == sorted(list(range(12)) * 4)
    assert sorted(each.result().version for each in in_flight) == list(range(48))
    for other in stores[1:]:
        other.close()


def test_one_append_that_is_refused_costs_no_other(store: KurrentEventStore) -> None:
    streams = [StreamName("usage", str(n)) for n in range(20)]
    in_flight = [store.submit(stream, [event(n)], 5 if n % 3 == 0 else NO_STREAM) for n, stream in enumerate(streams)]
    wait(in_flight, WAIT_S)
    assert [isinstance(each.exception(), WrongExpectedVersion) for each in in_flight] == [n % 3 == 0 for n in range(20)]


def test_more_small_events_than_an_older_server_takes_are_refused_whole(
    server: KurrentServer, clock: SimulatedClock
) -> None:
    store = another_store(server, clock, KurrentLimits())
    with pytest.raises(InvalidInput, match="split it") as refused:
        store.append(METER, [event(n) for n in range(APPEND_EVENTS_MAX)], NO_STREAM)
    assert refused.value.reason == "TOO_LARGE"
    assert standing(store) == []
    store.append(METER, [event(n) for n in range(4_000)], NO_STREAM)
    store.close()


@pytest.mark.parametrize("event_type", ["Result", "$anything", "PersistentConfig1", "$>"])
def test_a_type_that_the_server_uses_too_is_delivered(store: KurrentEventStore, event_type: str) -> None:
    store.append(METER, [NewEvent(UUID(int=1), event_type, 1, b"")], NO_STREAM)
    assert [each.type for each in store.read_all(after=BEGINNING).events] == [event_type]
    assert [each.type for each in store.read_all(after=BEGINNING, categories=["meter"]).events] == [event_type]
    batch = next(store.subscribe(after=BEGINNING, stop=threading.Event()))
    assert isinstance(batch, Batch)
    assert [each.type for each in batch.events] == [event_type]


def test_a_server_that_is_down_is_waited_for(server: KurrentServer, store: KurrentEventStore) -> None:
    store.append(METER, [event(1)], NO_STREAM)
    server.stop()
    waiting = store.submit(METER, [event(2)], 0)
    server.start()
    assert waiting.result(WAIT_S).version == 1
    assert standing(store) == [1, 2]


def test_a_server_that_hangs_pushes_back(server: KurrentServer, clock: SimulatedClock) -> None:
    server.faults.arm(Fault.SILENT_BEFORE_COMMIT, times=10_000)
    store = KurrentEventStore(server.url, clock, limits=IMPATIENT, group_limits=GroupLimits(queue_requests_max=3))
    for n in range(3):
        store.submit(METER, [event(n)], ANY_VERSION)
    with pytest.raises(Overloaded):
        [store.submit(METER, [event(n)], ANY_VERSION) for n in range(3, 10_000)]
    store.close()


def test_what_the_server_knows_an_event_by_is_its_write_and_not_its_id(
    server: KurrentServer, store: KurrentEventStore
) -> None:
    store.append(METER, [event(1)], NO_STREAM)
    (record,) = server.log.stream(str(METER)).records
    assert record.event_id != UUID(int=1)
    assert standing(store) == [1]
